"""Tables of the database skill, and what a gold statement does to them."""

import random
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lora_qd.tasks.tiny.code_templates import WORDS

Cells = list[list[Any]]
"""Rows of a table: one word, then two numbers."""

_TABLES = tuple("shop farm port club team zoo park mine band town".split())
_LABELS = tuple("name item kind code tag title".split())
_NUMBERS = tuple("cost size age year rank mass score stock speed width".split())
_NUM_SHOWN = 2
_NUM_HIDDEN = 9


@dataclass(frozen=True, slots=True)
class Table:
    """A table with the rows that a question shows."""

    name: str
    label: str
    """The column of words."""
    numbers: tuple[str, str]
    """The columns of numbers."""
    words: tuple[str, ...]
    """Words of the label column: those shown, and others of hidden rows."""
    rows: tuple[tuple[str, int, int], ...]

    @property
    def schema(self) -> str:
        """The statement that makes the table."""
        first, second = self.numbers
        return (
            f"CREATE TABLE {self.name} ({self.label} TEXT, {first} INTEGER, "
            f"{second} INTEGER)"
        )

    def shown(self) -> str:
        """Return schema and rows as a question shows them."""
        columns = ", ".join((self.label, *self.numbers))
        rows = "; ".join(" ".join(map(str, row)) for row in self.rows)
        return f"{self.name}({columns}) {rows}"


def draw_table(rng: random.Random) -> Table:
    """Return a table with random names and two rows."""
    words = tuple(rng.sample(WORDS, 6))
    rows = tuple(
        (word, rng.randrange(100), rng.randrange(100)) for word in words[:_NUM_SHOWN]
    )
    first, second = rng.sample(_NUMBERS, 2)
    return Table(rng.choice(_TABLES), rng.choice(_LABELS), (first, second), words, rows)


def expectations(
    table: Table, sql: str, rng: random.Random, slots: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the scorer's checks; None where the statement shows no effect.

    The statement runs on the rows shown and on hidden ones near its constants, so that
    an answer is not right by luck.
    """
    hidden = _hidden_rows(table, rng, slots)
    cases = []
    for rows in ([list(row) for row in table.rows], hidden):
        answer, state = run_gold(table.schema, table.name, rows, sql)
        cases.append({"rows": rows, "answer": answer, "state": state})
    last = cases[-1]
    is_change = not sql.startswith("SELECT")
    has_effect = last["state"] != last["rows"] if is_change else _tells(last, hidden)
    if not has_effect:
        return None
    return {
        "schema": table.schema,
        "table": table.name,
        "is_ordered": "ORDER BY" in sql,
        "cases": cases,
    }


def run_gold(
    schema: str, table: str, rows: Sequence[Sequence[Any]], sql: str
) -> tuple[Cells, Cells]:
    """Return what our own ``sql`` answers and the table afterwards."""
    database = sqlite3.connect(":memory:")
    try:
        database.execute(schema)
        database.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)
        answer = [list(row) for row in database.execute(sql).fetchall()]
        state = database.execute(f"SELECT * FROM {table}").fetchall()
        return answer, [list(row) for row in state]
    finally:
        database.close()


def _tells(case: Mapping[str, Any], hidden: Cells) -> bool:
    """Tell whether the answer is neither empty nor simply everything."""
    answer = case["answer"]
    return bool(answer) and answer[0] != [None] and len(answer) < len(hidden)


def _hidden_rows(table: Table, rng: random.Random, slots: Mapping[str, Any]) -> Cells:
    near = [slots[key] + step for key in ("a", "b", "lo", "hi") for step in (-1, 0, 1)]
    first = rng.sample(range(100), _NUM_HIDDEN)  # distinct: an order has no ties
    second = rng.sample(range(100), _NUM_HIDDEN)
    for column in (first, second):
        chosen = rng.sample(sorted(set(near)), 4)
        column[:4] = [v for v in chosen if v not in column[4:]] + column[:4]
        del column[_NUM_HIDDEN:]
        rng.shuffle(column)
    words = [*table.words, *rng.choices(WORDS, k=_NUM_HIDDEN - len(table.words))]
    rng.shuffle(words)
    return [list(row) for row in zip(words, first, second, strict=True)]
