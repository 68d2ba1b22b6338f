"""What the log of a vLLM server tells of its end."""

import re
from pathlib import Path

_NUM_LAST_LINES = 12
_ERROR = re.compile(r"(?:^|\s)((?:[\w.]*\.)?\w+(?:Error|Exception): .*)")
_LESS_MEMORY = (
    "it ran out of memory: lower engine.max_num_seqs, engine.max_loras or "
    "engine.max_model_len, or serve a quantised base"
)
_REMEDIES = (
    (re.compile(r"out of memory|OutOfMemory|MemoryError", re.IGNORECASE), _LESS_MEMORY),
    (re.compile(r"No available memory for the cache blocks"), _LESS_MEMORY),
    (re.compile(r"less than desired GPU memory utilization"), _LESS_MEMORY),
    (re.compile(r"[Cc]annot allocate memory"), _LESS_MEMORY),
    (
        re.compile(r"ended with exit status -9"),
        "it was killed, as the kernel does when memory runs out: free memory, or "
        "lower engine.max_num_seqs",
    ),
    (
        re.compile(r"address already in use", re.IGNORECASE),
        "its address is in use: stop who listens there, or choose another",
    ),
)


def read_log(log: Path, offset: int = 0) -> str:
    """Return the log from a byte ``offset`` on; empty where there is none."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def excerpt(text: str) -> list[str]:
    """Return the last lines of a log, preceded by the first error it reports.

    The cause of a failed start is often far above the end of the log.
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    last = lines[-_NUM_LAST_LINES:]
    errors = (match.group(1) for line in lines if (match := _ERROR.search(line)))
    first = next(errors, None)
    if first is None or any(first in line for line in last):
        return last
    return [first, "...", *last]


def remedy(text: str, *, otherwise: str) -> str:
    """Return what to do about the end that a log tells of."""
    return next((r for cause, r in _REMEDIES if cause.search(text)), otherwise)
