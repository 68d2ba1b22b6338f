"""Where time and tokens went."""

from collections.abc import Iterator

from lora_qd.runs.figures.figure import Figure, Kind, Scale
from lora_qd.runs.story import Story

SECTION = "Costs"


def spending_figures(story: Story) -> Iterator[Figure]:
    """Yield seconds by stage and tokens by kind, split by split."""
    yield Figure(
        id="time",
        section=SECTION,
        title="Where time went",
        summary="Minutes of all evaluations by stage; evaluations overlap, so they add "
        "up to more than the clock shows.",
        kind=Kind.BARS,
        columns=("split", "stage", "minutes"),
        rows=[
            (split, stage, round(seconds / 60, 4))
            for split, totals in story.totals.items()
            for stage, seconds in totals.stages.items()
        ],
        encoding={"y": "split", "x": "minutes", "series": "stage"},
        scales={"x": Scale("minutes")},
    )
    yield Figure(
        id="tokens",
        section=SECTION,
        title="Where tokens went",
        summary="Tokens read and generated, by split.",
        kind=Kind.BARS,
        columns=("split", "kind", "tokens"),
        rows=[
            (split, kind, num)
            for split, totals in story.totals.items()
            for kind, num in (
                ("read", totals.num_prompt_tokens),
                ("generated", totals.num_tokens),
            )
        ],
        encoding={"y": "split", "x": "tokens", "series": "kind"},
        scales={"x": Scale("tokens")},
    )
