"""A download made into a run that can be read, served and gone on with.

Nothing in it is trusted: names, shapes, hashes, scores and every draw of parents are
checked before a directory appears. Not done here: fetching (``download``).
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from lora_qd.errors import InputError, LoraQDError
from lora_qd.experts.fingerprint import base_hash
from lora_qd.factors import CoreSpace
from lora_qd.hub.manifest import EXPERTS_FOLDER, RUN_FOLDER, Manifest
from lora_qd.hub.shared_run import (
    GENOMES,
    OUTCOMES,
    RECORD,
    SPACE,
    SharedRun,
    load_outcomes,
)
from lora_qd.records import Cores, Member, Proposal, Scored, Split, StageSeconds
from lora_qd.runs.config import RunConfig, parse_config
from lora_qd.runs.results import markdown, save_results
from lora_qd.runs.run import Run
from lora_qd.runs.verify import verify
from lora_qd.store.adapters import CONFIG_NAME, load_adapter, weights_hash
from lora_qd.store.files import new_directory, write_bytes
from lora_qd.store.genomes import load_genome, load_space, space_hash
from lora_qd.store.ledger import Ledger
from lora_qd.store.run_directory import RunDirectory

_TOLERANCE = 1e-3
"""Of the bases' orthonormality, in float32."""


def unpack(
    snapshot: Path, manifest: Manifest, out: Path, *, base: str, source: str
) -> Run:
    """Make the run that lies in ``snapshot``; return it.

    Args:
        snapshot: a download whose files have the hashes of ``manifest``.
        manifest: its list of files.
        out: the run's directory to make.
        base: its base model here: a directory, or a Hub id.
        source: where it comes from, for messages.

    Raises:
        InputError: it holds no run, or one that contradicts itself, or the base is
            another one.
        StoreError: ``out`` exists, or the disk refuses.
    """
    require_base(manifest, base, source)
    shared = _load(snapshot / RUN_FOLDER, source)
    if shared.facts.base != manifest.base.hash:
        raise _unsound(source, f"another base in {RECORD} than in its list of files")
    config = _config(shared, base, out, source)
    with new_directory(out) as beside:
        try:
            _fill(RunDirectory(beside), snapshot, shared, config, source)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise _unsound(source, f"what no run has: {error!r}") from error
    return Run.open(out)


def _fill(
    directory: RunDirectory,
    snapshot: Path,
    shared: SharedRun,
    config: RunConfig,
    source: str,
) -> None:
    """Write a whole run into ``directory`` and check it."""
    _copy(snapshot, shared, directory, config.base)
    _check_genomes(shared, directory, source)
    _write_ledger(shared, config, directory, snapshot / RUN_FOLDER)
    save_results(shared.results, directory.results)
    write_bytes(directory.table, markdown(shared.results).encode())
    for check in verify(directory.path):
        if check.problems:
            raise _unsound(source, f"{check.name}: {check.problems[0]}")


def require_base(manifest: Manifest, base: str, source: str) -> None:
    """Refuse a base model other than the one that a repository's adapters change.

    Raises:
        InputError: its hash is another one, or cannot be compared.
    """
    found = base_hash(base)
    if found == manifest.base.hash:
        return
    remedy = f"name the directory of {manifest.base.model} with --base"
    if not found.startswith("hub:") and manifest.base.hash.startswith("hub:"):
        remedy = f"use --base {manifest.base.model}, at the same commit"
    raise InputError(
        f"expected the base of {source} ({manifest.base.model}, "
        f"{manifest.base.hash[:16]}), but {base} is another one ({found[:16]}); "
        f"{remedy}"
    )


def _load(directory: Path, source: str) -> SharedRun:
    path = directory / RECORD
    try:
        return SharedRun.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"expected a run in {source}, but it has adapters only; leave out --run"
        ) from error
    except ValidationError as error:
        misfit = error.errors()[0]
        where = ".".join(map(str, misfit["loc"])) or "file"
        raise _unsound(source, f"{RECORD}, {where}: {misfit['msg']}") from error


def _config(shared: SharedRun, base: str, out: Path, source: str) -> RunConfig:
    """Return the config with which the run goes on here."""
    places = {"base": base, "run": str(out), "experts_dir": str(out / EXPERTS_FOLDER)}
    engine = shared.config.get("engine")
    if isinstance(engine, dict):  # what starts or reaches a server is not taken over
        unsafe = {"arguments", "urls", "adapter_dir", "api_key_env", "address"}
        if engine.get("kind") != "transformers":  # vLLM runs here, not on a cluster
            unsafe.add("kind")
        engine = {key: v for key, v in engine.items() if key not in unsafe}
    raw = {**shared.config, **places, "engine": engine or {}}
    config = parse_config(raw, source=source)
    if set(config.skills) != set(shared.experts):
        raise _unsound(source, f"the experts of {', '.join(shared.experts)}")
    return config


def _copy(snapshot: Path, shared: SharedRun, run: RunDirectory, base: str) -> None:
    shutil.copyfile(snapshot / RUN_FOLDER / SPACE, run.space)
    run.members.mkdir()
    for file in sorted((snapshot / RUN_FOLDER / GENOMES).glob("*.safetensors")):
        shutil.copyfile(file, run.members / file.name)
    for skill, folder in shared.experts.items():
        target = run.path / EXPERTS_FOLDER / skill
        shutil.copytree(snapshot / EXPERTS_FOLDER / folder, target)
        config = json.loads((target / CONFIG_NAME).read_text())
        text = json.dumps(config | {"base_model_name_or_path": base}, indent=2)
        write_bytes(target / CONFIG_NAME, text.encode() + b"\n")


def _check_genomes(shared: SharedRun, run: RunDirectory, source: str) -> None:
    """Refuse a core space, cores or experts that are not what the record says."""
    space = load_space(run.space)
    if space_hash(space) != shared.facts.space:
        raise _unsound(source, f"another core space than its {RECORD} names")
    for module, basis in space.bases.items():
        for factor in (basis.U, basis.V):
            gram = factor.T.astype(np.float64) @ factor
            if not np.allclose(gram, np.eye(len(gram)), atol=_TOLERANCE):
                raise _unsound(source, f"a basis of {module} that is not orthonormal")
    known = shared.hashes()
    for path in sorted(run.members.iterdir()):
        if path.stem not in known:
            raise _unsound(source, f"the genome {path.stem}, which no member has")
        _check_cores(load_genome(path), space, path.stem, source)
    for skill, expert_hash in shared.facts.experts.items():
        directory = run.path / EXPERTS_FOLDER / skill
        load_adapter(directory)
        if weights_hash(directory) != expert_hash:
            raise _unsound(source, f"another expert of {skill!r} than it names")


def _check_cores(cores: Cores, space: CoreSpace, name: str, source: str) -> None:
    shapes = {module: core.shape for module, core in cores.items()}
    if shapes != {m: basis.core_shape for m, basis in space.bases.items()}:
        raise _unsound(source, f"cores of another shape in {name}")
    if not all(np.isfinite(core).all() for core in cores.values()):
        raise _unsound(source, f"NaN or inf in {name}")


def _write_ledger(
    shared: SharedRun, config: RunConfig, run: RunDirectory, directory: Path
) -> None:
    """Write what the record says, in the order in which it was first written."""
    outcomes = load_outcomes(directory / OUTCOMES, shared.outcomes)
    dumped = config.model_dump(mode="json")
    write_bytes(run.config, _yaml(dumped))
    born = {child.member: index for index, child in enumerate(shared.children)}
    told: set[tuple[str, Split]] = set()
    with Ledger(run.ledger, is_writer=True) as ledger:
        ledger.write_manifest({**shared.facts.model_dump(), "config": dumped})
        for usage in shared.sessions:
            ledger.keep_usage(ledger.open_session({"config": dumped}), usage)
        for each in shared.evaluations:
            question = (each.member, each.split)
            found = {} if question in told else outcomes.of(*question)
            told.add(question)
            if each.split is Split.SEARCH and each.member in born:
                index = born.pop(each.member)
                _commit_child(ledger, shared, index, found, each.stages)
            else:
                ledger.commit_outcomes(*question, Scored(found, each.stages))
        for member, genome in shared.genomes.items():
            ledger.keep_genome(member, genome)


def _commit_child(
    ledger: Ledger,
    shared: SharedRun,
    index: int,
    outcomes: Mapping[str, Any],
    stages: StageSeconds,
) -> None:
    child = shared.children[index]
    proposal = Proposal(
        index, Member(child.member, {}), child.parents, child.task, child.recipe
    )
    scored = Scored(outcomes, stages, child.num_left)
    ledger.commit(proposal, child.genome, child.scores, scored)


def _yaml(raw: Mapping[str, Any]) -> bytes:
    import yaml

    return yaml.safe_dump(dict(raw), sort_keys=False).encode()


def _unsound(source: str, fact: str) -> LoraQDError:
    return InputError(
        f"expected a sound run in {source}, but it has {fact}; nothing was kept, ask "
        "its owner to push it again"
    )
