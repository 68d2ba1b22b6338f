"""The questions of the database skill: one SQL statement each, composed from slots.

A row names the gold statement and its phrasings; the slots of a row are filled together,
so that statement and phrasing agree. The table is drawn first: its name, a column of
words and two columns of numbers.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lora_qd.tasks.tiny.code_templates import WORDS
from lora_qd.tasks.tiny.database_rows import Table, draw_table, expectations
from lora_qd.tasks.tiny.template import Draft, Template

_TRIES = 100


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    sql: str
    """The gold statement."""
    phrases: tuple[str, ...]


def _row(name: str, sql: str, *phrases: str) -> _Row:
    return _Row(name, sql, phrases)


_ROWS = (
    _row(
        "filter", "SELECT {w} FROM {T} WHERE {x} {c} {a}",
        "which {w} have {x} {C} {a}", "the {w} where {x} is {C} {a}",
        "list each {w} with {x} {C} {a}",
    ),
    _row(
        "filter both", "SELECT {w} FROM {T} WHERE {x} {c} {a} AND {y} {d} {b}",
        "which {w} have {x} {C} {a} and {y} {D} {b}",
        "the {w} where {x} is {C} {a} and {y} is {D} {b}",
        "list each {w} with both {x} {C} {a} and {y} {D} {b}",
    ),
    _row(
        "filter either", "SELECT {w} FROM {T} WHERE {x} {c} {a} OR {y} {d} {b}",
        "which {w} have {x} {C} {a} or {y} {D} {b}",
        "the {w} where {x} is {C} {a} or {y} is {D} {b}",
        "list each {w} with either {x} {C} {a} or {y} {D} {b}",
    ),
    _row(
        "two columns", "SELECT {w}, {x} FROM {T} WHERE {y} {c} {a}",
        "{w} and {x} where {y} is {C} {a}", "show {w} and {x} for {y} {C} {a}",
        "both {w} and {x} of rows with {y} {C} {a}",
    ),
    _row(
        "count", "SELECT COUNT(*) FROM {T} WHERE {x} {c} {a}",
        "how many rows have {x} {C} {a}", "count the rows where {x} is {C} {a}",
        "the number of rows with {x} {C} {a}",
    ),
    _row(
        "count either", "SELECT COUNT(*) FROM {T} WHERE {x} {c} {a} OR {w} = '{s}'",
        "how many rows have {x} {C} {a} or {w} {s}",
        "count the rows where {x} is {C} {a} or {w} is {s}",
        "the number of rows with {x} {C} {a} or {w} {s}",
    ),
    _row(
        "aggregate", "SELECT {g}({x}) FROM {T} WHERE {y} {c} {a}",
        "the {G} {x} where {y} is {C} {a}", "what is the {G} {x} for {y} {C} {a}",
        "find the {G} {x} of rows with {y} {C} {a}",
    ),
    _row(
        "two aggregates",
        "SELECT MIN({x}), MAX({x}) FROM {T} WHERE {y} {c} {a}",
        "the smallest and the largest {x} where {y} is {C} {a}",
        "from smallest to largest {x} of rows with {y} {C} {a}",
        "the range of {x} for {y} {C} {a}",
    ),
    _row(
        "one value", "SELECT {x} FROM {T} WHERE {w} = '{s}'",
        "what is the {x} of {s}", "the {x} where {w} is {s}", "look up the {x} of {s}",
    ),
    _row(
        "either word", "SELECT {x} FROM {T} WHERE {w} IN ('{s}', '{t}')",
        "the {x} of {s} and of {t}", "look up {x} for {s} or {t}",
        "{x} where {w} is {s} or {t}",
    ),
    _row(
        "order", "SELECT {w} FROM {T} WHERE {x} {c} {a} ORDER BY {y} {r}",
        "{w} with {x} {C} {a}, {R} {y} first", "the {w} where {x} is {C} {a} by {R} {y}",
        "sort the {w} with {x} {C} {a} by {R} {y}",
    ),
    _row(
        "top", "SELECT {w} FROM {T} ORDER BY {x} {r} LIMIT {i}",
        "the {i} {w} with the {R} {x}", "{i} rows of {w}, {R} {x} first",
        "give {i} {w} by {R} {x}",
    ),
    _row(
        "filtered top",
        "SELECT {w} FROM {T} WHERE {y} {c} {a} ORDER BY {x} {r} LIMIT {i}",
        "the {i} {w} with the {R} {x} where {y} is {C} {a}",
        "for {y} {C} {a}, the {i} {w} with {R} {x}",
        "give {i} {w} by {R} {x} if {y} is {C} {a}",
    ),
    _row(
        "skip", "SELECT {w} FROM {T} ORDER BY {x} {r} LIMIT {i} OFFSET {j}",
        "skip {j}, then {i} {w} with the {R} {x}", "{i} {w} by {R} {x} after the first {j}",
        "by {R} {x}, drop {j} and give {i} {w}",
    ),
    _row(
        "between", "SELECT {w} FROM {T} WHERE {x} BETWEEN {lo} AND {hi}",
        "the {w} with {x} from {lo} to {hi}", "which {w} have {x} between {lo} and {hi}",
        "list each {w} where {x} lies in {lo} to {hi}",
    ),
    _row(
        "compare columns", "SELECT {w} FROM {T} WHERE {x} {c} {y} + {a}",
        "which {w} have {x} {C} {y} plus {a}", "the {w} where {x} is {C} {y} plus {a}",
        "list each {w} with {x} {C} {y} plus {a}",
    ),
    _row(
        "computed", "SELECT {x} * {a} + {y} FROM {T} WHERE {w} = '{s}'",
        "{x} times {a} plus {y} for {s}", "for {s}, {a} times {x} plus {y}",
        "take {s} and give {x} times {a} plus {y}",
    ),
    _row(
        "word and number",
        "SELECT {x} FROM {T} WHERE {w} = '{s}' AND {y} {c} {a}",
        "the {x} of {s} where {y} is {C} {a}",
        "look up the {x} of {s} if {y} is {C} {a}",
        "{x} for {s}, only with {y} {C} {a}",
    ),
    _row(
        "distinct", "SELECT DISTINCT {x} FROM {T} WHERE {y} {c} {a}",
        "different {x} where {y} is {C} {a}", "each {x} once, for {y} {C} {a}",
        "list {x} without repeats if {y} is {C} {a}",
    ),
    _row(
        "set", "UPDATE {T} SET {x} = {a} WHERE {w} = '{s}'",
        "set the {x} of {s} to {a}", "change {x} to {a} for {s}", "let {s} have {x} {a}",
    ),
    _row(
        "set where", "UPDATE {T} SET {x} = {a} WHERE {y} {c} {b}",
        "set {x} to {a} where {y} is {C} {b}", "change {x} to {a} for all {y} {C} {b}",
        "let rows with {y} {C} {b} have {x} {a}",
    ),
    _row(
        "add", "UPDATE {T} SET {x} = {x} + {a} WHERE {y} {c} {b}",
        "add {a} to {x} where {y} is {C} {b}", "raise {x} by {a} for all {y} {C} {b}",
        "give rows with {y} {C} {b} another {a} of {x}",
    ),
    _row(
        "take off", "UPDATE {T} SET {x} = {x} - {a} WHERE {w} = '{s}'",
        "take {a} off the {x} of {s}", "lower {x} by {a} for {s}",
        "reduce the {x} of {s} by {a}",
    ),
    _row(
        "rename", "UPDATE {T} SET {w} = '{t}' WHERE {w} = '{s}'",
        "rename {s} to {t}", "change {w} {s} into {t}", "call {s} now {t}",
    ),
    _row(
        "insert", "INSERT INTO {T} VALUES ('{n}', {a}, {b})",
        "add a row {n} with {x} {a} and {y} {b}", "insert {n}, {x} {a}, {y} {b}",
        "a new row: {n}, {a}, {b}",
    ),
    _row(
        "insert some", "INSERT INTO {T} ({w}, {y}) VALUES ('{n}', {a})",
        "add {n} with only {y} {a}", "insert {w} {n} and {y} {a}, nothing else",
        "a new {w} {n} that has just {y} {a}",
    ),
    _row(
        "delete", "DELETE FROM {T} WHERE {x} {c} {a}",
        "delete the rows with {x} {C} {a}", "remove all where {x} is {C} {a}",
        "drop each row whose {x} is {C} {a}",
    ),
    _row(
        "delete word", "DELETE FROM {T} WHERE {w} = '{s}' OR {x} {c} {a}",
        "delete {s} and rows with {x} {C} {a}", "remove {s} and all where {x} is {C} {a}",
        "drop {s} and each row whose {x} is {C} {a}",
    ),
)  # fmt: skip

_COMPARISONS = (("above", ">"), ("below", "<"), ("at least", ">="), ("at most", "<="))
_AGGREGATES = (
    ("largest", "MAX"),
    ("smallest", "MIN"),
    ("average", "AVG"),
    ("total", "SUM"),
)
_ORDERS = (("highest", "DESC"), ("lowest", "ASC"))


def _slots(rng: random.Random, table: Table) -> dict[str, Any]:
    """Return a value for every slot; rows use those that they name."""
    a, b = rng.sample(range(2, 100), 2)
    lo, hi = sorted(rng.sample(range(2, 100), 2))
    i, j = rng.sample(range(2, 6), 2)
    s, t = rng.sample(table.words, 2)
    n = rng.choice([word for word in WORDS if word not in table.words])
    x, y = rng.sample(table.numbers, 2)
    (C, c), (D, d) = rng.choice(_COMPARISONS), rng.choice(_COMPARISONS)
    G, g = rng.choice(_AGGREGATES)
    R, r = rng.choice(_ORDERS)
    names = {"T": table.name, "w": table.label, "x": x, "y": y}
    numbers = {"a": a, "b": b, "lo": lo, "hi": hi, "i": i, "j": j}
    words = {"s": s, "t": t, "n": n}
    symbols = {"c": c, "d": d, "g": g, "r": r}
    phrases = {"C": C, "D": D, "G": G, "R": R}
    return {**names, **numbers, **words, **symbols, **phrases}


def bare_line(rng: random.Random) -> str:
    """Return a plausible statement without a question."""
    return rng.choice(_ROWS).sql.format(**_slots(rng, draw_table(rng)))


def _make(row: _Row, rng: random.Random) -> Draft:
    for _ in range(_TRIES):
        table = draw_table(rng)
        slots: Mapping[str, Any] = _slots(rng, table)
        sql = row.sql.format(**slots)
        checks = expectations(table, sql, rng)
        if checks is not None:
            question = rng.choice(row.phrases).format(**slots)
            return Draft(f"{table.shown()}: {question}", sql, checks)
    raise ValueError(f"expected rows on which {row.sql!r} has an effect, found none")


TEMPLATES = tuple(Template(row.name, partial(_make, row)) for row in _ROWS)
"""Every kind of question of the database skill."""
