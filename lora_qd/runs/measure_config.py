"""What is measured, and on what: skills, where they come from, and the engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from lora_qd.engines.quantization import Quantization
from lora_qd.records import Split
from lora_qd.tasks.agentbench import DatabaseSettings, SystemSkillSettings
from lora_qd.tasks.coding import CodingSettings
from lora_qd.tasks.own import DataSkill, InspectSkill, LmEvalSkill, OwnSkill
from lora_qd.tasks.published.source import Shares, Strict
from lora_qd.tasks.sandbox.systems import SystemsSettings

_ALL_FOR_TEST = {"search": 0, "validation": 0, "test": 1}
"""Shares of a skill that nothing is chosen by: every sample counts."""
RETENTION_SETS: Mapping[str, tuple[str, ...]] = {
    "language": (
        "lm-eval:mmlu",
        "lm-eval:bbh",
        "lm-eval:gsm8k",
        "lm-eval:triviaqa",
        "humaneval+",
        "inspect:inspect_evals/bigcodebench",
    )
}
"""Benchmarks of language by the name of their set: those of the paper for forgetting,
and TriviaQA."""


EngineKind = Literal["vllm", "transformers", "ray"]


class EngineConfig(Strict):
    """How the base is served while candidates are scored."""

    kind: EngineKind = "vllm"
    """`vllm`: servers on this machine, or `urls`. `ray`: one on each accelerator of a
    Ray cluster. `transformers`: in this process, for platforms without vLLM and models
    that it does not serve."""
    address: str = "auto"
    """Of the Ray cluster: `auto` on one of its machines, or `HOST:PORT`."""
    serve_rank: int = Field(default=16, ge=1, le=512)
    """Rank that every member is truncated to when served."""
    max_loras: int = Field(default=4, ge=1)
    """Candidates that generate at once on each server."""
    ahead: int = Field(default=2, ge=0)
    """Candidates more that each server holds: loaded ahead, or being scored."""
    servers: int | None = Field(default=None, ge=1)
    """vLLM servers to start; by default one per accelerator, one without any. For `ray`
    on each node of a cluster without accelerators."""
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

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.urls and self.kind != "vllm":
            raise ValueError(f"urls are vLLM servers, but kind is {self.kind!r}")
        if self.kind == "transformers" and self.quantization not in ("none", "nf4"):
            raise ValueError(
                f"kind 'transformers' serves quantization none or nf4, not "
                f"{self.quantization!r}"
            )
        return self


class SampleConfig(Strict):
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


class BenchmarksConfig(Strict):
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


class MeasureConfig(Strict):
    """What is measured."""

    base: str = ""
    """The base model: a directory or a Hub id."""
    skills: tuple[str, ...] = Field(min_length=1)
    """Skills: built in, published, of your own, or `lm-eval:<task>` and
    `inspect:<task>`."""
    retention: tuple[str, ...] = ()
    """Skills that are only measured, to show forgetting; `language` is a set of them:
    MMLU, BBH, GSM8K, TriviaQA, HumanEval+ and BigCodeBench."""
    own_skills: dict[str, OwnSkill] = Field(default_factory=dict)
    """Skills of your own by name: the path of a skill's file, or what it would say."""
    samples: SampleConfig = Field(default_factory=SampleConfig)
    """How many samples make a score."""
    engine: EngineConfig = Field(default_factory=EngineConfig)
    """The vLLM server."""
    sandbox_workers: int = Field(default=2, ge=1)
    """Processes that execute what the model wrote."""
    benchmarks: BenchmarksConfig = Field(default_factory=BenchmarksConfig)
    """Settings of the skills that are published benchmarks, by skill."""
    systems: SystemsSettings = Field(default_factory=SystemsSettings)
    """The throw-away Linux systems of `agentbench-os`."""

    @field_validator("retention", mode="before")
    @classmethod
    def _name_sets(cls, names: object) -> object:
        """Replace the name of a set by the names in it."""
        if not isinstance(names, list | tuple):
            return names
        sets = [RETENTION_SETS.get(name, (name,)) for name in names]
        return tuple(name for names in sets for name in names)

    @model_validator(mode="after")
    def _check_skill_names(self) -> Self:
        names = self.all_skills
        if len(set(names)) != len(names):
            raise ValueError(f"skills and retention name a skill twice: {names}")
        return self

    @property
    def all_skills(self) -> tuple[str, ...]:
        """The skills, then the retention."""
        return (*self.skills, *self.retention)

    def own_skill(self, name: str) -> DataSkill | LmEvalSkill | InspectSkill | None:
        """Return the skill of the user's own that is called so; None if none is.

        `lm-eval:<task>` and `inspect:<task>` need no more than their names.
        """
        if name in self.own_skills:
            return self.own_skills[name]
        kind, colon, task = name.partition(":")
        settings: dict[str, Any] = {"task": task}
        if name in self.retention:
            settings["shares"] = Shares(**_ALL_FOR_TEST)
        if colon and kind == "lm-eval":
            return LmEvalSkill.model_validate({"lm-eval": settings})
        if colon and kind == "inspect":
            return InspectSkill.model_validate({"inspect": settings})
        return None
