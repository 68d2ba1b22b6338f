"""The interface that every searcher speaks."""

from collections.abc import Sequence
from typing import Protocol

from lora_qd.archive import AddStatus
from lora_qd.records import Proposal, Scores


class Searcher(Protocol):
    """Proposes members and learns their scores, in the order of their index."""

    def ask(self, n: int, known: Sequence[Proposal] = ()) -> list[Proposal]:
        """Return the next batch of proposals; the first batch holds the seeds.

        Args:
            n: how many.
            known: what a ledger has from here on; as many as fit are returned as
                they are.
        """
        ...

    def tell(self, child: Proposal, scores: Scores) -> dict[str, AddStatus]:
        """Learn the scores of ``child``; return what each archive did, by task."""
        ...
