"""What a supervisor's answer means for the person who reads the score."""

import os
import signal
from typing import Any

from lora_qd.tasks.sandbox.job import Limits, Outcome

_MOST_QUOTED = 200
_SHELL_SIGNAL = 128
"""A shell ends with this plus the signal that ended its command."""
_LIMIT_BY_SIGNAL = {int(signal.SIGXCPU): "cpu", int(signal.SIGXFSZ): "file"}
_MEMORY_SIGNS = ("MemoryError", "annot allocate", "memory exhausted")
_PROCESS_SIGNS = ("BlockingIOError: [Errno 11]", "can't start new thread")


def outcome_of(answer: dict[str, Any], limits: Limits) -> Outcome:
    """Return the outcome that a supervisor's answer stands for."""
    limit = _limit(answer, limits)
    if limit:
        reason = _reason_by_limit(limits)[limit]
    else:
        reason = _failure(answer["status"], answer["error"])
    return Outcome(not reason, answer["output"], reason, answer["files"], limit)


def was_killed(answer: dict[str, Any], limits: Limits) -> bool:
    """Return whether a job was killed, by whomever, but not for a limit."""
    return answer["status"] == signal.SIGKILL and not _limit(answer, limits)


def _reason_by_limit(limits: Limits) -> dict[str, str]:
    return {
        "cpu": f"took more than {limits.cpu_s} s of CPU",
        "wall": f"took longer than {limits.wall_s:g} s",
        "memory": f"used more than {_size(limits.memory_bytes)} of memory",
        "processes": f"started more than {limits.num_processes} processes",
        "output": f"printed more than {_size(limits.output_bytes)}",
        "file": f"wrote a file larger than {_size(limits.file_bytes)}",
    }


def _failure(status: int, error: str) -> str:
    """Return how a job failed by itself, in one line; empty if it did not."""
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return ""
    ending = f"ended by signal {-code}" if code < 0 else f"exit status {code}"
    return f"{ending}: {_last_line(error)}".removesuffix(": ")


def _limit(answer: dict[str, Any], limits: Limits) -> str:
    """Return the limit that a job broke; empty if none."""
    broken: str = answer["broken"]
    if broken or answer["status"] == 0:
        return broken
    said = _last_line(answer["error"])
    if any(sign in said for sign in _PROCESS_SIGNS):
        return "processes"
    if any(sign in said for sign in _MEMORY_SIGNS):
        return "memory"
    code = os.waitstatus_to_exitcode(answer["status"])
    number = -code if code < 0 else code - _SHELL_SIGNAL
    if number == signal.SIGKILL and answer["cpu_s"] >= limits.cpu_s:
        return "cpu"
    return _LIMIT_BY_SIGNAL.get(number, "")


def _last_line(text: str) -> str:
    """Return the last line that says something, safe to print."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[-1][:_MOST_QUOTED] if lines else ""
    return "".join(c if c.isprintable() else "?" for c in line)


def _size(num_bytes: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if num_bytes >= size:
            return f"{num_bytes / size:.3g} {unit}"
    return f"{num_bytes} bytes"
