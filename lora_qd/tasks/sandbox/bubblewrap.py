"""The bubblewrap command line of a worker."""

import os
import random
import shutil
import sys
from pathlib import Path

from lora_qd.errors import SandboxError

REMEDY = (
    "install bubblewrap 0.5 or later (Debian, Ubuntu: apt-get install bubblewrap) and "
    "allow user namespaces, or run as root"
)
_INSIDE = Path(__file__).with_name("inside")
_START = (
    "import sys; sys.path.insert(0, '/worker'); "
    "from lora_qd.tasks.sandbox.inside.zygote import main; "
    "sys.path.pop(0); sys.exit(main())"
)
_BIT_BY_CAPABILITY = {
    "CAP_DAC_READ_SEARCH": 2,  # to return files that a job made unreadable
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SYS_ADMIN": 21,  # to make namespaces and mounts
}
"""What the warm interpreter keeps as root; a job keeps none."""
_FIRST_SPARE_ID = 10_000
"""Below are the users of a system, so that no job is one of them."""


def command() -> list[str]:
    """Return the command that starts one worker.

    As root no user namespace is made: a limit on processes does not bind root's own
    user, so jobs switch to a user id that nobody else has. Otherwise all happens in a
    user namespace, in which a job is left without a capability.

    Raises:
        SandboxError: bubblewrap is not installed.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxError(
            f"expected bubblewrap to run what a model wrote, but bwrap is not on the "
            f"PATH; {REMEDY}"
        )
    user_id = _spare_user_id() if _is_root() else 0
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    return [
        *(bwrap, "--die-with-parent", "--new-session", "--clearenv"),
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", "--hostname", "sandbox"),
        *(_as_root() if user_id else _as_user()),
        *_system(),
        # Sets are then printed in the same order by every worker of every run.
        *("--setenv", "PYTHONHASHSEED", "0", "--setenv", "LC_ALL", "C"),
        *("--chdir", "/", str(python), "-P", "-S", "-s", "-B"),
        *("-c", _START, str(user_id)),
    ]


def _is_root() -> bool:
    """Return whether we are root with all its rights, unlike in many a container."""
    if os.geteuid() != 0:
        return False
    status = Path("/proc/self/status").read_text(encoding="ascii")
    held = int(status.partition("CapEff:")[2].split()[0], 16)
    return all(held >> bit & 1 for bit in _BIT_BY_CAPABILITY.values())


def _spare_user_id() -> int:
    """Return a random id of a user that nobody is; 0 where there are none."""
    lines = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    ranges = [(int(line.split()[0]), int(line.split()[2])) for line in lines]
    first, length = max(ranges, key=lambda each: each[1])
    first, end = max(first, _FIRST_SPARE_ID), min(first + length, 1 << 30)
    return random.SystemRandom().randrange(first, end) if first < end else 0


def _as_root() -> list[str]:
    kept = [part for name in _BIT_BY_CAPABILITY for part in ("--cap-add", name)]
    return ["--cap-drop", "ALL", *kept]


def _as_user() -> list[str]:
    return ["--unshare-user", "--uid", "0", "--gid", "0", "--cap-add", "ALL"]


def _system() -> list[str]:
    """Return the mounts: a read-only system, the interpreter, our part within."""
    mounts = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64", "sbin"):
        path = Path("/") / name
        if path.is_symlink():
            mounts += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            mounts += ["--ro-bind", str(path), str(path)]
    prefix = Path(sys.base_prefix)
    extra = [Path("/etc/alternatives"), Path("/etc/ld.so.cache")]
    if not prefix.is_relative_to("/usr"):
        extra += [prefix / "bin", prefix / "lib"]
    for path in extra:
        if path.exists():
            mounts += [*_parents(path), "--ro-bind", str(path), str(path)]
    package = Path("/worker/lora_qd/tasks/sandbox/inside")
    mounts += [*_parents(package), "--ro-bind", str(_INSIDE), str(package)]
    mounts += ["--proc", "/proc", "--dev", "/dev", "--dir", "/tmp", "--dir", "/scratch"]
    return [*mounts, "--remount-ro", "/dev", "--remount-ro", "/"]


def _parents(path: Path) -> list[str]:
    """Return what makes the directories above ``path``; a job is another user."""
    return [
        part
        for parent in reversed(path.parents[:-1])
        for part in ("--perms", "0755", "--dir", str(parent))
    ]
