"""The last process of the chain: it gives up all rights and runs the source."""

import gc
import io
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any, NoReturn, TextIO

from lora_qd.tasks.sandbox.inside import call_filter, remote, tree
from lora_qd.tasks.sandbox.inside.kernel import (
    drop_rights,
    limit_resources,
    set_dumpable,
)

_BASH = ["bash", "--norc", "--noprofile", "-c"]
_ENVIRONMENT = {"HOME": "/scratch", "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
_MOST_MESSAGE_BYTES = 500
_LINK = 3
MARK = "!"
"""What a program's supervisor reads once it is confined."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Descriptors of a program."""

    out: int
    """Its standard output."""
    err: int
    """Its standard error."""
    mark: int
    """Gets `MARK` at the instant from which the program is to blame for whatever
    happens."""
    link: int | None = None
    """To the judge, or to the judged; moved to `_LINK`."""


def start(job: dict[str, Any], user_id: int, ends: Ends) -> NoReturn:
    """Become the program of ``job``; never returns.

    Args:
        job: what the driver sent; its ``role`` is ``alone``, ``judged`` or ``judge``.
        user_id: the user to become, 0 for none.
        ends: its descriptors.
    """
    role = job["role"]
    try:
        _confine(job["limits"], user_id, ends)
        set_dumpable(role != "judge")  # else the judged, the same user, may look in
        os.write(ends.mark, MARK.encode())
        if ends.link is not None:
            os.dup2(ends.link, _LINK)
        os.closerange(3 if ends.link is None else _LINK + 1, 1024)
        os.chdir("/scratch")
        if role != "judge":
            tree.make(job["files"])
        if job["program"] == "bash":
            os.execve("/bin/bash", [*_BASH, job["source"]], _ENVIRONMENT)
        _run_python(job["source"], role)
    except (OSError, ValueError, MemoryError) as error:
        _complain(error)
    finally:
        os._exit(1)


def _confine(limits: dict[str, Any], user_id: int, ends: Ends) -> None:
    signal.set_wakeup_fd(-1)
    os.setsid()
    set_dumpable(True)  # else this very file is closed to us
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # short of memory, the system takes this process first
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(ends.out, 1)
    os.dup2(ends.err, 2)
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    drop_rights(user_id)
    limit_resources(limits, user_id)
    call_filter.install()


def _run_python(source: str, role: str) -> NoReturn:
    sys.stdin, sys.stdout, sys.stderr = _open(0, "r"), _open(1, "w"), _open(2, "w")
    sys.argv = ["job"]
    os.environ.update(_ENVIRONMENT)
    gc.enable()
    status = 1
    try:
        if role == "judged":
            remote.serve(_LINK, source)
        space: dict[str, Any] = {"__name__": "__main__"}
        if role == "judge":
            space["answer"] = remote.Answer(_LINK)
        exec(compile(source, "job", "exec"), space)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:  # noqa: BLE001 - whatever it raises is its result
        _complain(error)
    finally:
        _flush()
        os._exit(status & 0xFF)


def _open(descriptor: int, mode: str) -> TextIO:
    binary = os.fdopen(descriptor, f"{mode}b", closefd=False)
    return io.TextIOWrapper(binary, encoding="utf-8", errors="replace")


def _flush() -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:  # noqa: BLE001 - they may be anything by now
        _complain(error)
        os._exit(1)


def _complain(error: BaseException) -> None:
    """Write one line to standard error."""
    first = (str(error).splitlines() or [""])[0]
    text = f"\n{type(error).__name__}: {first}".removesuffix(": ")
    os.write(2, text.encode(errors="replace")[:_MOST_MESSAGE_BYTES])
