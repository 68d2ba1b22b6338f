"""The experts of a run, read from disk and checked against the run's base."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_qd.engines.quantization import checkpoint_method
from lora_qd.errors import InputError
from lora_qd.experts.fingerprint import base_hash
from lora_qd.experts.training import RECORD_NAME
from lora_qd.factors import CoreSpace, TaskVector
from lora_qd.records import Cores
from lora_qd.runs.config import RunConfig
from lora_qd.store.adapters import Adapter, load_adapter, weights_hash
from lora_qd.store.base import BaseShapes, base_shapes
from lora_qd.store.hub_adapters import fetch_adapter


@dataclass(frozen=True, slots=True, eq=False)
class ExpertAdapter:
    """One expert of a run."""

    task_vector: TaskVector
    rank: int
    weights_hash: str
    """SHA-256 of the adapter's weights, for the manifest."""
    quantization: str | None
    """How its base was quantised in training; None where nobody recorded it."""


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """What the experts of a run span, and where they lie in it."""

    space: CoreSpace
    experts: Mapping[str, Cores]
    """By skill, in the order of the config."""


def span_of(experts: Mapping[str, ExpertAdapter]) -> Span:
    """Return the core space of a new run."""
    space = CoreSpace.of([expert.task_vector for expert in experts.values()])
    return Span(space, {s: space.project(e.task_vector) for s, e in experts.items()})


def load_experts(config: RunConfig) -> dict[str, ExpertAdapter]:
    """Return the expert of each skill, by skill, in the order of the config.

    Raises:
        InputError: one is missing, is no plain LoRA, was trained on another base or
            quantisation, or has modules that the base has not.
    """
    shapes = base_shapes(config.base)
    experts = {}
    for skill in config.skills:
        path = expert_directory(config, skill)
        adapter = load_adapter(path)
        record = _record(path)
        _check_base(path, adapter, record, config)
        check_shapes(path, adapter.task_vector, shapes)
        experts[skill] = ExpertAdapter(
            adapter.task_vector,
            adapter.rank,
            weights_hash(path),
            record.get("training", {}).get("quantization"),
        )
    return experts


def expert_directory(config: RunConfig, skill: str) -> Path:
    """Return where the expert of ``skill`` lies; one of the Hub is fetched.

    Raises:
        InputError: there is none.
        StoreError: the Hub cannot be reached, and it was not fetched before.
    """
    if skill in config.adapters:
        return fetch_adapter(config.adapters[skill], also=(RECORD_NAME,))
    path = config.experts_dir / skill
    if not path.is_dir():
        raise InputError(
            f"expected the expert of {skill!r} in {path}, but there is none; run "
            "loraqd train-experts with the same config"
        )
    return path


def _check_base(
    path: Path, adapter: Adapter, record: Mapping[str, Any], config: RunConfig
) -> None:
    """Refuse an adapter that was trained on another base, or on one quantised so."""
    served = config.engine.quantization
    trained = record.get("training", {}).get("quantization", served)
    if trained != served and not config.allow_other_quantization:
        raise InputError(
            f"expected the expert in {path} to be trained on quantization {served!r}, "
            f"but it was trained on {trained!r}; train it again or set "
            "allow_other_quantization: true"
        )
    if config.allow_other_quantization and checkpoint_method(config.base):
        return  # a checkpoint of its own: neither its name nor its hash can agree
    remedy = "train it on this base, or name its own base in the config"
    # The same base has a Hub id here and a directory there.
    if (
        adapter.base
        and Path(adapter.base).name != Path(config.base).name
        and not record
    ):
        raise InputError(
            f"expected the adapter in {path} to be trained on {config.base}, but it "
            f"names {adapter.base}; {remedy}"
        )
    trained_on = record.get("base_hash")
    if trained_on is not None and trained_on != base_hash(config.base):
        raise InputError(
            f"expected the expert in {path} to be trained on {config.base}, but its "
            f"base was another one ({record.get('base')}); {remedy}"
        )


def check_shapes(path: Path, task_vector: TaskVector, shapes: BaseShapes) -> None:
    """Refuse the adapter in ``path`` unless it fits the base.

    Raises:
        InputError: a module has another shape there, or does not exist.
    """
    if shapes is None:  # a Hub id: vLLM checks when it loads the adapter
        return
    for module, update in task_vector.items():
        if shapes.get(module) != update.shape:
            fact = f"{module!r} has shape {update.shape} in the adapter"
            base = shapes.get(module)
            raise InputError(
                f"expected the adapter in {path} to fit the base, but {fact} and "
                f"{base if base else 'does not exist'} in the base; use an adapter "
                "that was trained on this base"
            )


def _record(path: Path) -> Mapping[str, Any]:
    """Return what our trainer wrote beside the adapter; empty for foreign adapters."""
    file = path / RECORD_NAME
    if not file.is_file():
        return {}
    try:
        record = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a readable {file}, but got: {error}; train the expert again"
        ) from error
    if not isinstance(record, dict):
        raise InputError(f"expected a JSON object in {file}; train the expert again")
    return record
