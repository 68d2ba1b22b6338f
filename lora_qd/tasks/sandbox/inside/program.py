"""The last process of the chain: it gives up all rights and runs the source."""

import gc
import io
import os
import signal
import sys
from typing import Any, NoReturn, TextIO

from lora_qd.tasks.sandbox.inside import call_filter, tree
from lora_qd.tasks.sandbox.inside.kernel import (
    drop_rights,
    limit_resources,
    set_dumpable,
)

_BASH = ["bash", "--norc", "--noprofile", "-c"]
_ENVIRONMENT = {"HOME": "/scratch", "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
_MOST_MESSAGE_BYTES = 500
MARK = "!"
"""What a program's supervisor reads once it is confined."""


def start(job: dict[str, Any], user_id: int, out: int, err: int, mark: int) -> NoReturn:
    """Become the program of ``job``; never returns.

    Args:
        job: what the driver sent.
        user_id: the user to become, 0 for none.
        out: descriptor of its standard output.
        err: descriptor of its standard error.
        mark: gets `MARK` at the instant from which the program is to blame for whatever
            happens.
    """
    try:
        _confine(job["limits"], user_id, out, err)
        os.write(mark, MARK.encode())
        os.closerange(3, 1024)
        os.chdir("/scratch")
        tree.make(job["files"])
        if job["program"] == "bash":
            os.execve("/bin/bash", [*_BASH, job["source"]], _ENVIRONMENT)
        _run_python(job["source"])
    except (OSError, ValueError, MemoryError) as error:
        _complain(error)
    finally:
        os._exit(1)


def _confine(limits: dict[str, Any], user_id: int, out: int, err: int) -> None:
    signal.set_wakeup_fd(-1)
    os.setsid()
    set_dumpable(True)  # else this very file is closed to us
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # short of memory, the system takes this process first
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    drop_rights(user_id)
    limit_resources(limits, user_id)
    call_filter.install()


def _run_python(source: str) -> NoReturn:
    sys.stdin, sys.stdout, sys.stderr = _open(0, "r"), _open(1, "w"), _open(2, "w")
    sys.argv = ["job"]
    os.environ.update(_ENVIRONMENT)
    gc.enable()
    status = 1
    try:
        exec(compile(source, "job", "exec"), {"__name__": "__main__"})
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
