"""All experts of a config: trained where needed, then scored on their own skills."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lora_qd.errors import InputError
from lora_qd.experts.data import Example, load_examples
from lora_qd.experts.overlap import Overlap, find_overlaps
from lora_qd.experts.training import Expert, ExpertRecord, add_scores, train_expert
from lora_qd.records import Split
from lora_qd.runs.config import RunConfig
from lora_qd.runs.experts import load_experts, span_of
from lora_qd.runs.session import open_session
from lora_qd.runs.skills import trainable_skills
from lora_qd.runs.trackers import TrackedTraining, require_trackers, track_training
from lora_qd.search.breeding import expert_member
from lora_qd.tasks.task import Task

_MEASURED = (Split.VALIDATION, Split.TEST)
"""What an expert must not have seen."""


@dataclass(frozen=True, slots=True)
class TrainingWatcher:
    """What a front end wants to hear of training."""

    start: Callable[[str], None]
    """Called with the expert's name before it is trained."""
    progress: Callable[[int, int, float], None]
    """Called with the step, the number of steps and the loss."""
    end: Callable[[str, Expert], None]
    """Called with the expert's name when it is on disk."""
    say: Callable[[str], None]
    """Called with a sentence that a person should read."""


def load_training(config: RunConfig) -> dict[str, list[Example]]:
    """Return the training examples of every expert, by its name.

    Raises:
        InputError: the config has no experts, or their data cannot be used.
    """
    if not config.trained_experts:
        raise InputError(
            "expected experts with data in the config, but it has none; add some, or "
            "go on with loraqd evolve if all experts are there already"
        )
    skills = trainable_skills(config)
    return {
        expert.name: load_examples(
            expert.data,
            num=expert.num_examples,
            seed=expert.training(config.training).seed,
            skills=skills,
        )
        for expert in config.trained_experts
    }


def overlaps_of(
    examples: Mapping[str, Sequence[Example]], skills: Mapping[str, Task]
) -> list[Overlap]:
    """Return which samples of validation and test the examples contain."""
    measured = {
        name: [s for split in _MEASURED for s in task.samples(split)]
        for name, task in skills.items()
    }
    return find_overlaps([e for own in examples.values() for e in own], measured)


def train_experts(
    config: RunConfig,
    examples: Mapping[str, Sequence[Example]],
    watcher: TrainingWatcher,
    *,
    force: bool = False,
) -> dict[str, Expert]:
    """Train every expert of ``config`` that is not there yet; return all, by skill.

    Args:
        config: names the experts.
        examples: of each expert, by its name.
        watcher: told how it goes.
        force: whether experts that are there are trained again.

    Raises:
        InputError: the examples cannot be used.
        TrainingError: training broke down.
        MissingExtraError: a tracker, or what trains, is not installed.
    """
    require_trackers(config)
    trained = {}
    for expert in config.trained_experts:
        watcher.start(expert.name)
        with track_training(config, expert.name, watcher.say) as tracked:
            trained[expert.name] = train_expert(
                expert.training(config.training),
                examples[expert.name],
                base=config.base,
                directory=config.experts_dir / expert.name,
                force=force,
                progress=partial(_report, watcher, tracked),
            )
            tracked.end(trained[expert.name])
        watcher.end(expert.name, trained[expert.name])
    return trained


def _report(
    watcher: TrainingWatcher,
    tracked: TrackedTraining,
    step: int,
    num_steps: int,
    loss: float,
) -> None:
    tracked.step(step, loss)
    watcher.progress(step, num_steps, loss)


async def score_experts(
    config: RunConfig, names: list[str], log: Path
) -> Mapping[str, ExpertRecord]:
    """Score base and experts on each expert's own validation split; record it.

    Args:
        config: all its skills must have an expert on disk.
        names: the skills whose experts are scored.
        log: where vLLM's output goes.
    """
    records = {}
    async with open_session(config, span_of(load_experts(config)), log) as session:
        base = await session.evaluator.evaluate(None, Split.VALIDATION, names)
        for name in names:
            member = expert_member(name, session.experts[name])
            own = await session.evaluator.evaluate(member, Split.VALIDATION, [name])
            records[name] = add_scores(
                config.experts_dir / name,
                before=base.scores[name],
                after=own.scores[name],
            )
    return records
