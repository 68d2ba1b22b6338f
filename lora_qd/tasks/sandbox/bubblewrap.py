"""The bubblewrap command line of a worker."""

import os
import random
import shutil
import sys
from pathlib import Path

from lora_qd.errors import SandboxError

REMEDY = (
    "install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap) and allow user "
    "namespaces, or run as root"
)
_ZYGOTE = Path(__file__).with_name("zygote.py")
_CAPABILITIES = ("SYS_ADMIN", "SETUID", "SETGID", "KILL")
"""What the warm interpreter keeps as root; a job keeps none."""


def command() -> list[str]:
    """Return the command that starts one worker.

    As root no user namespace is made: a limit on processes does not bind root's own
    user, so jobs switch to a user id that nobody else has. Otherwise every job gets a
    user namespace, in which the limit counts its own processes.

    Raises:
        SandboxError: bubblewrap is not installed.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxError(
            f"expected bubblewrap to run what a model wrote, but bwrap is not on the "
            f"PATH; {REMEDY}"
        )
    user_id = random.SystemRandom().randrange(1 << 24, 1 << 30)
    as_root = os.geteuid() == 0
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    return [
        *(bwrap, "--die-with-parent", "--new-session", "--clearenv"),
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *(_as_root() if as_root else _as_user()),
        *_system(),
        *("--remount-ro", "/"),
        *("--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LC_ALL", "C"),
        *("--chdir", "/", str(python), "-I", "-S", "-c", _ZYGOTE.read_text()),
        str(user_id if as_root else 0),
    ]


def _as_root() -> list[str]:
    kept = [part for cap in _CAPABILITIES for part in ("--cap-add", f"CAP_{cap}")]
    return ["--cap-drop", "ALL", *kept]


def _as_user() -> list[str]:
    return ["--unshare-user", "--uid", "0", "--gid", "0", "--cap-add", "ALL"]


def _system() -> list[str]:
    """Return the mounts: a read-only system and the interpreter, nothing else."""
    mounts = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64", "sbin"):
        path = Path("/") / name
        if path.is_symlink():
            mounts += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            mounts += ["--ro-bind", str(path), str(path)]
    for path in (Path("/etc/alternatives"), Path(sys.base_prefix)):
        if path.is_dir() and not path.is_relative_to("/usr"):
            for parent in reversed(path.parents[:-1]):  # a job is another user
                mounts += ["--perms", "0755", "--dir", str(parent)]
            mounts += ["--ro-bind", str(path), str(path)]
    mounts += ["--proc", "/proc", "--dev", "/dev"]
    return [*mounts, "--dir", "/tmp", "--dir", "/scratch"]
