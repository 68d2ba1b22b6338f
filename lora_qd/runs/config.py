"""One YAML file per experiment, checked by pydantic; unknown keys are errors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lora_qd.engines.quantization import Quantization
from lora_qd.errors import InputError
from lora_qd.experts.config import ExpertConfig, TrainingConfig
from lora_qd.factors.merging import METHODS
from lora_qd.records import Split
from lora_qd.search import CycleQDSettings
from lora_qd.tasks.agentbench import DatabaseSettings, SystemSkillSettings
from lora_qd.tasks.coding import CodingSettings
from lora_qd.tasks.sandbox.systems import SystemsSettings
from lora_qd.variation import CrossoverSettings, MutationForm, SelectionForm
from lora_qd.variation.crossover import Granularity


class _Strict(BaseModel):
    """Unknown keys are errors; the text under a field is its description."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class SearchConfig(_Strict):
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


class EngineConfig(_Strict):
    """How the base is served while candidates are scored."""

    serve_rank: int = Field(default=16, ge=1, le=512)
    """Rank that every member is truncated to when served."""
    max_loras: int = Field(default=4, ge=1)
    """Candidates that generate at once on each server."""
    ahead: int = Field(default=2, ge=0)
    """Candidates more that each server holds: loaded ahead, or being scored."""
    servers: int | None = Field(default=None, ge=1)
    """vLLM servers to start; by default one per accelerator, one without any."""
    gpus_per_server: int = Field(default=1, ge=1)
    """Accelerators that share one copy of the base, where it does not fit on one."""
    urls: tuple[str, ...] = ()
    """Servers that run already, instead of our own: started with LoRA on and
    `VLLM_ALLOW_RUNTIME_LORA_UPDATING=1`."""
    adapter_dir: Path | None = None
    """Where adapters are written for the servers to read; for `urls` a directory that
    both sides see under this path. By default in memory; for `urls` the run's."""
    api_key_env: str | None = None
    """The environment variable that holds the key of `urls`."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Number format of the base's arithmetic and of the adapters."""
    quantization: Quantization = "none"
    """How the frozen base is quantised: `nf4` (bitsandbytes) and `fp8` when it is
    loaded; `awq` and `gptq` are for checkpoints that are."""
    max_model_len: int = Field(default=2048, ge=16)
    """Most tokens of prompt and answer together."""
    max_num_seqs: int = Field(default=256, ge=1)
    """Most sequences that the engine decodes at once."""
    max_num_batched_tokens: int = Field(default=2048, ge=16)
    """Most tokens of one engine step."""
    start_timeout_s: float = Field(default=600, gt=0)
    """Seconds until a silent start counts as failed, or a lost URL as gone."""
    request_timeout_s: float = Field(default=600, gt=0)
    """Seconds until a silent request counts as lost, and its server is started anew."""
    recycle_after: int = Field(default=2000, ge=1)
    """Adapters after which a server is started anew, which bounds its memory."""
    price_per_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Price of one accelerator per hour, in your currency."""
    arguments: tuple[str, ...] = ()
    """More arguments for vLLM's command line, as they are."""

    @model_validator(mode="after")
    def _check_dtype(self) -> Self:
        if self.quantization != "none" and self.dtype == "float32":
            raise ValueError(
                f"quantization {self.quantization!r} needs a 16-bit dtype, not float32"
            )
        return self


class SampleConfig(_Strict):
    """Samples per skill; a skill that has fewer gives all."""

    search: int | None = Field(default=None, ge=1)
    """Scored for every child."""
    validation: int | None = Field(default=None, ge=1)
    """Scored to choose the best merge and the best member."""
    test: int | None = Field(default=None, ge=1)
    """Scored once, at the end."""

    def by_split(self) -> dict[Split, int]:
        """Return the limits that are set."""
        limits = {Split.SEARCH: self.search, Split.VALIDATION: self.validation}
        limits[Split.TEST] = self.test
        return {split: n for split, n in limits.items() if n is not None}


class BenchmarksConfig(_Strict):
    """Where the samples of published benchmarks come from; nothing is bundled."""

    model_config = ConfigDict(serialize_by_alias=True)

    agentbench_db: DatabaseSettings | None = Field(default=None, alias="agentbench-db")
    """AgentBench's DBBench: questions and changes, answered in SQL."""
    agentbench_os: SystemSkillSettings | None = Field(
        default=None, alias="agentbench-os"
    )
    """AgentBench's OS interaction: questions and tasks, answered in bash."""
    humaneval: CodingSettings | None = None
    """HumanEval: Python functions from their docstrings."""
    humaneval_plus: CodingSettings | None = Field(default=None, alias="humaneval+")
    """The same with EvalPlus's tests."""
    mbpp: CodingSettings | None = None
    """MBPP: short Python programs."""
    mbpp_plus: CodingSettings | None = Field(default=None, alias="mbpp+")
    """The same with EvalPlus's tests."""

    @property
    def known(self) -> tuple[str, ...]:
        """The names of all skills that could be here."""
        fields = type(self).model_fields.items()
        return tuple(field.alias or name for name, field in fields)

    def coding(self, name: str) -> CodingSettings | None:
        """Return what is said of the coding skill ``name``; None if nothing is."""
        settings = {
            "humaneval": self.humaneval,
            "humaneval+": self.humaneval_plus,
            "mbpp": self.mbpp,
            "mbpp+": self.mbpp_plus,
        }
        return settings.get(name)


class RunConfig(_Strict):
    """A whole experiment."""

    base: str
    """The base model: a directory or a Hub id."""
    seed: int = Field(default=1, ge=0)
    """Source of all the search's draws."""
    run: Path
    """Where `loraqd evolve` writes."""
    skills: tuple[str, ...] = Field(min_length=2)
    """Skills to be good at; their order is the rotation's."""
    retention: tuple[str, ...] = ()
    """Skills that are only measured, to show forgetting."""
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
    samples: SampleConfig = Field(default_factory=SampleConfig)
    """How many samples make a score."""
    finalists: int = Field(default=12, ge=1)
    """Best bred members that are scored on validation."""
    engine: EngineConfig = Field(default_factory=EngineConfig)
    """The vLLM server."""
    sandbox_workers: int = Field(default=2, ge=1)
    """Processes that execute what the model wrote."""
    benchmarks: BenchmarksConfig = Field(default_factory=BenchmarksConfig)
    """Settings of the skills that are published benchmarks, by skill."""
    systems: SystemsSettings = Field(default_factory=SystemsSettings)
    """The throw-away Linux systems of `agentbench-os`."""

    @property
    def num_seeds(self) -> int:
        """Members that the archives start from: experts and static merges."""
        merges = self.merge_gains if self.search.seed_merges else ()
        return len(self.skills) + len(merges)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [*self.skills, *self.retention]
        if len(set(names)) != len(names):
            raise ValueError(f"skills and retention name a skill twice: {names}")
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


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a config file and apply ``key.key=value`` overrides.

    Raises:
        InputError: the file is missing or no YAML, or a value does not fit.
    """
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
    for override in overrides:
        _apply(raw, override)
    return parse_config(raw, source=str(path))


def parse_config(raw: dict[str, Any], *, source: str) -> RunConfig:
    """Check a config that was read from ``source``.

    Raises:
        InputError: a value does not fit; every misfit is named, in one line.
    """
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'config'}: {_plain(e['type'], e['msg'])}"
            for e in error.errors()
        )
        raise InputError(
            f"expected a config as docs/config.md describes in {source}, but got: "
            f"{details}"
        ) from error


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
