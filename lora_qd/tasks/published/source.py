"""Where the samples of a published benchmark come from, and how they are split."""

import glob
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lora_qd.errors import InputError
from lora_qd.tasks.rows import Row, file_rows, files_hash, hub_rows


class Strict(BaseModel):
    """Unknown keys are errors; the text under a field is its description."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class Shares(Strict):
    """How samples are dealt out to the splits, by the hash of their id."""

    search: float = Field(default=0.4, ge=0, le=1)
    """Share that scores every child."""
    validation: float = Field(default=0.2, ge=0, le=1)
    """Share that chooses the best merge and the best member."""
    test: float = Field(default=0.4, ge=0, le=1)
    """Share that is reported once, at the end; what is left over is not used."""

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        total = self.search + self.validation + self.test
        if total > 1 + 1e-9:
            raise ValueError(f"shares add up to {total:g}, more than 1")
        return self


class SourceSettings(Strict):
    """What every skill of a published benchmark is told."""

    path: tuple[str, ...] = ()
    """A file, or a list of them, in the published format: JSON or JSONL, also gzipped;
    `*` matches several. Read in the order given."""
    hub: str | None = None
    """A data set on the Hub, instead of files; a directory like one works too."""
    subset: str | None = None
    """The Hub data set's configuration."""
    split: str = "test"
    """The Hub data set's split; what it holds is split again by `shares`."""
    revision: str | None = None
    """The Hub data set's commit or tag."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """What the source must hash to: of one file what `sha256sum` prints; of others
    what `loraqd skills check` prints."""
    shares: Shares = Field(default_factory=Shares)
    """How the samples are split."""

    @field_validator("path", mode="before")
    @classmethod
    def _as_tuple(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if bool(self.path) == bool(self.hub):
            raise ValueError("name either path (files) or hub (a Hub data set)")
        return self


@dataclass(frozen=True, slots=True)
class Source:
    """What was read."""

    rows: Sequence[Row]
    sha256: str
    """Of the file, of several files' hashes, or of a data set's rows."""


def read_source(settings: SourceSettings) -> Source:
    """Read all rows that ``settings`` name.

    Raises:
        InputError: a file or data set cannot be read, is empty, or has another hash
            than ``settings`` say.
        MissingExtraError: a Hub data set needs the extra ``train``.
    """
    if settings.hub:
        rows = list(
            hub_rows(
                settings.hub,
                subset=settings.subset,
                split=settings.split,
                revision=settings.revision,
            )
        )
        name, sha256 = settings.hub, _rows_hash(rows)
    else:
        paths = _paths(settings.path)
        rows = [row for path in paths for row in file_rows(path)]
        name, sha256 = ", ".join(settings.path), files_hash(paths)
    if not rows:
        raise InputError(f"expected samples in {name}, but there are none; check it")
    if settings.sha256 not in (None, sha256):
        raise InputError(
            f"expected {name} with sha256 {settings.sha256}, but it has {sha256}; "
            "fetch it again, or write the new hash into the config"
        )
    return Source(rows, sha256)


def _paths(patterns: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for pattern in patterns:
        names = sorted(glob.glob(pattern)) if "*" in pattern else [pattern]
        if not names:
            raise InputError(
                f"expected files that match {pattern}, but there are none; check the "
                "path in the config"
            )
        found += map(Path, names)
    return found


def _rows_hash(rows: Sequence[Row]) -> str:
    lines = (json.dumps(row.fields, sort_keys=True, default=str) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
