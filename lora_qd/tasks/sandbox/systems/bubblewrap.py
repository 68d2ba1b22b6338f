"""Systems in bubblewrap: a throw-away overlay over a small Debian root."""

import asyncio
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from lora_qd.errors import SandboxError
from lora_qd.tasks.sandbox.job import MIB, Limits
from lora_qd.tasks.sandbox.peer import Peer
from lora_qd.tasks.sandbox.system import SYSTEM_LIMITS, System
from lora_qd.tasks.sandbox.systems.channel import Channel

CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_WAKE_ALARM",
)
"""What root in a system may do; the last one only scripts keep."""
INSIDE = Path(__file__).parent.parent / "inside"
PLACE = "/worker/lora_qd/tasks/sandbox/inside"
START = (
    "import sys; sys.path.insert(0, '/worker'); "
    "from lora_qd.tasks.sandbox.inside.system import main; sys.path.pop(0); main()"
)
GUARDED = (
    *("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr/bin", "usr/sbin"),
    *("usr/lib", "usr/lib32", "usr/lib64", "usr/libexec", "usr/share/perl"),
    *("usr/share/perl5", "usr/local/lib", "etc/alternatives", "etc/ld.so.preload"),
    *("etc/ld.so.cache", "etc/ld.so.conf", "etc/ld.so.conf.d"),
)
"""What scripts are run with, below the root."""
FLAGS = ("-I", "-S", "-B", "-c")
UPPER_BYTES = 256 * MIB
SHARED_BYTES = 64 * MIB
_MOUNT = (
    'mount -t tmpfs -o "size=$1,nr_inodes=65536,mode=0755,nodev" none "$2" && '
    'mkdir "$2/upper" "$2/work" "$2/merged" && '
    'mount -t overlay -o "nodev,lowerdir=$3,upperdir=$2/upper,workdir=$2/work" none '
    '"$2/merged" && place=$2 && shift 3 && '
    'exec bwrap --bind "$place/merged" / "$@"'
)


class BubblewrapSystems:
    """Opens systems, a few at a time."""

    def __init__(
        self, root: Path, *, num_systems: int = 2, limits: Limits = SYSTEM_LIMITS
    ) -> None:
        """Bind the root that they begin as.

        Raises:
            SandboxError: this account cannot mount, or bubblewrap is missing.
        """
        if os.geteuid() != 0 or shutil.which("bwrap") is None:
            raise SandboxError(
                "expected root's rights and bubblewrap for the systems of "
                "agentbench-os, but they are missing; run as root, or set "
                "systems.images to a container's"
            )
        self._root = root
        self._limits = limits
        self._places = asyncio.Semaphore(num_systems)

    @asynccontextmanager
    async def open(self, image: str = "default") -> AsyncIterator[System]:
        """Start a fresh system; all of it is gone after the block.

        Raises:
            SandboxError: it does not start, or ``image`` is a special one.
        """
        if image not in ("default", "ubuntu"):
            raise SandboxError(
                f"expected a container engine for the image {image!r}, but this is "
                "bubblewrap; set systems.images and start the engine"
            )
        async with self._places:
            peer = await Peer.start(self._line(), prints=True)
            try:
                channel = Channel(
                    peer, self._limits, _Upper(peer.pid, self._root).changed
                )
                await channel.open()
                yield channel
            finally:
                await peer.stop()

    def _line(self) -> list[str]:
        # Private mounts go with their last process. /mnt only names a place there.
        line = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _MOUNT]
        line += ["sh", str(UPPER_BYTES), "/mnt", str(self._root.resolve())]
        return [*line, *_options(), "/usr/bin/python3", *FLAGS, START]


def _options() -> list[str]:
    """Return bubblewrap's options: no user namespace, so that useradd and su work."""
    kept = [part for name in CAPABILITIES for part in ("--cap-add", name)]
    return [
        *("--die-with-parent", "--new-session", "--clearenv", "--as-pid-1"),
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", "--hostname", "system"),
        *("--cap-drop", "ALL", *kept),
        *("--ro-bind", str(INSIDE), PLACE),
        *("--proc", "/proc", "--dev", "/dev", "--size", str(SHARED_BYTES)),
        *("--tmpfs", "/dev/shm", "--chmod", "1777", "/dev/shm"),
        *("--remount-ro", "/dev", "--size", str(UPPER_BYTES), "--tmpfs", "/tmp"),
        *("--chmod", "1777", "/tmp"),
        *("--ro-bind", "/proc/sys", "/proc/sys"),
        *("--setenv", "LC_ALL", "C.UTF-8", "--chdir", "/"),
    ]


class _Upper:
    """A system's changed files, seen through the namespace that its mounts are in."""

    def __init__(self, pid: int, root: Path) -> None:
        self._place = Path(f"/proc/{pid}/root/mnt/upper")
        self._root = root

    async def changed(self) -> frozenset[str]:
        """Return one line for each changed entry below the guarded places."""
        return await asyncio.to_thread(lambda: frozenset(self._lines()))

    def _lines(self) -> Iterator[str]:
        for place in GUARDED:
            top = self._place / place
            link = next((p for p in (*top.parents, top) if self._is_link(p)), None)
            if link or not top.is_dir():  # never follow a link of the candidate's
                yield from self._line(link or top)
                continue
            for directory, names, files in os.walk(top, followlinks=False):
                for name in (*names, *files):
                    yield from self._line(Path(directory) / name)

    def _is_link(self, path: Path) -> bool:
        return path.is_relative_to(self._place) and path.is_symlink()

    def _line(self, path: Path) -> Iterator[str]:
        name = path.relative_to(self._place)
        try:
            if path.is_dir() and not path.is_symlink():
                if _is_emptied(path):  # else only copied up, for what is below it
                    yield f"{name}\nemptied"
                return
            what = _identity(path)
        except OSError:
            return
        if what and what != _identity(self._root / name):
            yield f"{name}\n{what}"


def _identity(path: Path) -> str:
    """Return what a program would find there; a set-user-id bit is no part of it."""
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return f"-> {path.readlink()}"
        content = ""
        if stat.S_ISREG(found.st_mode):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        return f"{found.st_mode & ~0o7000:o} {found.st_rdev} {content}"
    except FileNotFoundError:
        return ""


def _is_emptied(directory: Path) -> bool:
    """Return whether the directory hides what the root has there."""
    try:
        return os.getxattr(directory, "trusted.overlay.opaque") == b"y"
    except OSError as error:
        if error.errno == errno.ENODATA:
            return False
        raise
