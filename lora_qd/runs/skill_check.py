"""Whether a skill measures what it should: its gold answers, replayed, score 1."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_qd.errors import SandboxError
from lora_qd.evaluation import task_group
from lora_qd.records import Message, Sample, Split
from lora_qd.runs.measure_config import MeasureConfig
from lora_qd.runs.skills import SPLITS, open_skills, published
from lora_qd.tasks.published import NothingToSayError, PublishedTask, Turn, replay

_MOST_AT_ONCE = 16
_NUM_PROMPTS = 3
_FEW_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class SkillCheck:
    """What became of one skill's samples."""

    skill: str
    sha256: str
    """Of the source."""
    num_by_split: Mapping[Split, int]
    num_samples: int
    """That can be scored here, of all splits and of none."""
    left_out: Mapping[str, str]
    """Why a sample cannot be scored here, by its place in the source."""
    gold_failures: Mapping[str, str]
    """Why a gold answer did not score 1, by sample id."""
    no_gold: Sequence[str]
    """Ids of samples to which the benchmark has no answer of its own."""
    empty_passes: Sequence[str]
    """Ids of samples that an empty answer does not score 0 on."""
    prompts: Sequence[Sequence[Message]]
    """What a candidate is asked, of the first samples."""

    @property
    def is_sound(self) -> bool:
        """Whether at most 5 % of the gold answers fail and no empty answer passes."""
        most = 0.05 * (self.num_samples - len(self.no_gold))
        return len(self.gold_failures) <= most and not self.empty_passes

    @property
    def warnings(self) -> list[str]:
        """What makes scores of this skill weak, one line each."""
        few = [
            f"{num} {split}"
            for split, num in self.num_by_split.items()
            if num < _FEW_SAMPLES
        ]
        if not few:
            return []
        return [
            f"few samples: {', '.join(few)}; a score of {_FEW_SAMPLES} has an interval "
            "of +-0.2, so add rows or change the shares"
        ]


async def check_skills(config: MeasureConfig) -> list[SkillCheck]:
    """Replay gold and empty answers to every sample that is not generated.

    Raises:
        InputError: the source of a skill is wrong.
        SandboxError: there is no working sandbox.
    """
    async with open_skills(config) as tasks:
        return [await _check(task) for task in published(tasks).values()]


async def _check(task: PublishedTask) -> SkillCheck:
    places = asyncio.Semaphore(_MOST_AT_ONCE)
    gold = {sample.id: task.gold(sample) for sample in task.all_samples}

    async def play(sample: Sample, turns: Sequence[Turn]) -> tuple[float, str]:
        async with places:
            try:
                score = await replay(task, sample, turns)
            except SandboxError as error:  # one sample's fault: the others go on
                return math.nan, str(error)
            except NothingToSayError:  # it is to choose, and has no preference
                return math.nan, ""
            return score.value, score.reason

    async with task_group() as group:
        played = {
            sample.id: [
                group.create_task(play(sample, turns))
                for turns in (gold[sample.id], ())
            ]
            for sample in task.all_samples
        }
    results = {name: [job.result() for job in jobs] for name, jobs in played.items()}
    return SkillCheck(
        skill=task.name,
        sha256=task.sha256,
        num_by_split={split: len(task.samples(split)) for split in SPLITS},
        num_samples=len(results),
        left_out=task.left_out,
        gold_failures={
            name: reason
            for name, ((value, reason), _) in results.items()
            if gold[name] and value != 1
        },
        no_gold=[name for name in results if not gold[name]],
        empty_passes=[name for name, (_, (value, _)) in results.items() if value > 0],
        prompts=[task.opening(s) for s in task.all_samples[:_NUM_PROMPTS]],
    )
