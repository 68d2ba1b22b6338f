"""Stands between a driver and the server it starts, and outlives neither.

Run as a script, as the leader of its own process group, and made of the standard
library alone so that it starts at once:

    python supervisor.py DRIVER_PID GRACE_S DIRECTORY... -- COMMAND...

It starts COMMAND in its group. When COMMAND ends, when it is told to end (SIGTERM), or
when the driver is gone, however that died, it ends the whole group, first asking, then
killing, and removes the directories. A guard does the same if this process is killed
itself, as Ray does with the children of a process that ends.
"""

import os
import shutil
import signal
import subprocess
import sys
import time

_POLL_S = 0.1
_GUARDS_GRACE_S = 3.0


def main(arguments: list[str]) -> None:
    """Run a command until it, the driver or our orders end it; does not return."""
    split = arguments.index("--")
    driver, grace_s = int(arguments[0]), float(arguments[1])
    directories, command = arguments[2:split], arguments[split + 1 :]
    orders: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: orders.append(number))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    supervisor = os.getpid()
    if not os.fork():
        _guard(supervisor, grace_s, directories)
    while child.poll() is None and not orders and os.getppid() == driver:
        time.sleep(_POLL_S)
    if child.poll() is None:
        child.terminate()
        _wait(child, grace_s)
    else:
        sys.stderr.write(f"the server ended with exit status {child.returncode}\n")
        sys.stderr.flush()
    _clear(directories)


def _guard(supervisor: int, grace_s: float, directories: list[str]) -> None:
    """Outlive the supervisor, and end what it left; does not return."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while os.getppid() == supervisor:
        time.sleep(_POLL_S)
    os.killpg(0, signal.SIGTERM)
    time.sleep(min(grace_s, _GUARDS_GRACE_S))
    _clear(directories)


def _clear(directories: list[str]) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)  # this process too


def _wait(child: "subprocess.Popen[bytes]", grace_s: float) -> None:
    deadline = time.monotonic() + grace_s
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main(sys.argv[1:])
