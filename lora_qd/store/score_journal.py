"""Scores of samples, one JSON line each, written as they come: what a stop leaves."""

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path

from lora_qd.errors import InputError, StoreError
from lora_qd.records import Score


@dataclass(frozen=True, slots=True)
class Entry:
    """One sample's score."""

    subject: str
    """Who answered, as the user named it."""
    identity: str
    """Changes with everything that may change the answers."""
    skill: str
    skill_hash: str
    """Changes with everything that may change questions or scores."""
    sample: str
    target: str
    """The gold answer."""
    answer: str
    value: float
    """In [0, 1], higher is better."""
    reason: str
    num_prompt_tokens: int
    num_tokens: int
    """Generated tokens."""
    seconds: float
    """Spent scoring."""

    @property
    def score(self) -> Score:
        """The score as a task returns it."""
        return Score(
            value=self.value,
            reason=self.reason,
            answer=self.answer,
            num_prompt_tokens=self.num_prompt_tokens,
            num_tokens=self.num_tokens,
            seconds=self.seconds,
        )


class ScoreJournal:
    """An append-only file of entries with one writer; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made when the block is entered."""
        self._path = path
        self._file: FileIO | None = None
        self._known: dict[tuple[str, str, str], Score] = {}

    def __enter__(self) -> "ScoreJournal":
        """Lock the file and read it; half a line at its end is dropped.

        Raises:
            InputError: another process writes it.
            StoreError: it is damaged, or cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+b", buffering=0)  # a line is there or is not
        except OSError as error:
            raise StoreError(
                f"expected to write {self._path}, but got: {error.strerror}; choose "
                "another directory with --out"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise InputError(
                f"expected {self._path} to be free, but another process is writing it; "
                "wait for it or choose another directory with --out"
            ) from error
        self._file = file
        try:
            self._read(file)
        except BaseException:
            file.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Make all entries outlast a power cut, and close the file."""
        if self._file is not None:
            with self._file as file:
                os.fsync(file.fileno())

    def known(self, identity: str, skill_hash: str) -> Mapping[str, Score]:
        """Return the scores that are there already, by sample id."""
        return {
            sample: score
            for (who, skill, sample), score in self._known.items()
            if (who, skill) == (identity, skill_hash)
        }

    def append(self, entry: Entry) -> None:
        """Write one entry.

        Raises:
            StoreError: the file system refuses.
            ValueError: the journal is not open.
        """
        if self._file is None:
            raise ValueError("expected an open journal; use it in a with block")
        text = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
        line = text.encode(errors="surrogatepass")
        size = os.fstat(self._file.fileno()).st_size
        reason = "it was cut short"
        try:
            num_written = self._file.write(line)
        except OSError as error:
            num_written, reason = 0, str(error.strerror)
        if num_written != len(line):
            self._file.truncate(size)
            raise StoreError(
                f"expected to write {self._path}, but got: {reason}; free space, then "
                "repeat: what is scored is kept"
            )

    def _read(self, file: FileIO) -> None:
        file.seek(0)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = Entry(**json.loads(line.decode(errors="surrogatepass")))
            except (ValueError, TypeError) as error:
                raise StoreError(
                    f"{self._path}, line {number}: expected a sample's score, but got: "
                    f"{error}; delete the line, or choose another directory with --out"
                ) from error
            self._known[entry.identity, entry.skill_hash, entry.sample] = entry.score
