"""SQL on a table in memory, for jobs whose untrusted part is SQL and not Python."""

import json
import sqlite3
import unicodedata
from collections.abc import Sequence
from typing import Any

_MOST_ROWS = 1000
_DENIED = {
    sqlite3.SQLITE_ATTACH,
    sqlite3.SQLITE_DETACH,
    sqlite3.SQLITE_PRAGMA,
}
_HARMLESS = {"table_info"}


def main(job: str) -> None:
    """Print what the last statement answers and what the table holds then, as JSON.

    Args:
        job: JSON of ``name``, ``columns`` and ``rows`` of the table, and the
            ``statements`` in order; earlier ones that fail are passed over, as they
            were when they were new.
    """
    order = json.loads(job)
    database = open_table(order["name"], order["columns"], order["rows"])
    reply: dict[str, Any] = {"rows": []}
    for statement in order["statements"]:
        reply = execute(database, statement)
    state = rows_of(database, order["name"], order["columns"])
    print(json.dumps(reply | {"state": state}, default=_shown))  # noqa: T201 - its result


def open_table(
    name: str, columns: Sequence[str], rows: Sequence[Sequence[str | None]]
) -> sqlite3.Connection:
    """Return a database in memory with one table, all text.

    Comparisons ignore case and accents, as MySQL's do by default.

    Raises:
        sqlite3.Error: SQLite has no such table.
    """
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.create_collation("MYSQL", _compare)
    declared = ", ".join(f"{quoted(c)} TEXT COLLATE MYSQL" for c in columns)
    database.execute(f"CREATE TABLE {quoted(name)} ({declared})")
    marks = ", ".join("?" for _ in columns)
    database.executemany(f"INSERT INTO {quoted(name)} VALUES ({marks})", rows)
    _add_functions(database)
    database.set_authorizer(_authorize)
    return database


def execute(database: sqlite3.Connection, statement: str) -> dict[str, Any]:
    """Return the ``rows`` of a statement, or its ``error``."""
    try:
        return {"rows": database.execute(statement).fetchmany(_MOST_ROWS)}
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
        return {"error": str(error)}


def rows_of(
    database: sqlite3.Connection, name: str, columns: Sequence[str]
) -> list[Any] | None:
    """Return what the table holds; None if it is not there any more."""
    listed = ", ".join(quoted(column) for column in columns)
    try:
        return database.execute(f"SELECT {listed} FROM {quoted(name)}").fetchall()
    except (sqlite3.Error, sqlite3.Warning):
        return None


def quoted(name: str) -> str:
    """Return an identifier in SQLite's quotes."""
    return '"' + name.replace('"', '""') + '"'


def _authorize(action: int, first: str | None, *_others: object) -> int:
    if action in _DENIED and first not in _HARMLESS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _compare(left: str, right: str) -> int:
    if left == right:
        return 0
    left, right = _folded(left), _folded(right)
    return (left > right) - (left < right)


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", text)
    return "".join(c for c in plain if not unicodedata.combining(c)).casefold()


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _concat(*parts: object) -> str | None:
    return None if None in parts else "".join(map(str, parts))


def _concat_ws(separator: object, *parts: object) -> str | None:
    if separator is None:
        return None
    return str(separator).join(str(part) for part in parts if part is not None)


def _substring_index(text: object, mark: object, count: int) -> str:
    pieces = _text(text).split(str(mark)) if mark else [_text(text)]
    kept = pieces[:count] if count >= 0 else pieces[count:]
    return str(mark).join(kept)


def _pad(text: object, width: int, fill: str, *, is_left: bool) -> str:
    text = _text(text)
    padding = (fill * width)[: max(0, width - len(text))]
    return (padding + text if is_left else text + padding)[:width]


def _add_functions(database: sqlite3.Connection) -> None:
    """Add what MySQL has and SQLite lacks."""
    functions = (
        ("concat", -1, _concat),
        ("concat_ws", -1, _concat_ws),
        ("substring_index", 3, _substring_index),
        ("lpad", 3, lambda t, n, f: _pad(t, min(n, 10_000), f, is_left=True)),
        ("rpad", 3, lambda t, n, f: _pad(t, min(n, 10_000), f, is_left=False)),
        ("reverse", 1, lambda t: _text(t)[::-1]),
        ("left", 2, lambda t, n: _text(t)[: max(0, n)]),
        ("right", 2, lambda t, n: _text(t)[-n:] if n > 0 else ""),
        ("char_length", 1, lambda t: None if t is None else len(str(t))),
        ("locate", 2, lambda part, t: _text(t).lower().find(_text(part).lower()) + 1),
        ("year", 1, lambda t: _leading_int(_text(t)[:4])),
    )
    for name, num_arguments, function in functions:
        database.create_function(name, num_arguments, function, deterministic=True)


def _leading_int(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
