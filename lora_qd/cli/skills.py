"""``loraqd skills check``."""

import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from lora_qd.cli.evaluating import EvaluateOptions, measured
from lora_qd.errors import InputError
from lora_qd.records import Message
from lora_qd.runs.base_check import BaseCheck, check_base
from lora_qd.runs.config import load_config
from lora_qd.runs.measure_config import MeasureConfig
from lora_qd.runs.scoring import ScoringWatcher
from lora_qd.runs.skill_check import SkillCheck, check_skills
from lora_qd.runs.skills import built_in_skills, load_skills

_MOST_SHOWN = 20
_MOST_OF_A_TEXT = 600


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What the command was told."""

    files: tuple[str, ...]
    """Skill files and bridged tasks; overrides where ``config`` is given."""
    config: Path | None
    base: str | None
    overrides: tuple[str, ...]
    allow: bool
    as_json: bool


def check(options: CheckOptions) -> None:
    """Print what became of every skill; exit with 1 unless all are sound."""
    config = _config(options)
    load_skills(config, allow=options.allow, splits=())
    checks = asyncio.run(check_skills(config))
    console = Console(highlight=False, soft_wrap=True, stderr=options.as_json)
    by_skill: dict[str, BaseCheck] = {}
    if options.base:
        watcher = ScoringWatcher(
            stage=lambda sentence: console.print(f"{sentence} ...", markup=False),
            progress=lambda *_: None,
        )
        with tempfile.TemporaryDirectory(prefix="loraqd-") as scratch:
            found = asyncio.run(check_base(config, Path(scratch), watcher))
        by_skill = {each.skill: each for each in found}
    if options.as_json:
        print(json.dumps([_plain(c, by_skill.get(c.skill)) for c in checks], indent=2))
    else:
        for each in checks:
            _show(console, each, by_skill.get(each.skill))
    if not all(each.is_sound for each in checks):
        raise SystemExit(1)


def _config(options: CheckOptions) -> MeasureConfig:
    if options.config is not None:
        config: MeasureConfig = load_config(
            options.config, (*options.files, *options.overrides)
        )
        checked = [name for name in config.all_skills if name not in built_in_skills()]
        if not checked:
            raise InputError(
                f"expected a skill that is not generated in {options.config}, but "
                f"they are {', '.join(config.skills)}, which need no check; name a "
                "published benchmark or one of your own"
            )
        keep = {"skills": tuple(checked), "retention": ()}
        return config.model_copy(update=keep | _base(options))
    if not options.files:
        raise InputError(
            "expected a skill's YAML file, or --config with an experiment's, but got "
            "neither; docs/skills.md shows both"
        )
    return measured(
        EvaluateOptions(
            config=None,
            base=options.base,
            skills=options.files,
            retention=(),
            split="search",
            out=Path(),
            overrides=options.overrides,
            keys=(),
            allow=options.allow,
            as_json=options.as_json,
        )
    )


def _base(options: CheckOptions) -> dict[str, str]:
    return {"base": options.base} if options.base else {}


def _plain(check: SkillCheck, base: BaseCheck | None) -> dict[str, object]:
    found = asdict(check) | {"is_sound": check.is_sound, "warnings": check.warnings}
    if base is not None:
        found["base"] = asdict(base) | {"warnings": base.warnings}
    return found


def _show(console: Console, check: SkillCheck, base: BaseCheck | None) -> None:
    splits = ", ".join(f"{num} {split}" for split, num in check.num_by_split.items())
    console.print(f"{check.skill}: {check.num_samples} samples ({splits})")
    console.print(f"  sha256 {check.sha256}")
    for number, prompt in enumerate(check.prompts, start=1):
        _show_prompt(console, number, prompt)
    num_gold = check.num_samples - len(check.no_gold)
    num_right = num_gold - len(check.gold_failures)
    console.print(f"  gold answers score 1 on {num_right} of {num_gold}")
    _show_reasons(console, check.gold_failures)
    num_empty = check.num_samples - len(check.empty_passes)
    console.print(f"  empty answers score 0 on {num_empty} of {check.num_samples}")
    _show_reasons(console, dict.fromkeys(check.empty_passes, "scores above 0"))
    if check.left_out:
        console.print(f"  left out: {len(check.left_out)}")
        _show_reasons(console, check.left_out)
    if base is not None:
        _show_base(console, base)
    for warning in (*check.warnings, *(base.warnings if base else ())):
        console.print(f"  warning: {warning}", markup=False)
    verdict = "sound" if check.is_sound else "NOT sound: do not search on it"
    console.print(f"  {verdict}\n")


def _show_prompt(console: Console, number: int, turns: Sequence[Message]) -> None:
    console.print(f"  prompt {number}")
    for turn in turns:
        text = turn.content
        if len(text) > _MOST_OF_A_TEXT:
            half = _MOST_OF_A_TEXT // 2
            text = f"{text[:half]} [...] {text[-half:]}"
        indented = text.replace("\n", "\n      ")
        console.print(f"    {turn.role}: {indented}", markup=False)


def _show_base(console: Console, base: BaseCheck) -> None:
    console.print(f"  the base scores {base.score} on {base.num_samples} samples")
    for entry in base.answers:
        said = " ".join(entry.answer.split())[:80] or "(nothing)"
        wanted = " ".join(entry.target.split())[:80]
        line = f"    {entry.value:g}: {said}"
        if entry.value < 1:
            line += f"  (gold: {wanted}; {entry.reason})"
        console.print(line, markup=False)


def _show_reasons(console: Console, reasons: Mapping[str, str]) -> None:
    for place, reason in list(reasons.items())[:_MOST_SHOWN]:
        console.print(f"    {place}: {reason}", markup=False)
    if len(reasons) > _MOST_SHOWN:
        console.print(f"    and {len(reasons) - _MOST_SHOWN} more (--json has all)")
