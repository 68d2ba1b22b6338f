"""Runs inside bubblewrap: a warm interpreter that forks every job into namespaces.

Standard library only; started by its source. Four kinds of processes:

- the zygote waits for a job to arrive and never reads one;
- the supervisor reads it, enforces wall time and output, and answers;
- the init is process 1 of the job's own namespaces: it mounts fresh directories,
  reaps, kills what is left and collects the tree;
- the job drops all rights and runs the source.

Messages are JSON behind a length of four bytes, on standard input and output.
"""

# Warm for what jobs commonly import.
import collections  # noqa: F401
import ctypes
import functools  # noqa: F401
import itertools  # noqa: F401
import json
import math  # noqa: F401
import os
import random  # noqa: F401
import re  # noqa: F401
import resource
import select
import signal
import sqlite3  # noqa: F401
import stat
import string  # noqa: F401
import struct
import sys
import time
from typing import Any

Message = dict[str, Any]

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEWNS, _NEWIPC, _NEWUSER, _NEWPID = 0x20000, 0x8000000, 0x10000000, 0x20000000
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 16384, 1 << 18
_PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS = 28, 38
_NOROOT_LOCKED = 0b11
_MOST_ENTRIES = 1000
_MOST_TREE_BYTES = 1 << 20
_KILLED_BY_LIMIT = {int(signal.SIGXCPU): "cpu", int(signal.SIGXFSZ): "file"}


def _call(name: str, *arguments: object) -> None:
    if getattr(_LIBC, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def _mount(kind: bytes, target: str, flags: int, options: str) -> None:
    _call("mount", kind, target.encode(), kind, ctypes.c_ulong(flags), options.encode())


def _run_job(job: Message, user_id: int) -> None:
    _drop_rights(user_id)
    os.chdir("/scratch")
    for path, text in job["files"].items():
        _make(path, text)
    _set_limits(job["limits"])
    if job["program"] == "bash":
        arguments = ["bash", "--norc", "--noprofile", "-c", job["source"]]
        home = {"HOME": "/scratch", "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
        os.execve("/bin/bash", arguments, home)
    _run_python(job["source"])


def _make(path: str, text: str | None) -> None:
    if text is None:
        os.makedirs(path, exist_ok=True)
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _drop_rights(user_id: int) -> None:
    if user_id:  # as root: another user, whose processes are counted
        os.setgroups([])
        os.setresgid(user_id, user_id, user_id)
        os.setresuid(user_id, user_id, user_id)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if not user_id:
        _call("prctl", _PR_SET_SECUREBITS, _NOROOT_LOCKED, 0, 0, 0)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        _call("capset", header, (ctypes.c_uint32 * 6)())


def _set_limits(limits: Message) -> None:
    for name, value in (
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_NPROC, limits["num_processes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, 128),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))


def _run_python(source: str) -> None:
    # Open until the process ends.
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stdin = open(os.devnull)  # noqa: SIM115
    sys.argv = ["job"]
    code = 1
    try:
        exec(compile(source, "job", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:  # noqa: BLE001 - whatever the source raises
        text = str(error).splitlines() or [""]
        os.write(2, f"{type(error).__name__}: {text[0]}".encode(errors="replace")[:500])
    finally:
        _flush()
        os._exit(code & 0xFF)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - its stdout may be anything by now
        os._exit(1)


def _run_init(
    job: Message, user_id: int, streams: tuple[int, int], result: int
) -> None:
    size = job["limits"]["memory_bytes"] // 4
    _call("mount", b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
    _mount(b"proc", "/proc", _MS_NOSUID | _MS_NODEV, "")
    for path in ("/scratch", "/tmp", "/dev/shm"):
        options = f"size={size},nr_inodes=4096,mode=1777"
        _mount(b"tmpfs", path, _MS_NOSUID | _MS_NODEV, options)
    child = os.fork()
    if child == 0:
        _start_child(job, user_id, streams)
    status = _reap(child)
    _kill_all()
    answer = {"status": status, "files": {}}
    if job["collect_tree"]:
        if user_id:  # who owns the files may also read them
            os.setresuid(user_id, user_id, user_id)
        answer["files"] = _collect("/scratch")
    with open(result, "wb") as file:
        file.write(json.dumps(answer).encode())


def _start_child(job: Message, user_id: int, streams: tuple[int, int]) -> None:
    """Become the job; whatever goes wrong before its source runs is not its fault."""
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(streams[0], 1)
        os.dup2(streams[1], 2)
        os.closerange(3, 256)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        _run_job(job, user_id)
    except (OSError, ValueError, MemoryError) as error:
        os.write(2, f"{type(error).__name__}: {error}".encode(errors="replace")[:500])
    finally:
        os._exit(1)


def _reap(child: int) -> int:
    while True:
        done, status = os.wait()
        if done == child:
            return status


def _kill_all() -> None:
    """Kill everything else in the namespace and wait until it is gone."""
    while True:
        try:
            os.kill(-1, signal.SIGKILL)
            os.wait()
        except (ProcessLookupError, ChildProcessError):
            return


def _collect(root: str) -> dict[str, str | None]:
    """Return text by path; bounded, and nothing but plain files is opened."""
    found: dict[str, str | None] = {}
    size = 0
    for directory, names, files in os.walk(root):
        for name in sorted(names) + sorted(files):
            path = os.path.join(directory, name)
            text = _read_entry(path)
            size += len(path) + len(text or "")
            if len(found) == _MOST_ENTRIES or size > _MOST_TREE_BYTES:
                return {"...": "too many or too large files"}
            found[os.path.relpath(path, root).encode(errors="replace").decode()] = text
    return found


def _read_entry(path: str) -> str | None:
    kind = os.lstat(path).st_mode
    if stat.S_ISDIR(kind):
        os.chmod(path, 0o700)
        return None
    if stat.S_ISLNK(kind):
        return f"link to {os.readlink(path)}".encode(errors="replace").decode()
    if not stat.S_ISREG(kind):
        return "special file"
    os.chmod(path, 0o600)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        return file.read(_MOST_TREE_BYTES).decode(errors="replace")


def _supervise(user_id: int) -> None:
    job = _read_message(0)
    out, err, result = os.pipe(), os.pipe(), os.pipe()
    flags = _NEWNS | _NEWIPC | _NEWPID | (0 if user_id else _NEWUSER)
    _call("unshare", flags)
    if not user_id:
        _map_user()
    init = os.fork()
    if init == 0:
        status = 1
        try:
            os.close(0)
            os.close(1)  # the answers' channel
            _run_init(job, user_id, (out[1], err[1]), result[1])
            status = 0
        finally:
            os._exit(status)
    for pipe in (out, err, result):
        os.close(pipe[1])
    texts, broken = _watch(init, (out[0], err[0], result[0]), job["limits"])
    _, status = os.waitpid(init, 0)
    answer: Message = {"output": texts[0], "error": texts[1], "broken": broken}
    if not broken:
        if status != 0 or not texts[2]:
            raise OSError(0, f"init ended with status {status}")
        answer |= json.loads(texts[2])
        answer["limit"] = _limit_of(answer.pop("status"), answer)
    _write_message(answer)


def _map_user() -> None:
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", "0 0 1"),
        ("gid_map", "0 0 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _watch(init: int, pipes: tuple[int, ...], limits: Message) -> tuple[list[str], str]:
    """Read until all is closed; kill at the limits of wall time and output."""
    end = time.monotonic() + limits["wall_s"]
    most = (limits["output_bytes"], limits["output_bytes"], 8 * _MOST_TREE_BYTES)
    contents, still_open, broken = [bytearray() for _ in pipes], set(pipes), ""
    while still_open:
        ready, _, _ = select.select(
            list(still_open), [], [], max(0, end - time.monotonic())
        )
        if not ready and time.monotonic() >= end and not broken:
            broken = "wall"
        for pipe in ready:
            at = pipes.index(pipe)
            chunk = os.read(pipe, 65536)
            contents[at] += chunk
            if not chunk:
                still_open.remove(pipe)
            if len(contents[at]) > most[at] and not broken:
                broken = "output"
        if broken:
            os.kill(init, signal.SIGKILL)
            break
    texts = [
        bytes(c[:m]).decode(errors="replace")
        for c, m in zip(contents, most, strict=True)
    ]
    return texts, broken


def _limit_of(status: int, answer: Message) -> str:
    """Return which limit ended the job, or how it ended by itself."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return _KILLED_BY_LIMIT.get(
            number, "cpu" if number == 9 else f"signal {number}"
        )
    code = os.WEXITSTATUS(status)
    answer["code"] = code
    return "" if code == 0 else "status"


def _read_exactly(descriptor: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        chunk = os.read(descriptor, length - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def _read_message(descriptor: int) -> Message:
    (length,) = struct.unpack(">I", _read_exactly(descriptor, 4))
    return dict(json.loads(_read_exactly(descriptor, length)))


def _write_message(message: Message) -> None:
    data = json.dumps(message).encode()
    data = struct.pack(">I", len(data)) + data
    while data:
        data = data[os.write(1, data) :]


def _main() -> int:
    user_id = int(sys.argv[1])
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # short of memory, the system takes a job first
    _write_message({"ready": True})
    while True:
        select.select([0], [], [])
        supervisor = os.fork()
        if supervisor == 0:
            status = 1
            try:
                _supervise(user_id)
                status = 0
            except EOFError:
                status = 2
            except OSError as error:
                os.write(2, f"{error}\n".encode())
            finally:
                os._exit(status)
        _, status = os.waitpid(supervisor, 0)
        if status != 0:
            return 0 if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 2 else 1


sys.exit(_main())
