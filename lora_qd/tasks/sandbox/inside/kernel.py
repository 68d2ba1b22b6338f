"""System calls that Python does not offer, and how a program gives up its rights."""

import ctypes
import errno
import os
import resource
import signal
from typing import Any, NoReturn

_NEWNS, _NEWIPC, _NEWPID = 0x20000, 0x8000000, 0x20000000
_CLONE_BY_MACHINE = {"x86_64": 56, "aarch64": 220}
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 16384, 1 << 18
_PR_SET_DUMPABLE, _PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS = 4, 28, 38
_NOROOT_LOCKED = 0b11  # user 0 of the namespace is nobody special
_CAPABILITY_VERSION = 0x20080522
_MOST_DESCRIPTORS = 128
_OWN_PROCESSES = 3  # bubblewrap, zygote and supervisor, where all are one user
_NAMESPACES_COUNT_SINCE = (5, 14)
"""Linux counts a user's processes per user namespace from here on; before, a limit
would count all processes of the person who runs us, so only the supervisor counts."""

_LIBC = ctypes.PyDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """Call a function of the C library.

    Raises:
        OSError: it returned anything but 0.
    """
    if _LIBC[name](*arguments) != 0:
        _raise(name)


def _raise(name: str) -> NoReturn:
    error = ctypes.get_errno()
    raise OSError(error, f"{name}: {os.strerror(error)}")


def fork_into_namespaces() -> int:
    """Fork; the child is process 1 of new process, mount and memory namespaces.

    One call instead of three processes.

    Raises:
        OSError: the kernel refuses, or the processor is neither x86-64 nor ARM64.
    """
    return fork(_NEWNS | _NEWIPC | _NEWPID)


def fork(namespaces: int = 0) -> int:
    """Fork, into new ``namespaces`` if any; return as ``os.fork`` does.

    It bypasses Python's own care for a fork, which takes as long again; so there must
    be one thread only.

    Raises:
        OSError: the kernel refuses, or the processor is neither x86-64 nor ARM64.
    """
    machine = os.uname().machine
    if machine not in _CLONE_BY_MACHINE:
        raise OSError(errno.ENOSYS, f"expected x86-64 or ARM64, but got {machine}")
    flags = ctypes.c_ulong(namespaces | signal.SIGCHLD)
    null = ctypes.c_void_p(None)
    number = ctypes.c_long(_CLONE_BY_MACHINE[machine])
    pid = _LIBC.syscall(number, flags, null, null, null, null)
    if pid < 0:
        _raise("clone")
    return int(pid)


def set_dumpable(is_dumpable: bool) -> None:
    """Set whether processes of the same user may look into this one."""
    call("prctl", _PR_SET_DUMPABLE, int(is_dumpable), 0, 0, 0)


def mount_fresh(memory_bytes: int) -> None:
    """Mount this job's own /proc and its empty, size-limited writable directories."""
    private = ctypes.c_ulong(_MS_REC | _MS_PRIVATE)
    call("mount", b"none", b"/", None, private, None)
    _mount("proc", "/proc", "")
    for path, share in (("/scratch", 4), ("/tmp", 8), ("/dev/shm", 8)):
        size = memory_bytes // share
        _mount("tmpfs", path, f"size={size},nr_inodes=4096,mode=1777")


def _mount(kind: str, target: str, options: str) -> None:
    name, flags = kind.encode(), ctypes.c_ulong(_MS_NOSUID | _MS_NODEV)
    call("mount", name, target.encode(), name, flags, options.encode())


def drop_rights(user_id: int) -> None:
    """Give up everything; ``user_id`` is the other user to become, 0 for none."""
    if user_id:
        os.setgroups([])
        os.setresgid(user_id, user_id, user_id)
        os.setresuid(user_id, user_id, user_id)
    else:
        call("prctl", _PR_SET_SECUREBITS, _NOROOT_LOCKED, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    call("capset", header, (ctypes.c_uint32 * 6)())
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    set_dumpable(True)


def limit_resources(limits: dict[str, Any], user_id: int) -> None:
    """Set what the kernel limits per process; the supervisor sums over the job."""
    for name, value in (
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, _MOST_DESCRIPTORS),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))
    # SIGXCPU first, which tells the limit from any other SIGKILL.
    cpu_s = limits["cpu_s"]
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    if user_id or _kernel() >= _NAMESPACES_COUNT_SINCE:
        most = limits["num_processes"] + (0 if user_id else _OWN_PROCESSES)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()))
