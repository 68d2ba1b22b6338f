"""``loraqd skills check``."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from lora_qd.errors import InputError
from lora_qd.runs.config import load_config
from lora_qd.runs.skill_check import SkillCheck, check_skills

_MOST_SHOWN = 20


def check(config_path: Path, overrides: Sequence[str], *, as_json: bool) -> None:
    """Print what became of every skill; exit with 1 unless all are sound."""
    config = load_config(config_path, overrides)
    if not {*config.skills, *config.retention} & {*config.benchmarks.known}:
        raise InputError(
            f"expected a published benchmark among the skills of {config_path}, but "
            f"they are {', '.join(config.skills)}, which need no check; name one of "
            f"{', '.join(config.benchmarks.known)}"
        )
    checks = asyncio.run(check_skills(config))
    if as_json:
        lines = [asdict(each) | {"is_sound": each.is_sound} for each in checks]
        print(json.dumps(lines, indent=2))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for each in checks:
            _show(console, each)
    if not all(each.is_sound for each in checks):
        raise SystemExit(1)


def _show(console: Console, check: SkillCheck) -> None:
    splits = ", ".join(f"{num} {split}" for split, num in check.num_by_split.items())
    console.print(f"{check.skill}: {check.num_samples} samples ({splits})")
    console.print(f"  sha256 {check.sha256}")
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
    verdict = "sound" if check.is_sound else "NOT sound: do not search on it"
    console.print(f"  {verdict}\n")


def _show_reasons(console: Console, reasons: Mapping[str, str]) -> None:
    for place, reason in list(reasons.items())[:_MOST_SHOWN]:
        console.print(f"    {place}: {reason}", markup=False)
    if len(reasons) > _MOST_SHOWN:
        console.print(f"    and {len(reasons) - _MOST_SHOWN} more (--json has all)")
