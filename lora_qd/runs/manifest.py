"""What fixes a run, recorded before its first child, and who drives each session."""

import hashlib
from collections.abc import Mapping
from typing import Any

from lora_qd.experts.fingerprint import base_hash, tokenizer_hash
from lora_qd.records import Split
from lora_qd.runs.config import RunConfig
from lora_qd.runs.experts import ExpertAdapter
from lora_qd.runs.machine import machine, revision, versions
from lora_qd.runs.skills import published
from lora_qd.tasks.task import Task


def manifest(config: RunConfig, experts: Mapping[str, ExpertAdapter]) -> dict[str, Any]:
    """Return config, seed, versions, quantisations, hashes of base and experts."""
    return {
        "config": config.model_dump(mode="json"),
        "seed": config.seed,
        "versions": versions(),
        "revision": revision(),
        "machine": machine(),
        "base": base_hash(config.base),
        "tokenizer": tokenizer_hash(config.base),
        "experts": {skill: e.weights_hash for skill, e in experts.items()},
        "quantization": {
            "served": config.engine.quantization,
            "trained": {skill: e.quantization for skill, e in experts.items()},
        },
    }


def about(config: RunConfig) -> dict[str, Any]:
    """Return who drives a run from now on: config, versions and machine."""
    return {
        "config": config.model_dump(mode="json"),
        "versions": versions(),
        "revision": revision(),
        "machine": machine(),
    }


def sample_hashes(config: RunConfig, tasks: Mapping[str, Task]) -> dict[str, str]:
    """Return what identifies the samples of every skill and split that is read."""
    names = config.all_skills
    sources = {f"{n}/source": task.sha256 for n, task in published(tasks).items()}
    return sources | {
        f"{name}/{split}": _samples_hash(tasks[name], split)
        for name in names
        for split in (Split.SEARCH, Split.VALIDATION, Split.TEST)
    }


def _samples_hash(task: Task, split: Split) -> str:
    ids = "\n".join(sample.id for sample in task.samples(split))
    return hashlib.sha256(ids.encode()).hexdigest()
