"""``loraqd evaluate``."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lora_qd.errors import InputError
from lora_qd.records import Split
from lora_qd.runs.config import load_config, measure_config
from lora_qd.runs.measure_config import MeasureConfig
from lora_qd.runs.score_table import (
    ScoreTable,
    cells,
    difference_cells,
    table_json,
    table_markdown,
)
from lora_qd.runs.scoring import Extent, Scoring, ScoringWatcher, score_subjects
from lora_qd.runs.skills import load_skills
from lora_qd.runs.subjects import load_subjects
from lora_qd.store.base import context_of
from lora_qd.store.files import write_bytes
from lora_qd.store.score_journal import ScoreJournal

_WIDTH = 140
_DEFAULT_CONTEXT = 2048
"""Tokens, as in EngineConfig."""


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What the command was told besides whom to evaluate."""

    config: Path | None
    base: str | None
    skills: tuple[str, ...]
    retention: tuple[str, ...]
    split: str
    out: Path
    overrides: tuple[str, ...]
    keys: tuple[str, ...]
    """``VARIABLE`` or ``HOST=VARIABLE``."""
    allow: bool
    as_json: bool


def evaluate(names: Sequence[str], options: EvaluateOptions) -> None:
    """Score, write and print one table."""
    config = measured(options)
    extent = _extent(options.split)
    load_skills(config, allow=options.allow, splits=_splits(extent))
    subjects = load_subjects(names, config, _keys(options.keys))
    # Without a terminal rich takes 80 columns, too narrow for the table.
    width = None if sys.stdout.isatty() else _WIDTH
    console = Console(highlight=False, stderr=options.as_json, width=width)
    out = options.out
    with ScoreJournal(out / "samples.jsonl") as journal, _Bar(console) as bar:
        watcher = ScoringWatcher(stage=bar.stage, progress=bar.progress)
        log = out / "vllm.log"
        scoring = Scoring(config, subjects, extent, journal, log, watcher)
        try:
            table = asyncio.run(score_subjects(scoring))
        except (KeyboardInterrupt, asyncio.CancelledError):
            bar.stage(
                f"Stopped. What was scored is in {out}; the same command goes on."
            )
            raise SystemExit(130) from None
    write_bytes(out / "results.json", table_json(table).encode() + b"\n")
    write_bytes(out / "results.md", table_markdown(table).encode())
    if options.as_json:
        print(table_json(table))
        return
    _show(console, table)
    console.print(f"\nTable:   {out / 'results.md'}", soft_wrap=True)
    console.print(f"Samples: {out / 'samples.jsonl'}", soft_wrap=True)


def measured(options: EvaluateOptions) -> MeasureConfig:
    """Return what to measure: an experiment's file, the options, or both.

    Raises:
        InputError: neither names skills, or a value does not fit.
    """
    if options.config is not None:
        config: MeasureConfig = load_config(options.config, options.overrides)
        changed = _raw(options)
        if not changed:
            return config
        # Skills of the file that are not asked for are still known by name.
        kept = config.model_dump(mode="json", include={*MeasureConfig.model_fields})
        own = {**kept["own_skills"], **changed.pop("own_skills", {})}
        if options.skills and not options.retention:
            kept["retention"] = []
        return measure_config({**kept, **changed, "own_skills": own}, ())
    if not options.skills:
        raise InputError(
            "expected skills, but none are named; add --skills, or --config with an "
            "experiment's file"
        )
    raw = _raw(options)
    context = context_of(options.base) if options.base else None
    if context is not None and context < _DEFAULT_CONTEXT:
        raw["engine"] = {"max_model_len": context}
    return measure_config(raw, options.overrides)


def _raw(options: EvaluateOptions) -> dict[str, Any]:
    """Return what the options say, as a config has it."""
    raw: dict[str, Any] = {"base": options.base} if options.base else {}
    own: dict[str, str] = {}
    for key, named in (("skills", options.skills), ("retention", options.retention)):
        if named:
            raw[key] = [_skill_name(skill, own) for skill in named]
    return raw | ({"own_skills": own} if own else {})


def _skill_name(skill: str, own: dict[str, str]) -> str:
    """Return a skill's name; that of a file is noted in ``own`` with its path."""
    if not skill.endswith((".yaml", ".yml")):
        return skill
    name = Path(skill).stem
    if own.setdefault(name, skill) != skill:
        raise InputError(
            f"expected skill files of different names, but {own[name]} and {skill} "
            f"are both called {name!r}; rename one"
        )
    return name


def _extent(split: str) -> Extent:
    known: tuple[Extent, ...] = get_args(Extent)
    for extent in known:
        if extent == split:
            return extent
    raise InputError(f"expected --split out of {', '.join(known)}, but got {split!r}")


def _splits(extent: Extent) -> tuple[Split, ...]:
    return () if extent == "all" else (Split(extent),)


def _keys(given: Sequence[str]) -> Mapping[str, str]:
    """Return the variables of keys by host; the empty host is for all others."""
    keys: dict[str, str] = {}
    for each in given:
        host, _, variable = each.rpartition("=")
        if not variable.isidentifier():
            raise InputError(
                "expected --api-key-env with the name of an environment variable, or "
                f"HOST=NAME, but got {len(each)} characters that are neither; keys "
                "themselves are never written on a command line"
            )
        keys[host] = variable
    return keys


def _show(console: Console, table: ScoreTable) -> None:
    samples = {table.num_samples[s] for s in (*table.skills, *table.retention)}
    sizes = (
        f"{min(samples)} to {max(samples)}" if len(samples) > 1 else f"{min(samples)}"
    )
    title = f"Split {table.split}, {sizes} samples a skill, 95 % intervals"
    scores = _table(title, table)
    best = max(row.mean.mean for row in table.rows)
    for row in table.rows:
        style = "green" if row.mean.mean == best and len(table.rows) > 1 else None
        scores.add_row(*cells(row, table), style=style)
    console.print(scores)
    if len(table.rows) > 1:
        title = f"Paired difference from {table.rows[0].name}"
        differences = _table(title, table)
        for row in table.rows[1:]:
            differences.add_row(*difference_cells(row, table))
        console.print(differences)
    for note in table.notes:
        console.print(f"Note: {note}", soft_wrap=True, markup=False)


def _table(title: str, table: ScoreTable) -> Table:
    shown = Table(title=title)
    shown.add_column("", overflow="fold")
    for skill in table.skills:
        shown.add_column(skill, justify="right")
    shown.add_column("mean", justify="right", style="bold")
    for skill in table.retention:
        shown.add_column(skill, justify="right", style="dim")
    return shown


class _Bar:
    """A live line of samples in a terminal; plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} samples"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", visible=False, total=None)

    def __enter__(self) -> "_Bar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def stage(self, sentence: str) -> None:
        """Say what begins."""
        self._console.print(f"{sentence} ...", soft_wrap=True, markup=False)

    def progress(self, num_done: int, num_all: int) -> None:
        """Show how far it is."""
        self._bar.update(self._task, completed=num_done, total=num_all, visible=True)
