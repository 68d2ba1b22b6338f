"""One YAML file per experiment, checked by pydantic; unknown keys are errors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from lora_qd.errors import InputError
from lora_qd.experts.config import ExpertConfig, TrainingConfig
from lora_qd.factors.merging import METHODS
from lora_qd.runs.measure_config import MeasureConfig
from lora_qd.search import CycleQDSettings
from lora_qd.tasks.own import load_skill
from lora_qd.tasks.published.source import Strict
from lora_qd.variation import CrossoverSettings, MutationForm, SelectionForm
from lora_qd.variation.crossover import Granularity

TrackerName = Literal["tensorboard", "wandb", "trackio", "mlflow"]
"""A library that follows runs; its extra has the same name."""


class SearchConfig(Strict):
    """How CycleQD breeds and how long."""

    children: int = Field(default=1200, ge=0)
    """Children to breed."""
    batch: int = Field(default=1, ge=1)
    """Children of one generation."""
    lag: int = Field(default=1, ge=0)
    """Batches proposed before the oldest one is inserted."""
    cells: int = Field(default=15, ge=1)
    """Cells of each measure axis."""
    selection: SelectionForm = SelectionForm.PAPER
    """How parents are drawn from the elites."""
    a_low: float = Field(default=0.05, gt=0)
    """Lowest factor of an elite's weight."""
    a_high: float = Field(default=1.0, gt=0)
    """Highest factor of that weight."""
    parents: int = Field(default=3, ge=2)
    """Elites that a child is bred from; the paper's two, or more."""
    crossover: str = "linear"
    """The merging method that makes a child: `linear` is the paper's; `slerp`, `ties`
    and what else `loraqd merge` knows have their default parameters."""
    crossover_sigma: float = Field(default=0.5, ge=0)
    """Standard deviation of the crossover weights around 1."""
    granularity: Granularity = Granularity.MODEL
    """What shares one draw of crossover weights."""
    keep_norm: bool = True
    """Whether every module of a child is as long as its parents' are on average."""
    gain_sigma: float = Field(default=0.1, ge=0)
    """Standard deviation of a child's log gain; 0: no gene."""
    tilt_sigma: float = Field(default=0.4, ge=0)
    """Standard deviation of the log exponent on a child's singular values; 0: no
    gene."""
    mutation: MutationForm = MutationForm.RELATIVE
    """What a mutation does to singular values."""
    w_max: float = Field(default=0.1, ge=0)
    """Bound of the mutation's draws."""
    seed_merges: bool = True
    """Whether the archives also start from the static merges."""

    @model_validator(mode="after")
    def _check_crossover(self) -> Self:
        if self.crossover not in METHODS:
            raise ValueError(
                f"crossover is one of {', '.join(METHODS)}, not {self.crossover!r}"
            )
        if self.crossover != "linear" and self.granularity is Granularity.MODULE:
            raise ValueError("granularity: module is for crossover: linear only")
        if self.crossover == "slerp" and self.parents != 2:
            raise ValueError("crossover: slerp takes parents: 2")
        return self

    def settings(self, merge_gains: tuple[float, ...]) -> CycleQDSettings:
        """Return what the searcher takes."""
        loop = {"children", "batch", "lag", "cells", "seed_merges"}
        crossing = {"crossover", "crossover_sigma", "granularity", "keep_norm"}
        crossing |= {"gain_sigma"}
        return CycleQDSettings(
            num_cells=self.cells,
            crossing=CrossoverSettings(
                sigma=self.crossover_sigma,
                method=self.crossover,
                granularity=self.granularity,
                gain_sigma=self.gain_sigma,
                keep_norm=self.keep_norm,
            ),
            static_gains=merge_gains if self.seed_merges else (),
            **self.model_dump(exclude=loop | crossing),
        )


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
    experts_dir: Path
    """Where `loraqd train-experts` writes, and the search reads, one adapter per
    skill, each in a directory of the skill's name."""
    experts: tuple[ExpertConfig, ...] = ()
    """How `loraqd train-experts` gets the expert of each skill; not needed for
    adapters that are there already."""
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
        if self.experts and trained != served and not self.allow_other_quantization:
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
