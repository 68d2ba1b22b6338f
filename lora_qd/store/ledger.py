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
from lora_qd.records import Proposal, Score, Scores, Split, StageSeconds, Usage

_SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE children (
    idx INTEGER PRIMARY KEY,        -- order of birth and of insertion
    member TEXT NOT NULL UNIQUE,
    task TEXT NOT NULL,             -- whose archive it was bred in; '' for a seed
    parents TEXT NOT NULL,          -- JSON list of members
    recipe TEXT NOT NULL            -- JSON: operators and their draws
);
CREATE TABLE outcomes (
    member TEXT NOT NULL,           -- or 'base'
    split TEXT NOT NULL,
    task TEXT NOT NULL,
    sample TEXT NOT NULL,
    value REAL NOT NULL,
    reason TEXT NOT NULL,
    answer TEXT NOT NULL,
    num_prompt_tokens INTEGER NOT NULL,
    num_tokens INTEGER NOT NULL,
    PRIMARY KEY (member, split, task, sample)
) WITHOUT ROWID;
CREATE TABLE costs (                -- seconds of wall time; the stages add up
    member TEXT NOT NULL,
    split TEXT NOT NULL,
    wait REAL NOT NULL,
    materialise REAL NOT NULL,
    load REAL NOT NULL,
    generate REAL NOT NULL,
    score REAL NOT NULL
);
CREATE TABLE sessions (             -- what each driver used of its engines so far
    id INTEGER PRIMARY KEY,
    seconds REAL NOT NULL,
    busy_s REAL NOT NULL,           -- with a request in flight, over all engines
    num_engines INTEGER NOT NULL,
    num_restarts INTEGER NOT NULL
);
"""

Outcomes = Mapping[str, Mapping[str, Score]]
"""Scores by task, then by sample id."""


@dataclass(frozen=True, slots=True)
class ChildRow:
    """A committed child with its mean scores on the search split."""

    index: int
    member: str
    task: str
    parents: tuple[str, ...]
    recipe: Mapping[str, Any]
    scores: Scores


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

    def __init__(self, path: Path, *, is_new: bool = False) -> None:
        """Open the ledger at ``path``, or make it.

        Raises:
            StoreError: the file is missing, damaged or of a newer version.
        """
        if not is_new and not path.is_file():
            raise StoreError(f"expected a ledger at {path}, but there is none")
        self._path = path
        self._db = sqlite3.connect(path, isolation_level=None)
        with self._errors():
            if is_new:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.executescript(
                    f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
                )
            self._db.execute("PRAGMA synchronous = FULL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version != _SCHEMA_VERSION:
            raise StoreError(
                f"expected a ledger of version {_SCHEMA_VERSION} at {path}, but got "
                f"{version}; use the loraqd that wrote it"
            )

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

    def commit(self, child: Proposal, outcomes: Outcomes, stages: StageSeconds) -> None:
        """Record a child with its outcomes on the search split, all or nothing."""
        row = (
            child.index,
            child.member.id,
            child.task,
            json.dumps(child.parents),
            json.dumps(child.recipe),
        )
        with self._transaction():
            self._db.execute("INSERT INTO children VALUES (?, ?, ?, ?, ?)", row)
            self._add_outcomes(child.member.id, Split.SEARCH, outcomes, stages)

    def commit_outcomes(
        self, member: str, split: Split, outcomes: Outcomes, stages: StageSeconds
    ) -> None:
        """Record an evaluation outside the search: ``base`` or a member on a split."""
        with self._transaction():
            self._add_outcomes(member, split, outcomes, stages)

    def children(self) -> list[ChildRow]:
        """Return all children in the order of their birth."""
        with self._errors():
            rows = self._db.execute("SELECT * FROM children ORDER BY idx").fetchall()
        return [
            ChildRow(
                index,
                member,
                task,
                tuple(json.loads(parents)),
                json.loads(recipe),
                self.scores(member, Split.SEARCH),
            )
            for index, member, task, parents, recipe in rows
        ]

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

    def answers(self, member: str, split: Split, task: str) -> dict[str, str]:
        """Return what ``member`` answered, by sample id."""
        with self._errors():
            rows = self._db.execute(
                "SELECT sample, answer FROM outcomes WHERE member = ? AND split = ? "
                "AND task = ?",
                (member, split.value, task),
            ).fetchall()
        return dict(rows)

    def costs(self) -> list[Cost]:
        """Return what every evaluation took, in the order of its commit."""
        with self._errors():
            rows = self._db.execute(
                "SELECT costs.*, sum(num_prompt_tokens), sum(num_tokens) FROM costs "
                "JOIN outcomes USING (member, split) GROUP BY costs.rowid"
            ).fetchall()
        return [
            Cost(member, Split(split), StageSeconds(*stages), num_prompt, num)
            for member, split, *stages, num_prompt, num in rows
        ]

    def open_session(self, usage: Usage) -> int:
        """Record that a driver begins; return its number for :meth:`keep_usage`."""
        with self._transaction():
            row = self._db.execute(
                "INSERT INTO sessions VALUES (NULL, ?, ?, ?, ?)", astuple(usage)
            )
        return int(row.lastrowid or 0)

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

    def _add_outcomes(
        self, member: str, split: Split, outcomes: Outcomes, stages: StageSeconds
    ) -> None:
        rows = [
            (
                *(member, split.value, task, sample, s.value, s.reason, s.answer),
                *(s.num_prompt_tokens, s.num_tokens),
            )
            for task, by_sample in outcomes.items()
            for sample, s in by_sample.items()
        ]
        marks = ", ".join("?" * 9)
        self._db.executemany(f"INSERT INTO outcomes VALUES ({marks})", rows)
        cost = (member, split.value, *astuple(stages))
        self._db.execute("INSERT INTO costs VALUES (?, ?, ?, ?, ?, ?, ?)", cost)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"expected to use the ledger {self._path}, but got: {error}; check "
                "free space and that the file is whole"
            ) from error


def best_first(rows: Sequence[ChildRow]) -> list[ChildRow]:
    """Return ``rows`` by mean search score, best first; the older of equals first."""
    return sorted(rows, key=lambda row: (-mean(row.scores), row.index))


def mean(scores: Scores) -> float:
    """Return the plain mean over tasks."""
    return sum(scores.values()) / len(scores)
