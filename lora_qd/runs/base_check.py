"""What the bare base makes of a skill, and what that says about the skill."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_qd.evaluation import Interval
from lora_qd.runs.measure_config import MeasureConfig
from lora_qd.runs.scoring import Scoring, ScoringWatcher, score_subjects
from lora_qd.runs.subjects import load_subjects
from lora_qd.store.score_journal import Entry, ScoreJournal

_MOST_SAMPLES = 50
_NUM_ANSWERS = 3
_CUT = "(cut at "
"""Marks the reason of an answer that reached its most tokens."""


@dataclass(frozen=True, slots=True)
class BaseCheck:
    """The base's scores on samples of one skill's search split."""

    skill: str
    score: Interval
    num_samples: int
    num_cut: int
    """Wrong answers that were cut at their most tokens."""
    answers: Sequence[Entry]
    """The first of them, wrong ones before right ones."""

    @property
    def warnings(self) -> list[str]:
        """What the scores say against the skill, one line each."""
        lines = []
        if self.score.mean >= 0.95:
            lines.append("the base is right nearly always: there is little to learn")
        if self.score.mean == 0:
            lines.append(
                "the base is never right: look at its answers, the prompt may not say "
                "what form is wanted"
            )
        if self.num_cut > 0.2 * self.num_samples:
            lines.append(
                f"{self.num_cut} of {self.num_samples} answers were cut: raise "
                "max_tokens, or name a stop text"
            )
        return lines


async def check_base(
    config: MeasureConfig, scratch: Path, watcher: ScoringWatcher
) -> list[BaseCheck]:
    """Score the base on up to 50 samples of each skill's search split.

    Args:
        config: names base and skills.
        scratch: a directory for what is written meanwhile.
        watcher: told how it goes.

    Raises:
        EngineError: vLLM does not come up, or fails.
    """
    samples = config.samples.model_copy(update={"search": _MOST_SAMPLES})
    config = config.model_copy(update={"samples": samples})
    path = scratch / "samples.jsonl"
    with ScoreJournal(path) as journal:
        scoring = Scoring(
            config=config,
            subjects=load_subjects(["base"], config, {}),
            extent="search",
            journal=journal,
            log=scratch / "vllm.log",
            watcher=watcher,
        )
        table = await score_subjects(scoring)
    entries = [Entry(**json.loads(line)) for line in path.read_text().splitlines()]
    [row] = table.rows
    return [_check(skill, row.by_skill[skill], entries) for skill in row.by_skill]


def _check(skill: str, score: Interval, entries: Sequence[Entry]) -> BaseCheck:
    own = [entry for entry in entries if entry.skill == skill]
    return BaseCheck(
        skill=skill,
        score=score,
        num_samples=len(own),
        num_cut=sum(_CUT in entry.reason for entry in own),
        answers=sorted(own, key=lambda entry: entry.value)[:_NUM_ANSWERS],
    )
