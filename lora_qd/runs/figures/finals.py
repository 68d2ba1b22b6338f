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
    return Figure(
        id="optimism-gap",
        section=SECTION,
        title="Search, validation, test",
        summary="Mean score over the skills on each split, with 95 % intervals. Who is "
        "chosen by a split looks too good on it; test is read once.",
        kind=Kind.BARS,
        columns=("member and split", "mean score", "low", "high", "split", "member"),
        rows=[
            (f"{name} · {split}", *_values(interval), split.value, members[name])
            for (name, split), interval in means.items()
        ],
        encoding={
            "y": "member and split",
            "x": "mean score",
            "low": "low",
            "high": "high",
            "series": "split",
            "member": "member",
        },
        scales={"x": Scale("mean score", 0.0, 1.0)},
    )


def _skills(results: Results) -> Figure:
    return Figure(
        id="test-scores",
        section=SECTION,
        title="Test scores by skill",
        summary="Scores of the final table on the test split, with 95 % intervals.",
        kind=Kind.BARS,
        columns=("member and skill", "test score", "low", "high", "skill", "member"),
        rows=[
            (f"{row.name} · {skill}", *_values(row.by_skill[skill]), skill, row.member)
            for row in results.rows
            for skill in results.skills
        ],
        encoding={
            "y": "member and skill",
            "x": "test score",
            "low": "low",
            "high": "high",
            "series": "skill",
            "member": "member",
        },
        scales={"x": Scale("test score", 0.0, 1.0)},
    )


def _retention(results: Results) -> Figure:
    base = next((row for row in results.rows if row.member == "base"), None)
    rows: list[Sequence[Value]] = []
    for row in results.rows:
        for skill in results.retention:
            whole = base.by_skill[skill].mean if base else 0.0
            share = round(row.by_skill[skill].mean / whole, 4) if whole else None
            values = _values(row.by_skill[skill])
            rows.append((f"{row.name} · {skill}", *values, share, skill))
    return Figure(
        id="retention",
        section=SECTION,
        title="Retention",
        summary="Test scores on what is never optimised, with 95 % intervals, and as a "
        "share of the base's in its numbers.",
        kind=Kind.BARS,
        columns=("member and skill", "score", "low", "high", "share of base", "skill"),
        rows=rows,
        encoding={
            "y": "member and skill",
            "x": "score",
            "low": "low",
            "high": "high",
            "series": "skill",
        },
        scales={"x": Scale("test score", 0.0, 1.0)},
    )


def _values(interval: Interval) -> tuple[float, float, float]:
    low, high = round(interval.low, 5), round(interval.high, 5)
    return round(interval.mean, 5), low, high
