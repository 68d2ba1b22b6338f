"""The small Debian system that systems in bubblewrap begin as; built once."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lora_qd.errors import SandboxError

VARIABLE = "LORAQD_OS_ROOT"
_PACKAGES = ("procps", "python3", "tree", "unzip", "zip")
_SOURCES = (
    "apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Identifier: Packages'"
)
_REMEDY = (
    "run as root with debootstrap installed (Debian, Ubuntu: apt-get install "
    "debootstrap), or set systems.images to a container's"
)


def find_root(path: Path | None = None) -> Path:
    """Return the directory of the root; build it where there is none.

    Args:
        path: a root that is there already; by default that of ``LORAQD_OS_ROOT``, or
            one in the user's cache.

    Raises:
        SandboxError: there is none and it cannot be built.
    """
    named = path or os.environ.get(VARIABLE)
    if named:
        root = Path(named)
        if not (root / "usr" / "bin" / "python3").exists():
            raise SandboxError(
                f"expected a Debian system with python3 in {root}, but there is none; "
                "build it with debootstrap, or leave systems.root out"
            )
        return root
    root = _cached_root()
    if not root.is_dir():
        build_root(root)
    return root


def build_root(target: Path) -> None:
    """Build the root beside ``target`` and rename it; half a minute, 250 MB.

    Raises:
        SandboxError: not root, no debootstrap, or it failed; the message says why.
    """
    tool = shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if os.geteuid() != 0 or tool is None:
        what = "debootstrap" if tool is None else "root's rights"
        raise SandboxError(
            f"expected to build a small Debian system for agentbench-os, but {what} is "
            f"missing; {_REMEDY}"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():  # somebody else was faster
            return
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="root-") as beside:
            built = Path(beside) / "root"
            command = [tool, "--variant=minbase", f"--include={','.join(_PACKAGES)}"]
            command += [_release(), str(built), _mirror()]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                last = (done.stdout.strip().splitlines() or ["no word"])[-1]
                raise SandboxError(
                    f"expected debootstrap to build a system, but it ended with "
                    f"{done.returncode}: {last}; {_REMEDY}"
                )
            shutil.rmtree(built / "var" / "cache" / "apt", ignore_errors=True)
            built.rename(target)


def _cached_root() -> Path:
    names = hashlib.sha256(" ".join(_PACKAGES).encode()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "loraqd" / f"root-{_release()}-{names}"


def _release() -> str:
    """Return this machine's Debian or Ubuntu release, which debootstrap knows."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get("VERSION_CODENAME", "stable").strip('"')


def _mirror() -> str:
    """Return where this machine gets its own packages from."""
    done = subprocess.run(_SOURCES, shell=True, capture_output=True, text=True)
    release = _release()
    for line in done.stdout.splitlines():
        name, _, uri = line.partition(" ")
        if name == release:
            return uri
    raise SandboxError(
        f"expected apt to name a source of the release {release}, but it names none; "
        f"run apt-get update, or {_REMEDY}"
    )
