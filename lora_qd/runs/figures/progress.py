"""How the search went on: over children and over tokens."""

from collections.abc import Callable, Iterator

from lora_qd.runs.figures.figure import Figure, Kind, Scale
from lora_qd.runs.story import Point, Story

SECTION = "Progress"
_Curve = Callable[[Point], float | None]


def progress_figures(story: Story) -> Iterator[Figure]:
    """Yield QD score, coverage, best and hypervolume, each over both of its axes."""
    yield from _both(
        story,
        "qd-score",
        "QD score",
        "Sum of the elites' objectives over all archives.",
        {"QD score": lambda p: p.qd_score},
    )
    yield from _both(
        story,
        "coverage",
        "Coverage",
        "Share of occupied cells, mean over the archives.",
        {"coverage": lambda p: p.coverage},
    )
    yield from _both(
        story,
        "best",
        "Best member",
        "Highest mean search score so far: of any member, and of those that were bred.",
        {"any member": lambda p: p.best, "bred": lambda p: p.best_bred},
    )
    yield from _both(
        story,
        "hypervolume",
        "Hypervolume",
        "Share of all score combinations that some member equals or beats on every "
        "skill; estimated, standard error 0.004 at most.",
        {"hypervolume": lambda p: p.hypervolume},
    )


def _both(
    story: Story, name: str, title: str, summary: str, curves: dict[str, _Curve]
) -> Iterator[Figure]:
    for view, label, field in (
        ("over children", "members scored", "num_children"),
        ("over tokens", "tokens generated", "num_tokens"),
    ):
        yield Figure(
            id=f"{name}-{view.replace(' ', '-')}",
            section=SECTION,
            title=title,
            summary=summary,
            kind=Kind.LINES,
            columns=("curve", label, title.lower()),
            rows=[
                (
                    curve,
                    getattr(point, field),
                    None if value is None else round(value, 6),
                )
                for curve, value_of in curves.items()
                for point in story.points
                for value in (value_of(point),)
            ],
            encoding={"x": label, "y": title.lower(), "series": "curve"},
            scales={"x": Scale(label), "y": Scale(title)},
            group=name,
            view=view,
        )
