"""The final table in pictures: the optimism of selection, skills, retention."""

from collections.abc import Iterator, Sequence

from lora_qd.evaluation import Interval
from lora_qd.runs.figures.figure import Figure, Kind, Scale, Value
from lora_qd.runs.following import Means
from lora_qd.runs.results import Results

SECTION = "Final table"


def final_figures(results: Results, means: Means) -> Iterator[Figure]:
    """Yield the charts of a finished run."""
    yield _gap(results, means)
    yield _skills(results)
    if results.retention:
        yield _retention(results)


def _gap(results: Results, means: Means) -> Figure:
    members = {row.name: row.member for row in results.rows}
    return _bars(
        "optimism-gap",
        "Search, validation, test",
        "Mean score over the skills on each split, with 95 % intervals. Who is chosen "
        "by a split looks too good on it; test is read once.",
        ("member and split", "mean score", "low", "high", "split", "member"),
        [
            (f"{name} · {split}", *_values(interval), split.value, members[name])
            for (name, split), interval in means.items()
        ],
    )


def _skills(results: Results) -> Figure:
    return _bars(
        "test-scores",
        "Test scores by skill",
        "Scores of the final table on the test split, with 95 % intervals.",
        ("member and skill", "test score", "low", "high", "skill", "member"),
        [
            (f"{row.name} · {skill}", *_values(row.by_skill[skill]), skill, row.member)
            for row in results.rows
            for skill in results.skills
        ],
    )


def _retention(results: Results) -> Figure:
    base = next((row for row in results.rows if row.member == "base"), None)
    rows: list[Sequence[Value]] = []
    for row in results.rows:
        for skill in results.retention:
            whole = base.by_skill[skill].mean if base else 0.0
            share = round(row.by_skill[skill].mean / whole, 4) if whole else None
            values = _values(row.by_skill[skill])
            rows.append((f"{row.name} · {skill}", *values, skill, row.member, share))
    return _bars(
        "retention",
        "Retention",
        "Test scores on what is never optimised, with 95 % intervals, and as a share "
        "of the base's in its numbers.",
        (
            *("member and skill", "test score", "low", "high", "skill", "member"),
            "share of base",
        ),
        rows,
    )


def _bars(
    id_: str,
    title: str,
    summary: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Value]],
) -> Figure:
    """Return a chart of bars: name, score, low, high, series and member by column."""
    name, score, low, high, series, member = columns[:6]
    return Figure(
        id=id_,
        section=SECTION,
        title=title,
        summary=summary,
        kind=Kind.BARS,
        columns=tuple(columns),
        rows=rows,
        encoding={
            "y": name,
            "x": score,
            "low": low,
            "high": high,
            "series": series,
            "member": member,
        },
        scales={"x": Scale(score, 0.0, 1.0)},
    )


def _values(interval: Interval) -> tuple[float, float, float]:
    low, high = round(interval.low, 5), round(interval.high, 5)
    return round(interval.mean, 5), low, high
