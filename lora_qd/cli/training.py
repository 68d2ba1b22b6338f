"""``loraqd train-experts`` and ``loraqd tiny build``."""

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from lora_qd.errors import InputError
from lora_qd.experts.data import Example
from lora_qd.experts.overlap import describe
from lora_qd.experts.training import Expert, ExpertRecord
from lora_qd.runs.config import load_config
from lora_qd.runs.skills import load_skills
from lora_qd.runs.training import (
    TrainingWatcher,
    load_training,
    overlaps_of,
    score_experts,
    train_experts,
)
from lora_qd.tasks.task import Task

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What the command was told."""

    force: bool
    """Train again what is there."""
    allow_overlap: bool
    """Train on data that contain samples of validation or test."""
    allow: bool
    """The user agrees to what the skills execute or send away."""


def train(config_path: Path, overrides: Sequence[str], options: TrainOptions) -> None:
    """Train the experts of a config, score them, and say what to run next."""
    config = load_config(config_path, overrides)
    skills = load_skills(config, allow=options.allow)
    examples = load_training(config)
    _check_overlap(examples, skills, is_allowed=options.allow_overlap)
    with _TrainingBar() as bar:
        watcher = TrainingWatcher(bar.start, bar.progress, bar.end, bar.say)
        experts = train_experts(config, examples, watcher, force=options.force)
    unscored = [n for n, e in experts.items() if e.record.score_after is None]
    records = {name: expert.record for name, expert in experts.items()}
    if unscored:
        console.print("Scoring base and experts on their own skills ...")
        with tempfile.TemporaryDirectory(prefix="loraqd-") as scratch:
            log = Path(scratch) / "vllm.log"
            records |= asyncio.run(score_experts(config, unscored, log))
    for name, record in records.items():
        console.print(_scores(name, record))
    console.print(f"\nNext: loraqd evolve --config {config_path}", soft_wrap=True)


def _check_overlap(
    examples: Mapping[str, Sequence[Example]],
    skills: Mapping[str, Task],
    *,
    is_allowed: bool,
) -> None:
    """Refuse training data with samples that experts will be measured on."""
    overlaps = overlaps_of(examples, skills)
    if overlaps and not is_allowed:
        raise InputError(describe(overlaps))
    if overlaps:
        console.print(f"Warning: {describe(overlaps)}", soft_wrap=True, markup=False)


def build_tiny(out: Path, *, seed: int) -> None:
    """Train the tiny Llama and write it to a new directory."""
    from lora_qd.experts.tiny_base import build_tiny_base

    if out.exists():
        raise InputError(
            f"expected {out} not to exist, but it does; choose another --out"
        )
    build_tiny_base(out, seed=seed, progress=lambda line: console.print(line))
    console.print(f"Wrote {out}", soft_wrap=True)


def _scores(name: str, record: ExpertRecord) -> str:
    before, after = record.score_before, record.score_after
    if before is None or after is None:
        return f"{name}: not scored"
    return f"{name}: own skill {before:.2f} before, {after:.2f} after (validation)"


class _TrainingBar:
    """One live line per expert in a terminal; one plain line when it is done."""

    def __init__(self) -> None:
        self._bar = RichProgress(
            TextColumn("training {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}  loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", visible=False, loss="")
        self._since = 0.0

    def __enter__(self) -> "_TrainingBar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start(self, name: str) -> None:
        """Say which expert is next."""
        self._since = time.monotonic()
        self._bar.reset(self._task, description=name, loss="", visible=False)

    def progress(self, step: int, total: int, loss: float) -> None:
        """Show a step."""
        self._bar.update(
            self._task, completed=step, total=total, loss=f"{loss:.3f}", visible=True
        )

    def say(self, sentence: str) -> None:
        """Print a sentence beside the line."""
        console.print(sentence, soft_wrap=True, markup=False)

    def end(self, name: str, expert: Expert) -> None:
        """Say what became of the expert."""
        if not expert.was_trained:
            line = (
                f"{name}: already trained with this config, kept ({expert.directory})"
            )
        else:
            r = expert.record
            line = (
                f"{name}: trained on {r.num_examples} examples in {r.seconds:.0f} s, "
                f"loss {r.loss_before:.2f} -> {r.loss_after:.2f} ({expert.directory})"
            )
        console.print(line, soft_wrap=True)
