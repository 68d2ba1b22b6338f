"""All experts of a config: trained where needed, then scored on their own skills."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_qd.errors import InputError
from lora_qd.experts.config import ExpertConfig
from lora_qd.experts.data import load_examples
from lora_qd.experts.training import Expert, ExpertRecord, add_scores, train_expert
from lora_qd.records import Split
from lora_qd.runs.config import RunConfig
from lora_qd.runs.experts import load_experts, span_of
from lora_qd.runs.session import open_session
from lora_qd.runs.skills import built_in_skills
from lora_qd.search.breeding import expert_member


@dataclass(frozen=True, slots=True)
class TrainingWatcher:
    """What a front end wants to hear of training."""

    start: Callable[[str], None]
    """Called with the expert's name before its data are loaded."""
    progress: Callable[[int, int, float], None]
    """Called with the step, the number of steps and the loss."""
    end: Callable[[str, Expert], None]
    """Called with the expert's name when it is on disk."""


def train_experts(
    config: RunConfig, watcher: TrainingWatcher, *, force: bool = False
) -> dict[str, Expert]:
    """Train every expert of ``config`` that is not there yet; return all, by skill.

    Raises:
        InputError: the config has no experts, or their data cannot be used.
        TrainingError: training broke down.
    """
    if not config.experts:
        raise InputError(
            "expected experts in the config, but it names none; add experts with data, "
            "or put trained adapters into experts_dir"
        )
    trained = {}
    for expert in config.experts:
        watcher.start(expert.name)
        trained[expert.name] = _train(config, expert, watcher, force=force)
        watcher.end(expert.name, trained[expert.name])
    return trained


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


def _train(
    config: RunConfig, expert: ExpertConfig, watcher: TrainingWatcher, *, force: bool
) -> Expert:
    training = expert.training(config.training)
    examples = load_examples(
        expert.data,
        num=expert.num_examples,
        seed=training.seed,
        skills=built_in_skills(),
    )
    return train_expert(
        training,
        examples,
        base=config.base,
        directory=config.experts_dir / expert.name,
        force=force,
        progress=watcher.progress,
    )
