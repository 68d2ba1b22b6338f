"""A run in the compact form that is shared: plain JSON and tensors, no database.

``run/run.json`` holds what a ledger says but for the answers, ``outcomes.safetensors``
every sample's score and tokens, ``space.safetensors`` the bases of the core space and
``genomes/`` the cores of every member that is bred from or has a name. Left out: what
models answered, machines, and how experts were trained.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lora_qd.errors import InputError
from lora_qd.records import Score, Split, StageSeconds, Usage
from lora_qd.runs.results import Results
from lora_qd.store.ledger import Ledger

RECORD = "run.json"
OUTCOMES = "outcomes.safetensors"
SPACE = "space.safetensors"
GENOMES = "genomes"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_VALUE, _PROMPT_TOKENS, _TOKENS = "value", "num_prompt_tokens", "num_tokens"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SharedChild(_Strict):
    """A child or seed, as its ledger has it."""

    member: str
    task: str
    parents: tuple[str, ...]
    recipe: dict[str, Any]
    scores: dict[str, Annotated[float, Field(ge=0, le=1)]]
    genome: Sha256
    num_left: Annotated[int, Field(ge=0)] = 0
    """Samples that it was not asked."""


class Evaluation(_Strict):
    """What one evaluation took; in the order in which they were committed."""

    member: str
    split: Split
    stages: StageSeconds


class OutcomeTable(_Strict):
    """Who was scored on the samples of a task and split; the scores are tensors."""

    split: Split
    task: str
    members: tuple[str, ...]
    samples: tuple[str, ...]


class SharedFacts(_Strict):
    """What fixes a run, as its ledger's manifest has it; without the machine."""

    seed: int
    versions: dict[str, str]
    base: str
    tokenizer: str
    experts: dict[str, Sha256]
    """Hash of each expert's weights, by skill."""
    quantization: dict[str, Any]
    space: Sha256
    splits: dict[str, str]


class SharedRun(_Strict):
    """Everything that a ledger says of a run, and that is to be shared."""

    config: dict[str, Any]
    """Without any path of the machine where it ran."""
    facts: SharedFacts
    children: tuple[SharedChild, ...]
    """In the order of their birth; the seeds are the first."""
    genomes: dict[str, Sha256]
    """Of members that are nobody's child."""
    evaluations: tuple[Evaluation, ...]
    sessions: tuple[Usage, ...]
    outcomes: tuple[OutcomeTable, ...]
    experts: dict[str, str]
    """Folder of each skill's expert, by skill."""
    results: Results
    kind: Literal["loraqd run"] = "loraqd run"

    @model_validator(mode="after")
    def _names_are_safe(self) -> Self:
        """Refuse names that would leave a directory when they become one."""
        for name in self.experts:
            is_inside = not {"", ".", ".."} & set(name.split("/"))
            if not is_inside or not name.isprintable() or "\\" in name:
                raise ValueError(f"{name!r} is no skill's name")
        known = {*self.experts, "aggregate", "balanced"}
        for name in self.results.members:
            if name not in known:
                raise ValueError(f"{name!r} is no name of a served member")
        return self

    @model_validator(mode="after")
    def _skills_agree(self) -> Self:
        if not set(self.results.skills) == set(self.experts) == set(self.facts.experts):
            raise ValueError("experts, hashes and results are of other skills")
        scored = {*self.results.skills, *self.results.retention}
        if any(set(row.by_skill) != scored for row in self.results.rows):
            raise ValueError("a row of the results lacks a skill")
        seen = {each.member for each in self.evaluations if each.split is Split.SEARCH}
        for child in self.children:
            if child.member not in seen:
                raise ValueError(f"{child.member} was never evaluated")
        return self

    def hashes(self) -> set[str]:
        """Return the hashes of all genomes, of those without a file, too."""
        return {child.genome for child in self.children} | {*self.genomes.values()}


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Every sample's score, with the tables that say whose they are."""

    tables: tuple[OutcomeTable, ...]
    tensors: Mapping[str, np.ndarray]
    """``<number of the table>.value`` and so on, ``(members, samples)``; a score that
    is missing is NaN."""

    def of(self, member: str, split: Split) -> dict[str, dict[str, Score]]:
        """Return the scores of ``member`` on ``split``, by task and sample."""
        found: dict[str, dict[str, Score]] = {}
        for number, table in enumerate(self.tables):
            if table.split is not split or member not in table.members:
                continue
            row = table.members.index(member)
            values, prompts, tokens = (
                self.tensors[f"{number}.{kind}"][row].tolist()
                for kind in (_VALUE, _PROMPT_TOKENS, _TOKENS)
            )
            found[table.task] = {
                sample: Score(value, num_prompt_tokens=prompt, num_tokens=generated)
                for sample, value, prompt, generated in zip(
                    table.samples, values, prompts, tokens, strict=True
                )
                if value == value  # not NaN
            }
        return found

    def check(self, source: str) -> None:
        """Refuse tensors that are not what the tables say.

        Raises:
            InputError: one is missing, has another shape, or a score is outside [0, 1].
        """
        for number, table in enumerate(self.tables):
            shape = (len(table.members), len(table.samples))
            for kind in (_VALUE, _PROMPT_TOKENS, _TOKENS):
                tensor = self.tensors.get(f"{number}.{kind}")
                if tensor is None or tensor.shape != shape:
                    fact = "is missing" if tensor is None else f"is {tensor.shape}"
                    raise InputError(
                        f"expected outcomes of shape {shape} in {source}, but "
                        f"{number}.{kind} {fact}; ask its owner to push it again"
                    )
            values = self.tensors[f"{number}.{_VALUE}"]
            if np.any((values < 0) | (values > 1)):
                raise InputError(
                    f"expected scores in [0, 1] in {source}, but {table.task!r} has "
                    "others; ask its owner to push it again"
                )


def outcomes_in(ledger: Ledger, members: Sequence[str]) -> Outcomes:
    """Return what a ledger knows of ``members``, the answers left out."""
    scored: dict[tuple[Split, str], dict[str, dict[str, Score]]] = {}
    for member in members:
        for split, tasks in sorted(ledger.measured(member).items()):
            for task in tasks:
                found = ledger.outcomes(member, Split(split), task)
                scored.setdefault((Split(split), task), {})[member] = found
    tables, tensors = [], {}
    for number, ((split, task), by_member) in enumerate(sorted(scored.items())):
        samples = tuple(sorted({s for found in by_member.values() for s in found}))
        tables.append(
            OutcomeTable(
                split=split, task=task, members=tuple(by_member), samples=samples
            )
        )
        for kind, values in _columns(by_member.values(), samples).items():
            tensors[f"{number}.{kind}"] = values
    return Outcomes(tuple(tables), tensors)


def _columns(
    rows: Iterable[Mapping[str, Score]], samples: Sequence[str]
) -> dict[str, np.ndarray]:
    none = Score(float("nan"))
    scores = [[row.get(sample, none) for sample in samples] for row in rows]

    def column(kind: str, dtype: type) -> np.ndarray:
        return np.array([[getattr(s, kind) for s in row] for row in scores], dtype)

    return {
        _VALUE: column(_VALUE, np.float64),
        _PROMPT_TOKENS: column(_PROMPT_TOKENS, np.int64),
        _TOKENS: column(_TOKENS, np.int64),
    }


def load_outcomes(path: Path, tables: Sequence[OutcomeTable]) -> Outcomes:
    """Read and check the tensors that lie at ``path``.

    Raises:
        InputError: they are damaged, or do not fit ``tables``.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        outcomes = Outcomes(tuple(tables), load_file(path))
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"expected outcomes in {path}, but got: {error}; pull it again"
        ) from error
    outcomes.check(str(path))
    return outcomes
