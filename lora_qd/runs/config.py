"""One YAML file per experiment, checked by pydantic; unknown keys are errors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from lora_qd.errors import InputError
from lora_qd.experts.config import (
    AdapterConfig,
    ExpertConfig,
    ExpertOrigin,
    TrainingConfig,
)
from lora_qd.runs.measure_config import MeasureConfig
from lora_qd.runs.search_config import SearchConfig
from lora_qd.tasks.own import load_skill

TrackerName = Literal["tensorboard", "wandb", "trackio", "mlflow"]
"""A library that follows runs; its extra has the same name."""


class RunConfig(MeasureConfig):
    """A whole experiment."""

    base: str
    """The base model: a directory or a Hub id."""
    seed: int = Field(default=1, ge=0)
    """Source of all the search's draws."""
    run: Path
    """Where `loraqd evolve` writes."""
    skills: tuple[str, ...] = Field(min_length=2)
    """Skills to be good at; their order is the rotation's."""
    experts_dir: Path = Path("experts")
    """Where `loraqd train-experts` writes, and the search reads, one adapter per
    skill, each in a directory of the skill's name."""
    experts: tuple[ExpertOrigin, ...] = ()
    """How `loraqd train-experts` gets the expert of each skill, or `adapter`: where
    one lies that is there already. A list of directories and Hub ids alone names the
    experts in the order of `skills`. Not needed for what lies in `experts_dir`."""
    allow_other_quantization: bool = False
    """Whether experts may be served on another quantisation than they were trained
    on; recorded in the ledger. A base that is quantised on disk is another checkpoint,
    so that only the shapes of its layers are compared then."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """How experts are trained."""
    search: SearchConfig = Field(default_factory=SearchConfig)
    """The search."""
    merge_gains: tuple[float, ...] = Field(
        default=(0.4, 0.5, 0.6, 0.7, 0.8), min_length=1
    )
    """Static merges: the experts' sum times each of these."""
    finalists: int = Field(default=12, ge=1)
    """Best bred members that are scored on validation."""
    report_to: tuple[TrackerName, ...] = ()
    """Trackers that `loraqd evolve` and `loraqd train-experts` report to: one name or
    several of `tensorboard`, `wandb`, `trackio` and `mlflow`, or `none`."""

    @property
    def num_seeds(self) -> int:
        """Members that the archives start from: experts and static merges."""
        merges = self.merge_gains if self.search.seed_merges else ()
        return len(self.skills) + len(merges)

    @property
    def trained_experts(self) -> tuple[ExpertConfig, ...]:
        """The experts that `loraqd train-experts` makes."""
        return tuple(e for e in self.experts if isinstance(e, ExpertConfig))

    @property
    def adapters(self) -> dict[str, str]:
        """Directory or Hub id of the experts that are there already, by skill."""
        found = (e for e in self.experts if isinstance(e, AdapterConfig))
        return {expert.name: expert.adapter for expert in found}

    @model_validator(mode="before")
    @classmethod
    def _name_adapters(cls, raw: Any) -> Any:  # noqa: ANN401 - whatever was written
        """Return the config with a name for each adapter of a plain list."""
        experts = raw.get("experts") if isinstance(raw, dict) else None
        if not isinstance(experts, list) or not any(
            isinstance(expert, str) for expert in experts
        ):
            return raw
        skills = raw.get("skills")
        if not isinstance(skills, list | tuple) or len(skills) != len(experts):
            raise ValueError(
                "experts given as a plain list are one per skill, in their order"
            )
        named = [
            {"name": skill, "adapter": expert} if isinstance(expert, str) else expert
            for skill, expert in zip(skills, experts, strict=True)
        ]
        return {**raw, "experts": named}

    @field_validator("report_to", mode="before")
    @classmethod
    def _list_trackers(cls, names: object) -> object:
        """Return the names as a list: one may stand alone, and `none` is nobody."""
        if isinstance(names, str):
            names = [names]
        if names is None or names == ["none"]:
            return ()
        if not isinstance(names, list | tuple):
            return names
        known = get_args(TrackerName)
        if any(name not in known for name in names) or len(set(names)) < len(names):
            raise ValueError(
                f"expected some of {', '.join(known)}, each once, or none, but got "
                f"{', '.join(map(str, names))}"
            )
        return tuple(names)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        experts = [expert.name for expert in self.experts]
        if len(set(experts)) != len(experts) or not set(experts) <= set(self.skills):
            raise ValueError(
                f"experts are named by skills, each once: skills are {self.skills}, "
                f"experts {tuple(experts)}"
            )
        return self

    @model_validator(mode="after")
    def _check_quantization(self) -> Self:
        trained, served = self.training.quantization, self.engine.quantization
        if (
            self.trained_experts
            and trained != served
            and not self.allow_other_quantization
        ):
            raise ValueError(
                f"experts are trained on quantization {trained!r} but served on "
                f"{served!r}; make them equal or set allow_other_quantization: true"
            )
        return self


Config = TypeVar("Config", bound=MeasureConfig)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a config file and apply ``key.key=value`` overrides.

    Raises:
        InputError: the file is missing or no YAML, or a value does not fit.
    """
    raw = _read(path)
    for override in overrides:
        _apply(raw, override)
    return parse_config(raw, source=str(path))


def measure_config(raw: dict[str, Any], overrides: Sequence[str]) -> MeasureConfig:
    """Return what is to be measured without an experiment's file.

    Args:
        raw: keys and values as a config has them.
        overrides: ``key.key=value``, as behind a command.

    Raises:
        InputError: a value does not fit.
    """
    for override in overrides:
        _apply(raw, override)
    return _parse(raw, MeasureConfig, source="the command")


def parse_config(raw: dict[str, Any], *, source: str) -> RunConfig:
    """Check a config that was read from ``source``.

    Raises:
        InputError: a value does not fit; every misfit is named, in one line.
    """
    return _parse(raw, RunConfig, source=source)


def _parse(raw: dict[str, Any], kind: type[Config], *, source: str) -> Config:
    try:
        return kind.model_validate(_with_skill_files(raw))
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'config'}: {_plain(e['type'], e['msg'])}"
            for e in error.errors()
        )
        raise InputError(
            f"expected a config as docs/config.md describes in {source}, but got: "
            f"{details}"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(
            f"expected a config at {path}, but got: {error.strerror}; see configs/"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"expected YAML in {path}, but got: {reason}") from error
    if not isinstance(raw, dict):
        raise InputError(f"expected a mapping in {path}, but got {type(raw).__name__}")
    return raw


def _with_skill_files(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a config with what its skills' files say in place of their paths."""
    own = raw.get("own_skills")
    if not isinstance(own, dict):
        return raw
    loaded = {
        name: load_skill(Path(skill)) if isinstance(skill, str) else skill
        for name, skill in own.items()
    }
    return {**raw, "own_skills": loaded}


def _plain(kind: str, message: str) -> str:
    return "unknown key" if kind == "extra_forbidden" else message


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(
            f"expected overrides like search.children=600, but got {override!r}"
        )
    *parents, last = key.split(".")
    for parent in parents:
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise InputError(f"expected {parent!r} in {override!r} to be a mapping")
    try:
        raw[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"expected a YAML value in {override!r}") from error
