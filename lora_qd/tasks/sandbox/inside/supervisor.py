"""Process 1 of a job's namespaces: holds the job to its limits and answers for it."""

import os
import re
import select
import signal
import socket
import time
from typing import Any

from lora_qd.tasks.sandbox.inside import program, tree, usage
from lora_qd.tasks.sandbox.inside.kernel import fork, mount_fresh, set_dumpable
from lora_qd.tasks.sandbox.inside.messages import read_message, write_message

_POLL_S = 0.05
_FORK_SIGN = re.compile(r"fork: .*Resource temporarily unavailable")
"""What a shell says that may not fork; it would try again for many seconds."""


class Streams:
    """What a job writes: reading ends of pipes, each with a limit in bytes."""

    def __init__(self, limits: dict[int, int], wakeup: int) -> None:
        self._limits = limits
        self._wakeup = wakeup
        self._open = set(limits)
        self._content = {descriptor: bytearray() for descriptor in limits}

    def read(self, timeout_s: float) -> None:
        """Wait until something comes or the wakeup is readable; read what came."""
        ready, _, _ = select.select([*self._open, self._wakeup], [], [], timeout_s)
        for descriptor in ready:
            chunk = os.read(descriptor, 65536)
            if descriptor == self._wakeup:
                continue
            self._content[descriptor] += chunk
            if not chunk:
                self._open.remove(descriptor)

    @property
    def are_open(self) -> bool:
        """Whether anybody can still write."""
        return bool(self._open)

    @property
    def are_too_full(self) -> bool:
        """Whether one has overflowed."""
        return any(len(data) > self._limits[d] for d, data in self._content.items())

    def content(self, descriptor: int) -> str:
        """Return what came from one, cut to its limit."""
        data = self._content[descriptor][: self._limits[descriptor]]
        return data.decode(errors="replace")


class Supervisor:
    """One job, from start to answer."""

    def __init__(self, limits: dict[str, Any]) -> None:
        self._limits = limits
        self._end = time.monotonic() + limits["wall_s"]
        self._child = 0
        self._judged = 0
        self._judged_status = 0
        self._status: int | None = None
        self._cpu_s = 0.0

    def run(self, job: dict[str, Any], user_id: int, channel: int) -> dict[str, Any]:
        """Run ``job`` as ``user_id`` and return the answer.

        The judge of a job, if it has one, is the next message on ``channel``.

        ``output`` and ``error`` are text, ``broken`` is the limit that the job was
        killed for or empty, ``status`` is as of ``wait``, ``cpu_s`` is that of the
        first process and what it waited for, ``files`` the tree if asked for.

        Raises:
            OSError: the job could not be confined as it must be; nothing of it ran.
        """
        mount_fresh(self._limits["memory_bytes"])
        wakeup = _wakeup_at_child()
        (out, out_end), (err, err_end), (mark, mark_end) = (os.pipe() for _ in "123")
        set_dumpable(False)  # our memory and descriptors are nobody's business
        job, link = self._begin_judged(job, user_id, mark_end, channel)
        ends = program.Ends(out_end, err_end, mark_end, link)
        self._child = fork()
        if self._child == 0:
            program.start(job, user_id, ends)
        for end in (out_end, err_end, mark_end, *([] if link is None else [link])):
            os.close(end)
        most = self._limits["output_bytes"]
        marks = program.MARK * (1 if link is None else 2)
        streams = Streams({out: most, err: most, mark: len(marks)}, wakeup)
        broken = self._watch(streams, err)
        self._kill_all()
        while streams.are_open and not streams.are_too_full:
            streams.read(_POLL_S)
        if streams.content(mark) != marks:
            raise OSError(0, f"a job cannot be confined: {streams.content(err)}")
        broken = broken or _broken_by_text(streams, err)
        if self._judged_status == signal.SIGXCPU:
            broken = broken or "cpu"
        is_wanted = job["collect_tree"] and not broken
        return {
            "output": streams.content(out),
            "error": streams.content(err),
            "broken": broken,
            "status": self._status,
            "cpu_s": self._cpu_s,
            "files": tree.collect("/scratch") if is_wanted else {},
        }

    def _begin_judged(
        self, job: dict[str, Any], user_id: int, mark: int, channel: int
    ) -> tuple[dict[str, Any], int | None]:
        """Start the judged program, if the job has a judge, before the judge is read.

        Returns the job of the process whose status counts, and its link to the other.
        """
        if not job["is_judged"]:
            return job | {"role": "alone"}, None
        ours, theirs = (end.detach() for end in socket.socketpair())
        nowhere = os.open(os.devnull, os.O_WRONLY)
        self._judged = fork()
        if self._judged == 0:
            ends = program.Ends(nowhere, nowhere, mark, theirs)
            program.start(job | {"role": "judged"}, user_id, ends)
        os.close(theirs)
        os.close(nowhere)
        return job | read_message(channel) | {"role": "judge"}, ours

    def _watch(self, streams: Streams, err: int) -> str:
        """Wait until the job has ended or breaks a limit; return that limit."""
        poll = time.monotonic() + _POLL_S
        broken = ""
        while self._status is None and not broken:
            streams.read(max(0.0, min(self._end, poll) - time.monotonic()))
            self._reap()
            now = time.monotonic()
            if streams.are_too_full:
                broken = "output"
            elif now >= poll:
                poll = now + _POLL_S
                broken = self._excess() or _broken_by_text(streams, err)
            if now >= self._end and self._status is None:
                broken = broken or "wall"
        return broken

    def _reap(self) -> None:
        """Take note of everything that has ended."""
        pid = -1
        while pid != 0:
            try:
                pid, status, used = os.wait3(os.WNOHANG)
            except ChildProcessError:
                return
            if pid == self._child:
                self._status, self._cpu_s = status, used.ru_utime + used.ru_stime
            elif pid and pid == self._judged:
                self._judged_status = status

    def _excess(self) -> str:
        """Return the limit that the processes of the job break together, if any."""
        used = usage.measure()
        if used.num_processes > self._limits["num_processes"]:
            return "processes"
        if used.memory_bytes > self._limits["memory_bytes"]:
            return "memory"
        if used.cpu_s > self._limits["cpu_s"]:
            return "cpu"
        return ""

    def _kill_all(self) -> None:
        """Kill everything else in the namespace and wait until it is gone."""
        while True:
            try:
                os.kill(-1, signal.SIGKILL)
                os.wait()
            except (ProcessLookupError, ChildProcessError):
                return


def _broken_by_text(streams: Streams, err: int) -> str:
    """Return the limit that a job broke by what it has written, if any."""
    if streams.are_too_full:
        return "output"
    return "processes" if _FORK_SIGN.search(streams.content(err)) else ""


def _wakeup_at_child() -> int:
    """Return a descriptor that becomes readable when a child ends.

    Other signals need no care: process 1 ignores those that it has no handler for.
    """
    wakeup, end = os.pipe()
    os.set_blocking(end, False)
    signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return wakeup


def supervise(channel: int, user_id: int) -> None:
    """Read the next job from ``channel``, run it and write the answer.

    Raises:
        EOFError: there is none, the driver is gone.
        OSError: the job could not be confined as it must be; nothing of it ran.
    """
    job = read_message(channel)
    write_message(channel, Supervisor(job["limits"]).run(job, user_id, channel))
