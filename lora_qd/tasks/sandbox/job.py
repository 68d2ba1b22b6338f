"""What the sandbox takes and returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use; the defaults suit small samples."""

    cpu_s: int = 2
    """Seconds of processor time, over all processes."""
    wall_s: float = 5.0
    """Seconds from start to end."""
    memory_bytes: int = 512 * MIB
    """Address space of one process, and memory in use over all processes; half as much
    again fits into the scratch directory, /tmp and /dev/shm together."""
    num_processes: int = 16
    """Processes and threads at once."""
    file_bytes: int = 16 * MIB
    """Size of one file."""
    output_bytes: int = 64 * 1024
    """Bytes on standard output, and on standard error."""


@dataclass(frozen=True, slots=True)
class Job:
    """One untrusted program.

    Raises:
        ValueError: a path in ``files`` leads out of the scratch directory.
    """

    program: Literal["python", "bash"]
    """Who interprets the source."""
    source: str
    files: Mapping[str, str | None] = field(default_factory=dict)
    """Text by path below the scratch directory, made before the start; None is a
    directory."""
    collect_tree: bool = False
    """Whether the outcome holds the scratch directory afterwards."""
    judge: str = ""
    """Trusted Python that decides over the source, if there is any.

    The two run in a process each. The judge finds what the source defines in
    ``answer[name]`` and calls it there; output, errors and status are the judge's, and
    the source can neither read nor write anything of it."""

    def __post_init__(self) -> None:
        if self.judge and self.program != "python":
            raise ValueError(f"expected Python with a judge, but got {self.program!r}")
        for path in self.files:
            parts = PurePosixPath(path)
            if not parts.parts or parts.is_absolute() or ".." in parts.parts:
                raise ValueError(
                    f"expected paths below the scratch directory, but got {path!r}; "
                    "pass relative paths without '..'"
                )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job."""

    is_ok: bool
    """Whether it ended with status 0 within all limits."""
    output: str
    """Standard output, undecodable bytes replaced."""
    reason: str
    """Why it is not ok, one line; empty if it is."""
    files: Mapping[str, str | None]
    """The scratch directory afterwards, if asked for: text by path, None for a
    directory; links and special files are named, never followed."""
    limit: str = ""
    """The limit it broke; empty if none."""
