"""What a comparison came to: means with intervals, and differences from the first."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lora_qd.evaluation import (
    Difference,
    Interval,
    mean_interval,
    paired_difference,
    paired_mean,
    wilson_interval,
)

Values = Mapping[str, Mapping[str, float]]
"""Scores by skill, then by sample id."""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One row of the table."""

    name: str
    by_skill: Mapping[str, Interval]
    mean: Interval
    """Of the plain mean over the skills, retention left out."""
    differences: Mapping[str, Difference]
    """From the first row by skill, on the same samples; empty for the first row."""
    mean_difference: Difference | None
    """Of the mean; None for the first row."""
    retained: Mapping[str, float]
    """Score by retention skill as a ratio to the base's; empty without a base."""


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """A whole comparison."""

    skills: tuple[str, ...]
    retention: tuple[str, ...]
    split: str
    num_samples: Mapping[str, int]
    """By skill."""
    rows: tuple[ScoreRow, ...]
    notes: tuple[str, ...]
    """What a reader should know."""


def score_rows(
    values: Mapping[str, Values],
    skills: Sequence[str],
    retention: Sequence[str],
    *,
    base: str,
) -> tuple[ScoreRow, ...]:
    """Return a row for each subject, the first compared with all others.

    Args:
        values: scores by subject; all have the same samples.
        skills: what the mean is of.
        retention: further skills, compared with the base.
        base: the name of the bare base's row, where there is one.
    """
    first = next(iter(values))
    return tuple(
        _row(
            name,
            own,
            values[first] if name != first else None,
            values.get(base),
            (skills, retention),
        )
        for name, own in values.items()
    )


def _row(
    name: str,
    values: Values,
    first: Values | None,
    base: Values | None,
    columns: tuple[Sequence[str], Sequence[str]],
) -> ScoreRow:
    skills, retention = columns
    lists = {skill: list(scores.values()) for skill, scores in values.items()}
    differences = {}
    if first is not None:
        for skill, scores in values.items():
            before = [first[skill][sample] for sample in scores]
            differences[skill] = paired_difference(before, lists[skill])
    optimised = [differences[skill] for skill in skills] if differences else []
    return ScoreRow(
        name=name,
        by_skill={skill: wilson_interval(scores) for skill, scores in lists.items()},
        mean=mean_interval([lists[skill] for skill in skills]),
        differences=differences,
        mean_difference=paired_mean(optimised) if optimised else None,
        retained=_retained(lists, base, retention),
    )


def _retained(
    values: Mapping[str, Sequence[float]],
    base: Values | None,
    retention: Sequence[str],
) -> dict[str, float]:
    """Return score over the base's score; nothing where the base has 0."""
    if base is None:
        return {}
    sums = {skill: sum(base[skill].values()) for skill in retention}
    return {skill: sum(values[skill]) / total for skill, total in sums.items() if total}


def table_json(table: ScoreTable) -> str:
    """Return the table for other programs."""
    return json.dumps(_plain(asdict(table)), indent=2)


def table_markdown(table: ScoreTable) -> str:
    """Return the table, the differences and the notes as Markdown."""
    columns = [*table.skills, *table.retention]
    heads = ["", *table.skills, "**mean**", *table.retention]
    lines = [_line(heads), _line(["---"] * len(heads))]
    lines += [_line(cells(row, table)) for row in table.rows]
    if len(table.rows) > 1:
        lines += ["", f"Paired difference from {table.rows[0].name}:", ""]
        lines += [_line(heads), _line(["---"] * len(heads))]
        lines += [_line(difference_cells(row, table)) for row in table.rows[1:]]
    samples = ", ".join(f"{table.num_samples[skill]} {skill}" for skill in columns)
    lines += ["", f"Split {table.split}, 95 % intervals. Samples: {samples}.", ""]
    if any(row.retained for row in table.rows):
        names = ", ".join(table.retention)
        lines += [f"{names}: in parentheses the share of the base's score.", ""]
    lines += [f"- {note}" for note in table.notes]
    return "\n".join(lines).rstrip() + "\n"


def cells(row: ScoreRow, table: ScoreTable) -> list[str]:
    """Return the cells of a row: name, skills, mean, retention with its ratio."""
    kept = [
        f"{row.by_skill[skill]} ({row.retained[skill]:.0%})"
        if skill in row.retained
        else str(row.by_skill[skill])
        for skill in table.retention
    ]
    own = [str(row.by_skill[skill]) for skill in table.skills]
    return [row.name, *own, str(row.mean), *kept]


def difference_cells(row: ScoreRow, table: ScoreTable) -> list[str]:
    """Return the cells of a row that is not the first: name and differences."""
    own, kept = (
        [_shown(row.differences[skill]) for skill in skills]
        for skills in (table.skills, table.retention)
    )
    return [row.name, *own, str(row.mean_difference), *kept]


def _shown(difference: Difference) -> str:
    counts = f"{difference.num_wins} won, {difference.num_losses} lost"
    return f"{difference} ({counts})"


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever asdict makes
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _line(cells_: Sequence[str]) -> str:
    return f"| {' | '.join(cells_)} |"
