"""What a run asks of its engine: candidates, samples and tokens; no effects.

Counted by the rules of ``evolve`` and ``finals``. Where these depend on scores it is
the most that they can ask: an elite that is a finalist too is scored once, yet counted
twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lora_qd.records import Sample, Split
from lora_qd.runs.config import RunConfig


class TokenCounter(Protocol):
    """Counts tokens as the base's tokenizer does, or estimates them."""

    def prompt(self, sample: Sample) -> int:
        """Return the tokens of the prompt, the chat template's included."""
        ...

    def answer(self, sample: Sample) -> int:
        """Return the tokens of the gold answer, the end token included."""
        ...


@dataclass(frozen=True, slots=True)
class SkillWork:
    """What one candidate is asked of one skill."""

    num_samples: int
    num_prompt_tokens: int
    num_tokens: int
    """Generated ones, were all answers as long as the gold ones."""


@dataclass(frozen=True, slots=True)
class Pass:
    """All candidates that are scored on one split."""

    split: Split
    candidates: Mapping[str, int]
    """How many, by what they are."""
    skills: Mapping[str, SkillWork]
    """What each candidate is asked, by skill."""
    num_candidates: int
    num_samples: int
    """Of all candidates together, as are the tokens."""
    num_prompt_tokens: int
    num_tokens: int


def candidate_counts(config: RunConfig) -> dict[Split, dict[str, int]]:
    """Return how many candidates are scored on each split, by what they are."""
    num_skills, search = len(config.skills), config.search
    num_gains = len(config.merge_gains)
    return {
        Split.SEARCH: {
            "experts": num_skills,
            "static merges": num_gains if search.seed_merges else 0,
            "children": search.children,
        },
        Split.VALIDATION: {
            "static merges": num_gains,
            "finalists": min(config.finalists, search.children),
            "elites": num_skills,
        },
        Split.TEST: {
            "base": 1,
            "experts": num_skills,
            "static merge": 1,
            "bred member": min(1, search.children),
            "aggregate": 1,
        },
    }


def passes_of(
    config: RunConfig,
    samples: Mapping[str, Mapping[Split, Sequence[Sample]]],
    counter: TokenCounter,
) -> tuple[Pass, ...]:
    """Return the work of a run, split by split.

    Args:
        config: the run's.
        samples: all of each skill, by skill and split; the config's limits are applied
            here.
        counter: of prompts' and answers' tokens.
    """
    limits = config.samples.by_split()
    passes = []
    for split, counts in candidate_counts(config).items():
        retained = config.retention if split is Split.TEST else ()
        skills = {
            name: _work(samples[name][split][: limits.get(split)], counter)
            for name in (*config.skills, *retained)
        }
        passes.append(_pass(split, counts, skills))
    return tuple(passes)


def _work(samples: Sequence[Sample], counter: TokenCounter) -> SkillWork:
    return SkillWork(
        len(samples),
        sum(counter.prompt(sample) for sample in samples),
        sum(counter.answer(sample) for sample in samples),
    )


def _pass(
    split: Split, candidates: Mapping[str, int], skills: Mapping[str, SkillWork]
) -> Pass:
    num = sum(candidates.values())
    return Pass(
        split,
        candidates,
        skills,
        num_candidates=num,
        num_samples=num * sum(work.num_samples for work in skills.values()),
        num_prompt_tokens=num * sum(work.num_prompt_tokens for work in skills.values()),
        num_tokens=num * sum(work.num_tokens for work in skills.values()),
    )
