"""Rows of DBBench as samples.

``Sample.checks`` holds ``table`` (name, columns, rows), ``changes`` (whether the state
counts, or the answer), and ``gold``: the state's MD5, or the answers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lora_qd.errors import InputError
from lora_qd.records import Sample
from lora_qd.tasks.rows import Row
from lora_qd.tasks.task import sample_id

_CHANGES = {"INSERT", "UPDATE", "DELETE"}


@dataclass(frozen=True, slots=True)
class Table:
    """The one table of a sample; every column holds text."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]

    @classmethod
    def of(cls, checks: Mapping[str, Any]) -> "Table":
        """Return the table in a sample's checks."""
        table = checks["table"]
        rows = tuple(tuple(row) for row in table["rows"])
        return cls(table["name"], tuple(table["columns"]), rows)

    @property
    def fault(self) -> str:
        """Why no database could hold it; empty if one could."""
        num = len(self.columns)
        if len({name.lower() for name in self.columns}) < num:
            return "its table has two columns of one name"
        for place, row in enumerate(self.rows, 1):
            if len(row) != num:
                return f"row {place} of its table has {len(row)} of {num} values"
        return ""


def database_sample(row: Row, name: str) -> Sample:
    """Return the sample of a row; its id is the hash of all that the row says.

    Raises:
        InputError: a field is missing or wrong.
    """
    kind = row.value("type")
    if not isinstance(kind, list) or not kind or not isinstance(kind[0], str):
        raise InputError(
            f"{row.where}: expected a list with the kind of question in 'type', but "
            f"got {str(kind)[:60]!r}; repair the row"
        )
    label = _texts(row, "label")
    changes = kind[0] in _CHANGES
    if changes and not isinstance(row.fields.get("answer_md5"), str):
        raise InputError(
            f"{row.where}: expected the hash of the changed table in 'answer_md5', but "
            f"got {type(row.fields.get('answer_md5')).__name__}; repair the row"
        )
    content = json.dumps(row.fields, sort_keys=True)
    hint = row.fields.get("add_description") or ""
    return Sample(
        id=sample_id(name, content),
        prompt=f"{row.text('description')}\n{hint}".rstrip(),
        target="; ".join(label),
        checks={
            "table": _table(row),
            "changes": changes,
            "gold": row.fields["answer_md5"] if changes else label,
        },
        template=kind[0],
    )


def _texts(row: Row, field: str) -> list[str]:
    value = row.value(field)
    is_plain = isinstance(value, list) and all(
        isinstance(v, str | int | float) for v in value
    )
    if not is_plain or not value:
        raise InputError(
            f"{row.where}: expected a list of texts in {field!r}, but got "
            f"{str(value)[:60]!r}; repair the row"
        )
    return [str(each) for each in value]


def _table(row: Row) -> dict[str, Any]:
    try:
        table = row.value("table")
        info = table["table_info"]
        columns = [str(column["name"]) for column in info["columns"]]
        rows = [[_text(v) for v in values] for values in info["rows"]]
        name = str(table["table_name"])
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{row.where}: expected 'table' with table_name and table_info of columns "
            f"and rows, but got {type(error).__name__}: {error}; repair the row"
        ) from error
    if not columns:
        raise InputError(
            f"{row.where}: expected columns in the table, but it has none; repair it"
        )
    return {"name": name, "columns": columns, "rows": rows}


def _text(value: object) -> str | None:
    return None if value is None else str(value)
