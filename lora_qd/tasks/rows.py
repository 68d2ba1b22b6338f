"""Rows of JSON files and Hub data sets; an error names the file and the line.

Strict: a row that cannot be read is an error, never skipped.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_qd.errors import InputError, MissingExtraError


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object of a file or data set."""

    where: str
    """What an error calls the row."""
    fields: Mapping[str, Any]
    path: Path | None = None
    """The file; None for a data set on the Hub."""

    def value(self, field: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Return what ``field`` holds.

        Raises:
            InputError: there is no such field.
        """
        if field not in self.fields:
            raise InputError(
                f"{self.where}: expected a field {field!r}, but the fields are "
                f"{', '.join(sorted(self.fields)) or 'none'}; name it in the config or "
                "repair the row"
            )
        return self.fields[field]

    def text(self, field: str) -> str:
        """Return what ``field`` holds, a text that is not empty.

        Raises:
            InputError: it holds anything else.
        """
        value = self.value(field)
        if not isinstance(value, str) or not value.strip():
            fact = "an empty text" if isinstance(value, str) else type(value).__name__
            raise InputError(
                f"{self.where}: expected text in {field!r}, but got {fact}"
            )
        return value


def file_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file: JSON Lines, or a JSON list or object (``.json``).

    A name that ends in ``.gz`` is unpacked first.

    Raises:
        InputError: the file cannot be read, or a line is no JSON object.
    """
    text = _text_of(path)
    name = path.name.removesuffix(".gz")
    yield from _list_rows(path, text) if name.endswith(".json") else _lines(path, text)


def files_hash(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of one file, or of the hashes of several in order.

    Raises:
        InputError: one cannot be read.
    """
    hashes = [hashlib.sha256(_bytes_of(path)).hexdigest() for path in paths]
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def hub_rows(
    hub: str, *, subset: str | None, split: str, revision: str | None
) -> Iterator[Row]:
    """Yield the rows of a data set on the Hub, or in a directory like one.

    Raises:
        InputError: it cannot be loaded.
        MissingExtraError: the library is not installed.
    """
    try:
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise MissingExtraError("reading a Hub data set", "train") from error
    try:
        rows = load_dataset(hub, subset, split=split, revision=revision)
    except (OSError, ValueError, DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"expected the data set {hub!r} with split {split!r}, but got: "
            f"{reason}; check the name, the split and the network"
        ) from error
    for number, fields in enumerate(rows):
        yield Row(f"{hub}, row {number}", fields)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"expected a JSONL file in UTF-8 at {path}, but got: {error.strerror}; "
            "check the path in the config"
        ) from error


def _text_of(path: Path) -> str:
    data = _bytes_of(path)
    try:
        data = gzip.decompress(data) if path.name.endswith(".gz") else data
        return data.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(
            f"expected a JSONL file in UTF-8 at {path}, but got: {error}; fetch the "
            "file again"
        ) from error


def _lines(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            fields = _object(where, _json(where, line, "one JSON object"))
            yield Row(where, fields, path)


def _list_rows(path: Path, text: str) -> Iterator[Row]:
    content = _json(str(path), text, "JSON")
    rows = content if isinstance(content, list) else [content]
    for number, fields in enumerate(rows, start=1):
        where = f"{path}, entry {number}"
        yield Row(where, _object(where, fields), path)


def _json(where: str, text: str, what: str) -> Any:  # noqa: ANN401 - whatever it holds
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise InputError(
            f"{where}: expected {what}, but got: {error.msg} at {line}column "
            f"{error.colno}; repair or delete the line"
        ) from error
    except RecursionError as error:
        raise InputError(
            f"{where}: expected {what}, but it is nested too deeply; repair the file"
        ) from error


def _object(where: str, fields: object) -> Mapping[str, Any]:
    if not isinstance(fields, dict):
        raise InputError(
            f"{where}: expected one JSON object, but got {type(fields).__name__}; "
            "repair or delete it"
        )
    return fields
