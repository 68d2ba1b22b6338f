"""A ledger's children, taken through the search again: archives, and what comes next.

Archives follow from the scores alone. A run that goes on also needs cores, but only of
those few members that it breeds from, so nothing is read or bred before it is needed.
"""

from collections.abc import Sequence
from functools import partial

from lora_qd.errors import StoreError
from lora_qd.runs.config import RunConfig
from lora_qd.runs.lineage import LazyCores, Lineage, recorded_child
from lora_qd.runs.loop import Recorded
from lora_qd.search import Archives
from lora_qd.store.ledger import ChildRow, Ledger


def whole_history(ledger: Ledger) -> list[ChildRow]:
    """Return all children, in the order of their birth.

    Raises:
        StoreError: one is missing.
    """
    rows = ledger.children()
    for index, row in enumerate(rows):
        if row.index != index:
            raise StoreError(
                f"expected child {index} in the ledger, but the next one is "
                f"{row.index}; restore the file from a copy"
            )
    return rows


def replay_archives(rows: Sequence[ChildRow], config: RunConfig) -> Archives:
    """Return the archives after the children in ``rows``, from their scores alone."""
    archives = Archives(config.skills, num_cells=config.search.cells)
    for row in rows:
        archives.tell(row.index, row.member, row.scores)
    return archives


def recorded_children(rows: Sequence[ChildRow], lineage: Lineage) -> Recorded:
    """Return what the loop tells a searcher again, in place of scoring it."""
    return [
        (
            recorded_child(row, LazyCores(partial(lineage.cores, row.member))),
            row.scores,
        )
        for row in rows
    ]


def bred_from(rows: Sequence[ChildRow], config: RunConfig) -> set[str]:
    """Return the members that a run may breed from when it goes on after ``rows``.

    They are the elites of the archives that its next batch sees, and whoever came
    after these archives.
    """
    search = config.search
    num_batches = max(0, len(rows) - config.num_seeds) // search.batch
    num_seen = config.num_seeds + search.batch * max(0, num_batches - search.lag)
    elites = replay_archives(rows[:num_seen], config).elite_ids()
    return elites | {row.member for row in rows[num_seen:]}
