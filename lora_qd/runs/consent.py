"""What the skills of a config would execute or send away, and the user's consent."""

from collections.abc import Iterator

from lora_qd.errors import InputError
from lora_qd.runs.measure_config import MeasureConfig
from lora_qd.tasks.own import DataSkill, InspectSkill, LmEvalSkill
from lora_qd.tasks.own.scorers import Function, Judge


def needs_consent(config: MeasureConfig) -> list[str]:
    """Return what the skills of ``config`` would do outside the sandbox, one line each.

    What an installed package does by itself is not listed.
    """
    return [
        f"{name} {deed}"
        for name in config.all_skills
        for deed in _deeds(config.own_skill(name))
    ]


def require_consent(config: MeasureConfig, *, is_given: bool) -> None:
    """Refuse a config that would execute code or send data, unless the user agrees.

    Raises:
        InputError: ``is_given`` is false and there is something to agree to.
    """
    deeds = needs_consent(config)
    if deeds and not is_given:
        raise InputError(
            f"expected your consent, because {'; '.join(deeds)}; look at it, then "
            "repeat with --allow"
        )


def _deeds(skill: DataSkill | LmEvalSkill | InspectSkill | None) -> Iterator[str]:
    if isinstance(skill, DataSkill):
        if isinstance(skill.scorer, Function):
            place = f" of {skill.directory}" if skill.directory else ""
            yield f"runs the Python of {skill.scorer.function}{place}"
        if isinstance(skill.scorer, Judge):
            yield f"sends questions and answers to {skill.scorer.url}"
    if isinstance(skill, LmEvalSkill) and skill.lm_eval.include:
        yield f"may run Python that tasks in {skill.lm_eval.include} name"
    if isinstance(skill, InspectSkill) and skill.inspect.runs_python:
        yield f"runs the Python of {skill.inspect.task}"
