"""The append-only record of a run: one SQLite file, one writer, any readers.

A child, its scores and every sample's outcome are committed in one transaction before
an archive sees it. Insertions are not stored: archives are the replay of the children
in order. Nothing here decides what is an elite.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lora_qd.errors import StoreError
from lora_qd.records import Proposal, Score, Scored, Scores, Split, StageSeconds, Usage
from lora_qd.store.database import open_to_read, open_to_write

_CHILD = "idx, member, task, parents, recipe, scores, genome, num_left"


@dataclass(frozen=True, slots=True)
class ChildRow:
    """A committed child with its mean scores on the search split."""

    index: int
    member: str
    task: str
    parents: tuple[str, ...]
    recipe: Mapping[str, Any]
    scores: Scores
    """What the searcher was told."""
    genome: str | None = None
    """SHA-256 of its cores; None in ledgers of the first versions."""
    num_left: int = 0
    """Samples that it was not asked; its scores are the means over the others."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one evaluation took."""

    member: str
    """Or ``base``."""
    split: Split
    stages: StageSeconds
    num_prompt_tokens: int
    num_tokens: int
    """Generated tokens."""


class Ledger:
    """The record of one run; see the module's docstring."""

    def __init__(self, path: Path, *, is_writer: bool = False) -> None:
        """Open the ledger at ``path`` to read it, or to write it.

        A writer makes what is missing: the file, or newer tables. A reader changes
        nothing, needs no lock and sees what a running writer has committed.

        Raises:
            StoreError: the file is missing, damaged or of a newer version.
        """
        if not is_writer and not path.is_file():
            raise StoreError(f"expected a ledger at {path}, but there is none")
        self._path = path
        with self._errors():
            self._db = open_to_write(path) if is_writer else open_to_read(path)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def write_manifest(self, entries: Mapping[str, Any]) -> None:
        """Record what fixes the run; values are JSON."""
        rows = [(key, json.dumps(value)) for key, value in entries.items()]
        with self._transaction():
            self._db.executemany("INSERT INTO manifest VALUES (?, ?)", rows)

    def manifest(self) -> dict[str, Any]:
        """Return what :meth:`write_manifest` recorded."""
        with self._errors():
            rows = self._db.execute("SELECT key, value FROM manifest").fetchall()
        return {key: json.loads(value) for key, value in rows}

    def commit(
        self, child: Proposal, genome: str, scores: Scores, scored: Scored
    ) -> None:
        """Record a child with its outcomes on the search split, all or nothing.

        Args:
            child: who was scored.
            genome: the hash of its cores.
            scores: what the searcher is told.
            scored: on the search split.
        """
        row = (
            child.index,
            child.member.id,
            child.task,
            json.dumps(child.parents),
            json.dumps(child.recipe),
            json.dumps(dict(scores)),
            genome,
            scored.num_left,
        )
        with self._transaction():
            self._db.execute(
                f"INSERT INTO children ({_CHILD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row
            )
            self._add_outcomes(child.member.id, Split.SEARCH, scored)

    def commit_outcomes(self, member: str, split: Split, scored: Scored) -> None:
        """Record an evaluation outside the search: ``base`` or a member on a split."""
        with self._transaction():
            self._add_outcomes(member, split, scored)

    def children(self, start: int = 0) -> list[ChildRow]:
        """Return the children from index ``start`` on, in the order of their birth."""
        with self._errors():
            rows = self._db.execute(
                f"SELECT {_CHILD} FROM children WHERE idx >= ? ORDER BY idx", (start,)
            ).fetchall()
        return [
            ChildRow(
                index,
                member,
                task,
                tuple(json.loads(parents)),
                json.loads(recipe),
                json.loads(scores),
                *rest,
            )
            for index, member, task, parents, recipe, scores, *rest in rows
        ]

    @property
    def num_children(self) -> int:
        """Children so far, the seeds among them."""
        with self._errors():
            (num,) = self._db.execute("SELECT count(*) FROM children").fetchone()
        return int(num)

    @property
    def num_left(self) -> int:
        """Samples of the search split that children were not asked."""
        with self._errors():
            row = self._db.execute("SELECT sum(num_left) FROM children").fetchone()
        return int(row[0] or 0)

    def num_asked(self, split: Split) -> int:
        """Return how many samples of ``split`` candidates were asked, all together."""
        with self._errors():
            (num,) = self._db.execute(
                "SELECT count(*) FROM outcomes WHERE split = ?", (split.value,)
            ).fetchone()
        return int(num)

    def keep_genome(self, member: str, genome: str) -> None:
        """Record the hash of a member that is nobody's child: a merge, an aggregate."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO genomes VALUES (?, ?)", (member, genome)
            )

    def genomes(self) -> dict[str, str]:
        """Return what :meth:`keep_genome` recorded: hashes by member."""
        with self._errors():
            return dict(self._db.execute("SELECT member, genome FROM genomes"))

    def scores(self, member: str, split: Split) -> dict[str, float]:
        """Return the mean score by task of ``member`` on ``split``."""
        values = self.values(member, split)
        return {task: sum(v) / len(v) for task, v in values.items()}

    def values(self, member: str, split: Split) -> dict[str, list[float]]:
        """Return every sample's score by task, in the order of sample ids."""
        with self._errors():
            rows = self._db.execute(
                "SELECT task, value FROM outcomes WHERE member = ? AND split = ? "
                "ORDER BY task, sample",
                (member, split.value),
            ).fetchall()
        values: dict[str, list[float]] = {}
        for task, value in rows:
            values.setdefault(task, []).append(value)
        return values

    def outcomes(self, member: str, split: Split, task: str) -> dict[str, Score]:
        """Return what ``member`` answered and what it scored, by sample id."""
        with self._errors():
            rows = self._db.execute(
                "SELECT sample, value, reason, answer, num_prompt_tokens, num_tokens "
                "FROM outcomes WHERE member = ? AND split = ? AND task = ?",
                (member, split.value, task),
            ).fetchall()
        return {sample: Score(*score) for sample, *score in rows}

    def measured(self, member: str) -> dict[str, list[str]]:
        """Return the tasks that ``member`` was scored on, by split."""
        with self._errors():
            rows = self._db.execute(
                "SELECT DISTINCT split, task FROM outcomes WHERE member = ?", (member,)
            ).fetchall()
        tasks: dict[str, list[str]] = {}
        for split, task in rows:
            tasks.setdefault(split, []).append(task)
        return tasks

    def costs(self, start: int = 0) -> list[Cost]:
        """Return what the evaluations from number ``start`` on took, as committed."""
        with self._errors():
            rows = self._db.execute(
                "SELECT costs.*, sum(num_prompt_tokens), sum(num_tokens) FROM costs "
                "JOIN outcomes USING (member, split) WHERE costs.rowid > ? "
                "GROUP BY costs.rowid",
                (start,),
            ).fetchall()
        return [
            Cost(member, Split(split), StageSeconds(*stages), num_prompt, num)
            for member, split, *stages, num_prompt, num in rows
        ]

    def open_session(self, about: Mapping[str, Any]) -> int:
        """Record that a driver begins; return its number for :meth:`keep_usage`.

        Args:
            about: its config, versions and machine; values are JSON.
        """
        with self._transaction():
            row = self._db.execute(
                "INSERT INTO sessions VALUES (NULL, 0, 0, 0, 0, ?)",
                (json.dumps(about),),
            )
        return int(row.lastrowid or 0)

    def last_session(self) -> dict[str, Any]:
        """Return what the latest driver recorded about itself; empty if none did."""
        with self._errors():
            row = self._db.execute(
                "SELECT about FROM sessions ORDER BY id DESC LIMIT 1"
            ).fetchone()
        return dict(json.loads(row[0])) if row else {}

    def keep_usage(self, session: int, usage: Usage) -> None:
        """Record what a session used so far, in place of what it had used before."""
        with self._transaction():
            self._db.execute(
                "UPDATE sessions SET seconds = ?, busy_s = ?, num_engines = ?, "
                "num_restarts = ? WHERE id = ?",
                (*astuple(usage), session),
            )

    def sessions(self) -> list[Usage]:
        """Return what each session used, the oldest first."""
        with self._errors():
            rows = self._db.execute(
                "SELECT seconds, busy_s, num_engines, num_restarts FROM sessions "
                "ORDER BY id"
            ).fetchall()
        return [Usage(*row) for row in rows]

    def _add_outcomes(self, member: str, split: Split, scored: Scored) -> None:
        rows = [
            (
                *(member, split.value, task, sample, s.value, s.reason, s.answer),
                *(s.num_prompt_tokens, s.num_tokens),
            )
            for task, by_sample in scored.outcomes.items()
            for sample, s in by_sample.items()
        ]
        marks = ", ".join("?" * 9)
        self._db.executemany(f"INSERT INTO outcomes VALUES ({marks})", rows)
        cost = (member, split.value, *astuple(scored.stages))
        self._db.execute("INSERT INTO costs VALUES (?, ?, ?, ?, ?, ?, ?)", cost)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has ended it by itself
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            remedy = "free space, or restore the file from a copy if it is damaged"
            if "locked" in str(error):
                remedy = "another program holds it: wait for that one, or end it"
            raise StoreError(
                f"expected to use the ledger {self._path}, but got: {error}; {remedy}"
            ) from error


def best_first(rows: Sequence[ChildRow]) -> list[ChildRow]:
    """Return ``rows`` by mean search score, best first; the older of equals first.

    Those that were left in the middle come last: their means are of fewer samples.
    """
    return sorted(rows, key=lambda r: (r.num_left > 0, -mean(r.scores), r.index))


def mean(scores: Scores) -> float:
    """Return the plain mean over tasks."""
    return sum(scores.values()) / len(scores)
