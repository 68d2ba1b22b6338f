"""What audits read of a ledger beyond what a run needs: every page, every outcome."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from lora_qd.errors import StoreError
from lora_qd.records import Split
from lora_qd.store.database import open_to_read

Question = tuple[str, Split, str, str]
"""Member, split, task and sample id."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a member made of a sample."""

    question: Question
    value: float
    """In [0, 1], higher is better."""
    answer: str


def integrity_of(path: Path) -> list[str]:
    """Return what SQLite finds wrong with the ledger at ``path``, one line each.

    Raises:
        StoreError: a newer loraqd wrote it.
    """
    try:
        with closing(open_to_read(path)) as db:
            rows = db.execute("PRAGMA integrity_check").fetchall()
    except sqlite3.Error as error:
        return [str(error)]
    lines = [line.strip() for (text,) in rows for line in text.splitlines()]
    return [] if lines == ["ok"] else [line for line in lines if line]


def outcomes_of(path: Path) -> Iterator[Outcome]:
    """Yield all outcomes of the ledger at ``path``, by member, split, task, sample.

    Raises:
        StoreError: it is damaged.
    """
    try:
        with closing(open_to_read(path)) as db:
            for member, split, task, sample, value, answer in db.execute(
                "SELECT member, split, task, sample, value, answer FROM outcomes "
                "ORDER BY member, split, task, sample"
            ):
                yield Outcome((member, Split(split), task, sample), value, answer)
    except sqlite3.Error as error:
        raise StoreError(
            f"expected to read the ledger {path}, but got: {error}; restore the file "
            "from a copy"
        ) from error
