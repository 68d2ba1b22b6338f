"""What all processes of a job use together, read from /proc."""

import os
from dataclasses import dataclass

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """A sum over processes."""

    cpu_s: float
    """Seconds of processor time, ended children included."""
    memory_bytes: int
    """Memory that is not a file's; what processes share counts for each."""
    num_processes: int
    """Processes and threads."""


def measure() -> Usage:
    """Return what all processes of this namespace but its first one use."""
    pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and pid != "1"]
    usages = [_of_one(pid) for pid in pids]
    return Usage(
        sum(usage.cpu_s for usage in usages),
        sum(usage.memory_bytes for usage in usages),
        sum(usage.num_processes for usage in usages),
    )


def _of_one(pid: str) -> Usage:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            times = file.read().rpartition(b")")[2].split()[11:15]
        with open(f"/proc/{pid}/status", "rb") as file:
            rows = [line.split() for line in file]
    except OSError:  # it has just ended
        return Usage(0.0, 0, 0)
    value_by_name = {row[0]: row[1] for row in rows if len(row) > 1}
    kib = sum(int(value_by_name.get(k, 0)) for k in (b"RssAnon:", b"RssShmem:"))
    return Usage(
        sum(int(time) for time in times) / _TICKS_PER_S,
        kib * 1024,
        int(value_by_name.get(b"Threads:", 0)),
    )
