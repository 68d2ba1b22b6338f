"""The archives: a heatmap for each pair of measures, parallel coordinates for more."""

import itertools
import re
from collections.abc import Iterator

from lora_qd.archive import Axis, Elite, GridArchive
from lora_qd.runs.figures.figure import Figure, Kind, Scale
from lora_qd.runs.story import Story

SECTION = "Archives"
_MOST_LINES = 300
"""Of parallel coordinates: more are no longer told apart."""


def archive_figures(story: Story) -> Iterator[Figure]:
    """Yield the charts of all archives; none before the experts are scored."""
    for number, archive in enumerate(story.archives.values()):
        name = f"archive-{slug(archive.task, number)}"
        pairs = list(itertools.combinations(range(len(archive.axes)), 2)) or [(0, 0)]
        for x, y in pairs:
            yield _heatmap(name, archive, x, y, is_only=len(pairs) == 1)
        if len(archive.axes) > 2:
            yield _parallel(f"parallel-{slug(archive.task, number)}", archive)


def slug(name: str, number: int) -> str:
    """Return a part of a file name for a skill, told apart by its number.

    Two hyphens, which a plain name never has, keep it from looking like another one.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return plain if plain == name else f"{plain or 'skill'}--{number}"


def _heatmap(
    name: str, archive: GridArchive, x: int, y: int, *, is_only: bool
) -> Figure:
    """Return an archive over two of its measures; a cell shows its best elite.

    An archive of one measure is a row of cells.
    """
    across, up = archive.axes[x], archive.axes[y]
    elites = _best_by_cell(archive, x, y)
    top = max(range(len(elites)), key=lambda i: elites[i].objective, default=None)
    # With all measures in all of its 168 maps, a run of eight skills weighs 7 MB.
    told = archive.axes if is_only else ()
    value = f"{archive.task} score"
    return Figure(
        id=name if is_only else f"{name}--{x}-{y}",
        section=SECTION,
        title=archive.task,
        summary=_summary(archive),
        kind=Kind.HEATMAP,
        columns=("column", "row", *(f"{a.task} score" for a in told), value, "member"),
        rows=[
            (
                *_cell(elite, x, y),
                *(_short(measure) for measure in elite.measures[: len(told)]),
                _short(elite.objective),
                elite.id,
            )
            for elite in elites
        ],
        encoding={"x": "column", "y": "row", "value": value, "member": "member"},
        scales={
            "x": _scale(across),
            "y": _scale(up) if x != y else Scale("", 0.0, 1.0, 1),
            "value": Scale(value, 0.0, 1.0),
        },
        group=name,
        view="" if is_only else f"{across.task} and {up.task}",
        marked=() if top is None else (top,),
    )


def _best_by_cell(archive: GridArchive, x: int, y: int) -> list[Elite]:
    """Return the best elite of each cell of two measures, in the order of the cells."""
    best: dict[tuple[int, int], Elite] = {}
    for elite in archive.elites:
        cell = _cell(elite, x, y)
        if cell not in best or elite.objective > best[cell].objective:
            best[cell] = elite
    return [elite for _, elite in sorted(best.items())]


def _cell(elite: Elite, x: int, y: int) -> tuple[int, int]:
    return elite.index[x], elite.index[y] if x != y else 0


def _scale(axis: Axis) -> Scale:
    return Scale(f"{axis.task} score", axis.low, axis.high, axis.num_cells)


def _summary(archive: GridArchive) -> str:
    stats = archive.stats()
    hidden = "" if len(archive.axes) <= 2 else " A cell shows its best over the rest."
    return (
        f"Elites by their score on {archive.task}: {stats.num_elites} of "
        f"{archive.num_cells:,} cells ({stats.coverage:.1%}), best "
        f"{stats.best:.3f}, QD score {stats.qd_score:.1f}.{hidden}"
    )


def _parallel(name: str, archive: GridArchive) -> Figure:
    skills = (archive.task, *(axis.task for axis in archive.axes))
    elites = sorted(archive.elites, key=lambda e: -e.objective)
    shown = elites[:_MOST_LINES]
    rest = (
        f" The best {len(shown)} of {len(elites)}." if len(elites) > len(shown) else ""
    )
    return Figure(
        id=name,
        section=SECTION,
        title=f"{archive.task}: all skills at once",
        summary=f"Each line is an elite of {archive.task} over all skills.{rest}",
        kind=Kind.PARALLEL,
        columns=(*skills, "member"),
        rows=[
            (_short(e.objective), *(_short(m) for m in e.measures), e.id)
            for e in reversed(shown)
        ],
        encoding={"value": archive.task, "member": "member"},
        scales={"value": Scale(f"{archive.task} score", 0.0, 1.0)},
        dimensions=skills,
    )


def _short(value: float) -> float:
    return round(value, 5)
