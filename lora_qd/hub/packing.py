"""A finished run packed for others: its search in compact form, and its experts.

Whoever unpacks it goes on from the same archives with the same draws. Nothing that
names a place on this machine is packed: configs are reduced to what decides scores.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_qd.errors import InputError
from lora_qd.experts.training import RECORD_NAME
from lora_qd.hub.names import free_name
from lora_qd.hub.shared_run import (
    GENOMES,
    OUTCOMES,
    RECORD,
    SPACE,
    Evaluation,
    SharedChild,
    SharedFacts,
    SharedRun,
    outcomes_in,
)
from lora_qd.runs.config import RunConfig
from lora_qd.runs.experts import expert_directory
from lora_qd.runs.run import Run
from lora_qd.store.adapters import CONFIG_NAME, weights_hash
from lora_qd.store.files import write_bytes
from lora_qd.store.genomes import genome_bytes
from lora_qd.store.ledger import ChildRow, Ledger

_LEFT_OUT = {"run", "experts_dir", "experts", "systems", "report_to", "engine"}
_ENGINE = (
    "serve_rank",
    "dtype",
    "quantization",
    "max_model_len",
    "max_loras",
    "max_num_seqs",
    "max_num_batched_tokens",
)
"""What a shared config says of the engine; how it is reached is nobody's business."""
_PLACES = ("path", "directory", "include", "hub")
"""Keys of a config, of skills mostly, whose values are paths or may be."""
_IDENTITY = ("seed", "base", "experts", "space", "splits")
_PEFT_KEYS = (
    *("peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "use_rslora"),
    *("rank_pattern", "alpha_pattern", "target_modules", "exclude_modules"),
    *("layers_to_transform", "layers_pattern", "bias", "fan_in_fan_out"),
    *("init_lora_weights", "inference_mode", "peft_version"),
)
"""Of an expert's own config; any other field might name a place."""


def run_id(run: Run) -> str:
    """Return what is the same for every state of a run, wherever it goes on: a hash.

    Raises:
        InputError: the run is of a version that did not record it.
    """
    manifest = _manifest(run)
    missing = [key for key in SharedFacts.model_fields if key not in manifest]
    if missing:
        raise InputError(
            f"expected {missing[0]!r} in the manifest of {run.directory.path}, but an "
            "older loraqd wrote it; run it again with loraqd reproduce"
        )
    search = run.config.search.model_dump(mode="json", exclude={"children"})
    identity = {key: manifest[key] for key in _IDENTITY}
    identity |= {"skills": list(run.config.skills), "search": search}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def pack(run: Run, directory: Path, *, base: str) -> None:
    """Write ``run/`` and ``experts/`` below ``directory``.

    Args:
        run: a finished run.
        directory: exists.
        base: the Hub id that stands for its base model.

    Raises:
        InputError: an expert is missing or is no longer the one that the run began
            with, or the run is of a version without hashes.
    """
    shared = directory / "run"
    (shared / GENOMES).mkdir(parents=True)
    experts = _pack_experts(run, directory / "experts", base)
    shutil.copyfile(run.directory.space, shared / SPACE)
    for member in sorted(run.kept()):
        content, name = genome_bytes(run.lineage.cores(member))
        write_bytes(shared / GENOMES / f"{name}.safetensors", content)
    record, tensors = _record(run, base, experts)
    write_bytes(shared / OUTCOMES, tensors)
    write_bytes(shared / RECORD, record.model_dump_json(indent=1).encode() + b"\n")


def _record(run: Run, base: str, experts: Mapping[str, str]) -> tuple[SharedRun, bytes]:
    """Return what the ledger says, and the tensors of its outcomes as a file."""
    from safetensors.numpy import save

    if run.results is None:
        raise InputError(
            f"expected a finished run in {run.directory.path}, but it has no results "
            f"yet; run: loraqd resume {run.directory.path}"
        )
    with Ledger(run.directory.ledger) as ledger:
        costs = ledger.costs()
        outcomes = outcomes_in(ledger, list(dict.fromkeys(c.member for c in costs)))
        sessions, manifest = ledger.sessions(), ledger.manifest()
    record = SharedRun(
        config=shared_config(run.config, base),
        facts=SharedFacts(**{k: manifest[k] for k in SharedFacts.model_fields}),
        children=tuple(_child(run, row) for row in run.children),
        genomes=dict(run.others),
        evaluations=tuple(
            Evaluation(member=c.member, split=c.split, stages=c.stages) for c in costs
        ),
        sessions=tuple(sessions),
        outcomes=outcomes.tables,
        experts=dict(experts),
        results=run.results,
    )
    return record, save(dict(outcomes.tensors))


def _child(run: Run, row: ChildRow) -> SharedChild:
    if row.genome is None:
        raise InputError(
            f"expected the hash of {row.member} in {run.directory.ledger}, but an "
            "older loraqd wrote it; run it again with loraqd reproduce"
        )
    return SharedChild(
        member=row.member,
        task=row.task,
        parents=row.parents,
        recipe=dict(row.recipe),
        scores=dict(row.scores),
        genome=row.genome,
        num_left=row.num_left,
    )


def shared_config(config: RunConfig, base: str) -> dict[str, Any]:
    """Return what of a config decides scores, without places, for another machine.

    Data files of the user's own skills keep their names, not their directories.
    """
    raw = config.model_dump(mode="json", exclude=_LEFT_OUT)
    engine = config.engine.model_dump(mode="json", include=set(_ENGINE))
    if config.engine.kind == "transformers":  # it rounds otherwise than vLLM
        engine["kind"] = config.engine.kind
    return {**_without_places(raw), "base": base, "engine": engine}


def _without_places(value: Any, key: str = "") -> Any:  # noqa: ANN401 - any JSON
    """Return ``value`` with paths from elsewhere cut to their last part."""
    if isinstance(value, dict):
        return {k: _without_places(each, k) for k, each in value.items()}
    if isinstance(value, list):
        return [_without_places(each, key) for each in value]
    is_place = key in _PLACES or (key == "task" and ".py@" in str(value))
    if is_place and isinstance(value, str) and value.startswith(("/", "~", "..")):
        return Path(value).name
    return value


def _pack_experts(run: Run, directory: Path, base: str) -> dict[str, str]:
    """Copy each expert's weights as they lie; return the folders by skill."""
    recorded = _manifest(run)["experts"]
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for skill in run.config.skills:
        source = expert_directory(run.config, skill)
        if weights_hash(source) != recorded[skill]:
            raise InputError(
                f"expected the expert of {skill!r} that the run began with in {source},"
                " but it is not there; put it back, then repeat"
            )
        folders[skill] = free_name(skill, taken)
        target = directory / folders[skill]
        target.mkdir(parents=True)
        for file in sorted(source.glob("*.safetensors*")):
            shutil.copyfile(file, target / file.name)
        config = json.loads((source / CONFIG_NAME).read_text())
        kept = {key: config[key] for key in _PEFT_KEYS if key in config}
        _save(kept | {"base_model_name_or_path": base}, target / CONFIG_NAME)
        if (source / RECORD_NAME).is_file():
            record = json.loads((source / RECORD_NAME).read_text())
            _save(record | {"base": base}, target / RECORD_NAME)
    return folders


def _save(content: Mapping[str, Any], path: Path) -> None:
    write_bytes(path, json.dumps(content, indent=2, sort_keys=True).encode() + b"\n")


def _manifest(run: Run) -> dict[str, Any]:
    with Ledger(run.directory.ledger) as ledger:
        return ledger.manifest()
