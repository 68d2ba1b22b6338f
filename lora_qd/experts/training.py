"""Training one expert into a PEFT directory, or finding it there already.

Not done here: own-skill scores. The caller, who has engines, measures them and passes
them to ``add_scores``.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_qd.errors import InputError, MissingExtraError
from lora_qd.experts.config import TrainingConfig
from lora_qd.experts.data import Example
from lora_qd.experts.fingerprint import base_hash, config_hash, data_hash
from lora_qd.experts.quiet import quiet_libraries
from lora_qd.store.files import new_directory, write_bytes

if TYPE_CHECKING:
    from lora_qd.experts.reporter import Progress
    from lora_qd.experts.sft import Fit

RECORD_NAME = "loraqd_expert.json"
_RECORDED_PACKAGES = ("loraqd", "torch", "transformers", "peft", "trl", "bitsandbytes")


class ExpertRecord(BaseModel):
    """What ``loraqd_expert.json`` says about the adapter beside it."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    config_hash: str
    """SHA-256 of all that decides the weights."""
    base: str
    """The base model as configured."""
    base_hash: str
    """Identifies the base's weights and tokenizer."""
    data_hash: str
    """SHA-256 of the examples."""
    training: TrainingConfig
    """The settings."""
    num_examples: int
    """Examples trained on."""
    num_too_long: int
    """Examples left out because they exceed ``max_length``."""
    num_steps: int
    """Optimiser steps."""
    loss_before: float
    """Mean loss per token of held-out examples, base model alone."""
    loss_after: float
    """The same with the adapter."""
    seconds: float
    """Wall time of the training."""
    versions: dict[str, str]
    """Of the packages that trained it."""
    score_before: float | None = None
    """The base's score on the expert's own skill, in [0, 1]; see ``add_scores``."""
    score_after: float | None = None
    """The expert's."""


@dataclass(frozen=True, slots=True)
class Expert:
    """An expert on disk."""

    directory: Path
    """A PEFT directory with ``loraqd_expert.json`` in it."""
    record: ExpertRecord
    was_trained: bool
    """False where it was on disk already."""


def train_expert(
    training: TrainingConfig,
    examples: Sequence[Example],
    *,
    base: str,
    directory: Path,
    force: bool = False,
    progress: "Progress | None" = None,
) -> Expert:
    """Train an expert into ``directory``, unless the same expert is there already.

    Nothing is at ``directory`` until the expert is whole; an older expert there is
    replaced at the very end.

    Args:
        training: the settings.
        examples: at least two.
        base: directory or Hub id of the base model, as configured.
        directory: the PEFT directory to make.
        force: whether to train although the same expert is there.
        progress: called with the step, the number of steps and the loss.

    Raises:
        InputError: base, examples or what lies at ``directory`` cannot be used.
        TrainingError: training broke down.
        MissingExtraError: trl or what it needs is not installed.
    """
    if len(examples) < 2:
        raise InputError(
            f"expected at least 2 training examples for {directory.name!r}, but got "
            f"{len(examples)}; give more data"
        )
    is_expert = _is_expert(directory)
    base_id, data_id = base_hash(base), data_hash(examples)
    wanted = config_hash(training, base_hash=base_id, data_hash=data_id)
    if is_expert and not force:
        record = load_record(directory)
        if record.config_hash == wanted:
            return Expert(directory, record, was_trained=False)
    start = time.monotonic()
    result = _fit(training, examples, base=base, progress=progress)
    record = ExpertRecord(
        config_hash=wanted,
        base=_portable(base),
        base_hash=base_id,
        data_hash=data_id,
        training=training,
        num_examples=result.num_examples,
        num_too_long=result.num_too_long,
        num_steps=result.num_steps,
        loss_before=result.loss_before,
        loss_after=result.loss_after,
        seconds=time.monotonic() - start,
        versions=_versions(),
    )
    _save(directory, result, record)
    return Expert(directory, record, was_trained=True)


def load_record(directory: Path) -> ExpertRecord:
    """Return what is recorded of the expert in ``directory``.

    Raises:
        InputError: it is no directory that loraqd trained.
    """
    path = directory / RECORD_NAME
    try:
        return ExpertRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"expected an expert with {RECORD_NAME} in {directory}, but got: "
            f"{error.strerror}; train it with loraqd train-experts"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"expected {path} as loraqd wrote it, but {first['loc']}: {first['msg']}; "
            "train the expert again with --force"
        ) from error


def add_scores(directory: Path, *, before: float, after: float) -> ExpertRecord:
    """Record the scores of base and expert on the expert's own skill, in [0, 1]."""
    scores = {"score_before": before, "score_after": after}
    record = load_record(directory).model_copy(update=scores)
    write_bytes(directory / RECORD_NAME, _json(record))
    return record


def _fit(
    training: TrainingConfig,
    examples: Sequence[Example],
    *,
    base: str,
    progress: "Progress | None",
) -> "Fit":
    try:
        with quiet_libraries():
            from lora_qd.experts.sft import fit

            name = _portable(base)
            return fit(base, training, examples, base_name=name, progress=progress)
    except ImportError as error:
        raise MissingExtraError("training experts", "train") from error


def _save(directory: Path, result: "Fit", record: ExpertRecord) -> None:
    with new_directory(directory, replace=True) as beside:
        write_bytes(beside / "adapter_model.safetensors", result.weights)
        write_bytes(beside / "adapter_config.json", result.adapter_config)
        write_bytes(beside / RECORD_NAME, _json(record))


def _is_expert(directory: Path) -> bool:
    """Return whether an expert is at ``directory``; False where nothing is."""
    if (directory / RECORD_NAME).is_file():
        return True
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise InputError(
            f"expected an expert or nothing at {directory}, but other files are there; "
            "choose another directory or move them away"
        )
    return False


def _portable(base: str) -> str:
    """Return the name under which an adapter refers to ``base`` on any machine."""
    path = Path(base)
    if not path.is_absolute():
        return path.as_posix() if path.is_dir() else base
    here = Path.cwd()
    return path.relative_to(here).as_posix() if here in path.parents else path.name


def _versions() -> dict[str, str]:
    found = {}
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # not every package is needed everywhere
            continue
    return found


def _json(record: ExpertRecord) -> bytes:
    return record.model_dump_json(indent=2).encode() + b"\n"
