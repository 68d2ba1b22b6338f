"""Whether two runs are the same: children, recipes, outcomes, archives."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

from lora_qd.errors import InputError
from lora_qd.records import Split
from lora_qd.runs.config import RunConfig
from lora_qd.runs.continuing import require_same
from lora_qd.runs.experts import ExpertAdapter, load_experts
from lora_qd.runs.machine import versions
from lora_qd.runs.manifest import manifest
from lora_qd.runs.run import Run, Status
from lora_qd.store.audit import Outcome, outcomes_of
from lora_qd.store.ledger import ChildRow, Ledger

NUM_SHOWN = 10
"""Differences that are spelled out."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two runs have in common."""

    num_children: int
    """Compared, the seeds among them."""
    num_outcomes: int
    """Compared, one per sample."""
    num_elites: int
    """Compared, over all archives."""
    num_differences: int
    differences: tuple[str, ...]
    """The first of them, one line each."""


def require_reproducible(run: Run) -> dict[str, ExpertAdapter]:
    """Return the experts of a finished run, if all that it began with is still here.

    Raises:
        InputError: the run is unfinished, or base or experts are not its own.
    """
    if run.status is not Status.FINISHED:
        raise InputError(
            f"expected a finished run in {run.directory.path}, but it is "
            f"{run.status.value}; finish it: loraqd resume {run.directory.path}"
        )
    recorded = _manifest_of(run)
    experts = load_experts(run.config)
    current = manifest(run.config, experts)
    for kind in ("base", "experts"):
        require_same(kind, recorded[kind], current[kind])
    return experts


def repeated(config: RunConfig, out: Path) -> RunConfig:
    """Return the config that repeats a run in ``out``, and reports to nobody."""
    return config.model_copy(update={"run": out, "report_to": ()})


def other_versions(run: Run) -> list[str]:
    """Return the packages that are not what the run was made with, one line each."""
    recorded: Mapping[str, str] = _manifest_of(run).get("versions", {})
    now = versions()
    return [
        f"{name} {now.get(name, 'missing')} instead of {recorded.get(name, 'missing')}"
        for name in sorted({*recorded, *now})
        if recorded.get(name) != now.get(name)
    ]


def compare(first: Run, second: Run) -> Comparison:
    """Compare a run with its repetition.

    A run that was extended has finals of its own for each length; only those that the
    repetition has too are compared.
    """
    outcomes = _outcome_differences(first, second)
    differences = [
        *_manifest_differences(first, second),
        *_child_differences(first, second),
        *outcomes,
        *_archive_differences(first, second),
    ]
    return Comparison(
        num_children=len(second.children),
        num_outcomes=sum(1 for _ in outcomes_of(second.directory.ledger)),
        num_elites=sum(len(archive) for archive in second.archives.values()),
        num_differences=len(differences),
        differences=tuple(islice(differences, NUM_SHOWN)),
    )


def _manifest_differences(first: Run, second: Run) -> Iterator[str]:
    before, now = (_manifest_of(run) for run in (first, second))
    for key in ("base", "experts", "splits", "space"):
        if before.get(key) != now.get(key):
            yield f"manifest: another {key}"


def _child_differences(first: Run, second: Run) -> Iterator[str]:
    if len(first.children) != len(second.children):
        yield f"{len(second.children)} children instead of {len(first.children)}"
    for before, now in zip(first.children, second.children, strict=False):
        yield from _field_differences(before, now)


def _field_differences(before: ChildRow, now: ChildRow) -> Iterator[str]:
    for field in fields(ChildRow):
        old, new = getattr(before, field.name), getattr(now, field.name)
        if old != new:
            yield f"child {before.index}: {field.name} {_short(new, old)}"


def _short(new: object, old: object) -> str:
    """Return two values, or of two mappings what differs."""
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        keys = [k for k in {**old, **new} if old.get(k) != new.get(k)]
        return "; ".join(f"{k}: {new.get(k)} instead of {old.get(k)}" for k in keys)
    return f"{new} instead of {old}"


def _outcome_differences(first: Run, second: Run) -> Iterator[str]:
    before = {o.question: o for o in outcomes_of(first.directory.ledger)}
    for now in outcomes_of(second.directory.ledger):
        old = before.pop(now.question, None)
        if old is None or (old.value, old.answer) != (now.value, now.answer):
            yield _outcome_line(old, now)
    for question in before:
        if question[1] is Split.SEARCH:
            yield f"{_name(question)}: not asked again"


def _outcome_line(old: Outcome | None, now: Outcome) -> str:
    name = _name(now.question)
    if old is None:
        return f"{name}: not asked before"
    if old.value != now.value:
        return f"{name}: {now.value:g} instead of {old.value:g}"
    return f"{name}: another answer with the same score"


def _name(question: tuple[str, Split, str, str]) -> str:
    member, split, task, sample = question
    return f"{member} on {split.value} {task}/{sample}"


def _archive_differences(first: Run, second: Run) -> Iterator[str]:
    for skill, archive in second.archives.items():
        old = first.archives.get(skill)
        before = {} if old is None else {e.index: e.id for e in old.elites}
        now = {elite.index: elite.id for elite in archive.elites}
        for index in sorted({*before, *now}):
            if before.get(index) != now.get(index):
                yield (
                    f"archive {skill}, cell {list(index)}: {now.get(index, 'nobody')} "
                    f"instead of {before.get(index, 'nobody')}"
                )


def _manifest_of(run: Run) -> dict[str, Any]:
    with Ledger(run.directory.ledger) as ledger:
        return ledger.manifest()
