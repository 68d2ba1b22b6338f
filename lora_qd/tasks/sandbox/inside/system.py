"""Process 1 of a throw-away system: runs scripts and the candidate's shell in it.

Messages come on standard input and answers go to standard output, as in `messages`.
Scripts keep one harmless capability more than the candidate's processes have; so the
kernel lets none of these look into a script, or into this process.
"""

import contextlib
import ctypes
import fcntl
import itertools
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from lora_qd.tasks.sandbox.inside import call_filter, usage
from lora_qd.tasks.sandbox.inside.kernel import call, set_dumpable
from lora_qd.tasks.sandbox.inside.messages import read_message, write_message

_POLL_S = 0.05
_DRAIN_S = 0.02
_EXIT_S = 1.0
_WAKE_ALARM = 35
_CAPABILITY_VERSION = 0x20080522
_PR_SET_NO_NEW_PRIVS = 38
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_ENVIRONMENT = {
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
_SAFE_PATH = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin:/usr/local/sbin"
"""Of scripts once the candidate was there: what it may have added comes last."""
_SHELL = (
    "shopt -s expand_aliases; "
    "while IFS= read -r -d '' -u 8 REPLY; do "
    '{ eval "$REPLY"; } </dev/null; printf . >&9; done'
)


class System:
    """The processes of one sample's system."""

    def __init__(self, limits: dict[str, Any]) -> None:
        self._limits = limits
        self._shell: tuple[int, int, int, int] | None = None
        """Its process; the ends of its orders, its marks and its output."""
        self._was_typed = False
        self._awaited: set[int] = set()
        self._ended: dict[int, int] = {}
        """Status by process, of those that are awaited."""

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Return ``output``, ``error``, ``status`` and ``broken`` of an order."""
        if order["kind"] == "type":
            return self._type(order["text"])
        return self._run(order["words"])

    def watch(self) -> None:
        """Hold what runs in the background to the limits."""
        self._reap()
        if self._excess(float("inf")):
            self._kill_since(0)

    def _run(self, words: list[str]) -> dict[str, Any]:
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        path = _SAFE_PATH if self._was_typed else _ENVIRONMENT["PATH"]
        pid = os.fork()
        if pid == 0:
            _become(words, {1: out_end, 2: err_end}, self._limits, path, is_ours=True)
        self._awaited.add(pid)
        os.close(out_end)
        os.close(err_end)
        streams = {out: bytearray(), err: bytearray()}
        broken = self._watch(streams, lambda: pid in self._ended)
        answer = {
            "output": _text(streams[out]),
            "error": _text(streams[err]),
            "status": self._ended.pop(pid, signal.SIGKILL),
            "broken": broken,
        }
        os.close(out)
        os.close(err)
        return answer

    def _type(self, text: str) -> dict[str, Any]:
        self._was_typed = True
        self._reap()
        if self._shell and self._shell[0] in self._ended:
            self._forget_shell(self._shell)
        shell = self._shell or self._start_shell()
        pid, orders, marks, out = shell
        content = bytearray()
        _ready(out, content, 0)  # what came from the background since
        data = text.replace("\0", "").encode(errors="replace") + b"\0"
        is_sent = _write_all(orders, data)

        def is_done() -> bool:
            return pid in self._ended or bool(select.select([marks], [], [], 0)[0])

        broken = self._watch({out: content}, is_done, wake=marks) if is_sent else "wall"
        is_gone = broken or pid in self._ended or not os.read(marks, 1)
        if is_gone:
            self._await(pid, 0 if broken else _EXIT_S)
            self._forget_shell(shell)
        status = self._ended.pop(pid, signal.SIGKILL if broken else 0)
        return {
            "output": _text(content),
            "error": "the shell ended" if is_gone else "",
            "status": status,
            "broken": broken,
        }

    def _start_shell(self) -> tuple[int, int, int, int]:
        (orders, orders_end), (marks, marks_end) = os.pipe(), os.pipe()
        out, out_end = os.pipe()
        words = ["/bin/bash", "--norc", "--noprofile", "-c", _SHELL, "bash"]
        ends = {1: out_end, 2: out_end, 8: orders, 9: marks_end}
        pid = os.fork()
        if pid == 0:
            _become(words, ends, self._limits, _ENVIRONMENT["PATH"], is_ours=False)
        self._awaited.add(pid)
        for end in (orders, marks_end, out_end):
            os.close(end)
        os.set_blocking(orders_end, False)
        self._shell = (pid, orders_end, marks, out)
        return self._shell

    def _await(self, pid: int, most_s: float) -> None:
        """Wait for a shell that closed its marks: it is about to end."""
        end = time.monotonic() + most_s
        while pid not in self._ended and time.monotonic() < end:
            time.sleep(0.001)
            self._reap()

    def _forget_shell(self, shell: tuple[int, int, int, int]) -> None:
        pid, *ends = shell
        if pid in self._awaited:
            self._awaited.discard(pid)
            os.kill(pid, signal.SIGKILL)
        for end in ends:
            os.close(end)
        self._shell = None

    def _watch(
        self,
        streams: dict[int, bytearray],
        is_done: Callable[[], bool],
        wake: int | None = None,
    ) -> str:
        """Read until it is done or breaks a limit; return that limit."""
        start_ticks = _now_ticks()
        before = usage.measure().cpu_s
        end = time.monotonic() + self._limits["wall_s"]
        broken, open_ = "", set(streams)
        while not broken and not is_done():
            extra = [] if wake is None else [wake]
            ready, _, _ = select.select([*open_, *extra], [], [], _POLL_S)
            for stream in open_ & set(ready):
                if not _ready(stream, streams[stream], 0):
                    open_.discard(stream)
            self._reap()
            if any(len(s) > self._limits["output_bytes"] for s in streams.values()):
                broken = "output"
            elif time.monotonic() > end:
                broken = "wall"
            else:
                broken = self._excess(before + self._limits["cpu_s"])
        if broken:
            self._kill_since(0 if broken in ("memory", "processes") else start_ticks)
        for stream in open_:
            _ready(stream, streams[stream], _DRAIN_S)
        for content in streams.values():
            del content[self._limits["output_bytes"] :]
        return broken

    def _excess(self, most_cpu_s: float) -> str:
        used = usage.measure()
        if used.num_processes > self._limits["num_processes"]:
            return "processes"
        if used.memory_bytes > self._limits["memory_bytes"]:
            return "memory"
        return "cpu" if used.cpu_s > most_cpu_s else ""

    def _kill_since(self, ticks: int) -> None:
        """Kill all processes that began after ``ticks``, until there are none."""
        if ticks == 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        for _ in range(20):
            pids = [pid for pid in _pids() if _start_ticks(pid) >= ticks]
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.005)
            self._reap()
            if not pids:
                return

    def _reap(self) -> None:
        """Take note of everything that has ended, the orphans of a system too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._awaited:
                self._awaited.remove(pid)
                self._ended[pid] = status


def _become(
    words: list[str],
    ends: dict[int, int],
    limits: dict[str, Any],
    path: str,
    *,
    is_ours: bool,
) -> NoReturn:
    """Become a program of the system; never returns."""
    try:
        os.setsid()
        _keep_only(ends)
        for name, value in (
            (resource.RLIMIT_FSIZE, limits["file_bytes"]),
            (resource.RLIMIT_AS, limits["memory_bytes"]),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MEMLOCK, 0),
        ):
            resource.setrlimit(name, (value, value))
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if not is_ours:
            _drop_capability(_WAKE_ALARM)
        call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        call_filter.install(is_system=True)
        os.chdir("/root")
        os.execvpe(words[0], words, _ENVIRONMENT | {"PATH": path})
    except OSError as error:
        os.write(2, f"{words[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _keep_only(ends: dict[int, int]) -> None:
    """Have these descriptors by their numbers, an empty input, and no others."""
    spare = {number: _high(end) for number, end in ends.items()}
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, end in spare.items():
        os.dup2(end, number)
    for low, high in itertools.pairwise([*sorted({2, *ends}), 4096]):
        os.closerange(low + 1, high)


def _high(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, 100)


def _drop_capability(number: int) -> None:
    """Give up one capability; without new privileges no program gets it back."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()
    call("capget", header, sets)
    for index in range(3):
        sets[3 * (number // 32) + index] &= ~(1 << number % 32)
    call("capset", header, sets)


def _pids() -> list[int]:
    return [int(p) for p in os.listdir("/proc") if p.isdigit() and p != "1"]


def _now_ticks() -> int:
    with open("/proc/uptime", "rb") as file:
        return int(float(file.read().split()[0]) * _TICKS_PER_S)


def _start_ticks(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return -1


def _ready(stream: int, content: bytearray, timeout_s: float) -> bool:
    """Read what there is; return whether the stream is still open."""
    while select.select([stream], [], [], timeout_s)[0]:
        chunk = os.read(stream, 65536)
        if not chunk:
            return False
        content += chunk
        if timeout_s == 0 or len(content) > 1 << 22:
            return True
    return True


def _write_all(descriptor: int, data: bytes) -> bool:
    """Write to the shell's pipe, which it reads as it comes; False if it does not."""
    end = time.monotonic() + 5
    while data and time.monotonic() < end:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [], _POLL_S)
        except BrokenPipeError:
            return False
    return not data


def _text(content: bytearray) -> str:
    return bytes(content).decode(errors="replace")


def main() -> None:
    """Answer orders until the driver is gone; then the kernel ends all the rest."""
    set_dumpable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel, answers = _high(0), _high(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    call_filter.program(os.uname().machine)
    os.makedirs("/root", exist_ok=True)
    try:
        system = System(read_message(channel)["limits"])
        write_message(answers, {"is_ready": True})
        while True:
            if select.select([channel], [], [], 4 * _POLL_S)[0]:
                write_message(answers, system.obey(read_message(channel)))
            else:
                system.watch()
    except (EOFError, BrokenPipeError):
        sys.exit(0)
