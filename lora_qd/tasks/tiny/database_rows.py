"""Tables of the database skill, and what a gold statement does to them."""

import random
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lora_qd.tasks.tiny.code_templates import WORDS

Cells = list[list[Any]]
"""Rows of a table: one word, then two numbers."""

_TABLES = (
    "shop",
    "farm",
    "port",
    "club",
    "team",
    "zoo",
    "park",
    "mine",
    "band",
    "town",
)
_LABELS = (
    "name",
    "item",
    "kind",
    "code",
    "tag",
    "title",
)
_NUMBERS = (
    "cost",
    "size",
    "age",
    "year",
    "rank",
    "mass",
    "score",
    "stock",
    "speed",
    "width",
)
_NUM_SHOWN = 2
_NUM_HIDDEN = 12
_NUM_REPEATED = 6

_MISSES = (
    (" > ", " >= "), (" >= ", " > "), (" < ", " <= "), (" <= ", " < "),
    (" AND ", " OR "), (" OR ", " AND "), ("DISTINCT ", ""), (" DESC", ""),
    (r" ORDER BY \w+ \w+", ""), (r" OFFSET \d", ""), (r"'(.)%'", r"'%\1%'"),
    (r" WHERE [^()]*?(?= ORDER|$)", ""), ("SUM", "AVG"), ("AVG", "SUM"),
    ("MAX", "MIN"), ("MIN", "MAX"),
)  # fmt: skip
"""Pattern and replacement of each near miss of a gold statement."""


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


def expectations(table: Table, sql: str, rng: random.Random) -> dict[str, Any] | None:
    """Return the scorer's checks; None where the statement shows no effect.

    The statement runs on the rows shown and on hidden ones near its constants, which
    tell it from its near misses, so that an answer is not right by luck.
    """
    hidden = _hidden_rows(table, rng, sql)
    gold, *misses = _outcomes(table, hidden, [sql, *_near_misses(sql)])
    answer, state = gold
    shown = [list(row) for row in table.rows]
    (first,) = _outcomes(table, shown, [sql])
    if sql.startswith("SELECT"):  # a constant must not answer both
        has_effect = _tells(answer, hidden) and answer != first[0]
    else:
        has_effect = state != hidden
    if not has_effect or gold in misses:
        return None
    runs = ((shown, first), (hidden, gold))
    return {
        "schema": table.schema,
        "table": table.name,
        "is_ordered": "ORDER BY" in sql,
        "cases": [{"rows": r, "answer": a, "state": s} for r, (a, s) in runs],
    }


def _near_misses(sql: str) -> Iterator[str]:
    if "BETWEEN" in sql:
        return  # its AND is no condition
    for pattern, replacement in _MISSES:
        missed = re.sub(pattern, replacement, sql)
        if missed != sql:
            yield missed


def _outcomes(
    table: Table, rows: Cells, statements: Sequence[str]
) -> list[tuple[Cells, Cells]]:
    """Return what each of our statements answers, and the table it leaves."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    try:
        database.execute(table.schema)
        insert = f"INSERT INTO {table.name} VALUES (?, ?, ?)"
        database.executemany(insert, rows)
        outcomes = []
        for sql in statements:
            database.execute("BEGIN")
            answer = [list(row) for row in database.execute(sql)]
            state = [list(r) for r in database.execute(f"SELECT * FROM {table.name}")]
            database.execute("ROLLBACK")
            outcomes.append((answer, state))
        return outcomes
    finally:
        database.close()


def _tells(answer: Cells, hidden: Cells) -> bool:
    """Tell whether the answer is neither empty nor simply everything."""
    return bool(answer) and answer[0] != [None] and len(answer) < len(hidden)


def _hidden_rows(table: Table, rng: random.Random, sql: str) -> Cells:
    constants = [int(digits) for digits in re.findall(r"\b\d+\b", sql)]
    edges = {value + step for value in constants for step in (-1, 0, 1)}
    columns: list[list[int]] = []
    for _ in table.numbers:
        near = rng.sample(sorted(edges), min(len(edges), _NUM_HIDDEN // 2))
        far = [value for value in range(100) if value not in near]
        column = [*near, *rng.sample(far, _NUM_HIDDEN - len(near))]
        if "DISTINCT" in sql:  # else distinct: an order has no ties
            column[_NUM_REPEATED:] = column[:_NUM_REPEATED]
        columns.append(rng.sample(column, _NUM_HIDDEN))
    compared = re.search(r"(\w+) [<>]=? \w+ \+ (\d+)", sql)
    if compared:  # one row just at the edge
        left = table.numbers.index(compared[1])
        columns[left][0] = columns[1 - left][0] + int(compared[2])
    asked = tuple(re.findall(r"'(\w+)%?'", sql))
    fitting = [word for word in WORDS if word.startswith(asked)]
    num_more = _NUM_HIDDEN - len(table.words)
    words = [*table.words, *rng.choices(fitting or WORDS, k=num_more)]
    rng.shuffle(words)
    first, second = columns
    return [list(row) for row in zip(words, first, second, strict=True)]
