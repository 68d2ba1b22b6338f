"""Frozen records that cross layers. Nothing here computes or touches the world."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np

Cores = Mapping[str, np.ndarray]
"""One core per module: ``{module name: C (R_out, R_in) float32}``."""

Scores = Mapping[str, float]
"""Mean score by task name, each in [0, 1], higher is better."""


class Split(StrEnum):
    """The disjoint parts of a task's samples; the sample's id decides."""

    TRAIN = "train"
    """Feeds expert training only."""
    SEARCH = "search"
    """Selection inside the run."""
    VALIDATION = "validation"
    """Names the best member and weighs the aggregate."""
    TEST = "test"
    """Reported once, never read by the search."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    """``system``, ``user`` or ``assistant``."""
    content: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One question with its gold answer."""

    id: str
    """Stable across machines; decides the split."""
    prompt: str
    """What the candidate is asked, before the chat template."""
    target: str
    """A gold answer; scoring it gives 1.0."""
    checks: Mapping[str, Any] = field(default_factory=dict)
    """What the scorer needs besides (assertions, rows, files, ...); plain data."""
    template: str = ""
    """The name of the generator's template, for reports."""
    before: tuple[Message, ...] = ()
    """What comes before ``prompt``: instructions and examples."""


@dataclass(frozen=True, slots=True)
class Request:
    """One generation request; decoding is greedy unless it says otherwise."""

    messages: tuple[Message, ...]
    """Rendered by the base's chat template; empty where ``prompt`` is given."""
    max_tokens: int
    """Most tokens to generate."""
    stop: tuple[str, ...] = ()
    """Texts that end the completion besides the end-of-turn token."""
    temperature: float = 0.0
    """Of sampling; 0 is greedy."""
    seed: int = 0
    """Of the draws of sampling."""
    prompt: str = ""
    """The text to go on from, as it is, instead of ``messages``."""
    has_bos: bool = False
    """Whether the tokenizer's begin-of-text token goes before ``prompt``."""
    continuation: str | None = None
    """Text whose log-likelihood after the prompt is wanted, instead of an answer."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine answered to one request."""

    text: str
    num_prompt_tokens: int
    num_tokens: int
    """Generated tokens."""
    is_complete: bool
    """False where ``max_tokens`` cut the answer."""
    logprob: float = 0.0
    """Natural log-likelihood of the ``continuation``, if the request has one."""
    is_greedy: bool = False
    """Whether greedy decoding would write that continuation."""


@dataclass(frozen=True, slots=True)
class Score:
    """The outcome of one sample."""

    value: float
    """In [0, 1], higher is better."""
    reason: str = ""
    """Why the answer failed, one line; empty for a full score."""
    answer: str = ""
    """What the candidate wrote."""
    num_prompt_tokens: int = 0
    num_tokens: int = 0
    """Generated tokens over all turns."""
    seconds: float = 0.0
    """Wall time spent scoring the answer, generation excluded."""


@dataclass(frozen=True, slots=True)
class Swap:
    """What it took to make a member ready."""

    materialise_s: float
    """Seconds to compute and write the adapter."""
    load_s: float
    """Seconds until the engine could use it."""


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Where the wall time of one evaluation went; the stages do not overlap."""

    wait: float = 0.0
    """In the queue, or loaded and waiting for a turn to generate."""
    materialise: float = 0.0
    """Computing and writing the adapter."""
    load: float = 0.0
    """Until the engine could use the adapter."""
    generate: float = 0.0
    """With a request in flight."""
    score: float = 0.0
    """With none in flight: answers were executed and judged."""

    @property
    def total(self) -> float:
        """The wall time of the evaluation."""
        return self.wait + self.materialise + self.load + self.generate + self.score


@dataclass(frozen=True, slots=True)
class Scored:
    """What one candidate reached on one split."""

    outcomes: Mapping[str, Mapping[str, Score]]
    """Scores by task, then by sample id."""
    stages: StageSeconds
    """Where the wall time went, from the call to the last score."""
    num_left: int = 0
    """Samples that it was not asked, since nothing could come of it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one session of a run has used of its engines so far."""

    seconds: float
    """Wall time since the engines were up."""
    busy_s: float
    """Time with a request in flight, summed over the engines."""
    num_engines: float
    """On average, where some came late or were lost."""
    num_restarts: int = 0
    """Servers that were lost or recycled, and started again."""


class Generate(Protocol):
    """The one callable through which a task asks its candidate."""

    async def __call__(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion per request, in the order of ``requests``."""
        ...


@dataclass(frozen=True, slots=True, eq=False)  # eq=False: == on arrays raises
class Member:
    """An individual of the population."""

    id: str
    """``<child index>-<content hash>`` or the name of a seed; unique in a run."""
    cores: Cores


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A child that a searcher asks to have scored."""

    index: int
    """Order of birth, from 0; insertion follows it."""
    member: Member
    parents: tuple[str, ...]
    """Ids of the members it was bred from; empty for a seed."""
    task: str
    """The task whose archive it was bred in; empty for a seed."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Operators and their random draws, plain data, for the ledger."""
