"""All charts of a run, in the order of the page."""

from collections.abc import Iterator

from lora_qd.runs.ancestry import Ancestor, family
from lora_qd.runs.figures import (
    archive_maps,
    breeding,
    finals,
    origins,
    progress,
    spending,
)
from lora_qd.runs.figures.figure import Figure
from lora_qd.runs.finals import BALANCED
from lora_qd.runs.following import Snapshot

SECTIONS = (
    finals.SECTION,
    archive_maps.SECTION,
    progress.SECTION,
    breeding.SECTION,
    spending.SECTION,
    origins.SECTION,
)
"""The headings, in their order."""
_DEPTH = 6
"""Generations of a family tree."""


def figures_of(snapshot: Snapshot) -> list[Figure]:
    """Return the charts of a run as it is now; few, or none, at its beginning."""
    return list(_figures(snapshot))


def _figures(snapshot: Snapshot) -> Iterator[Figure]:
    story = snapshot.story
    if snapshot.results:
        yield from finals.final_figures(snapshot.results, snapshot.means)
    if story and story.rows:
        yield from archive_maps.archive_figures(story)
        yield from progress.progress_figures(story)
        yield from breeding.breeding_figures(story, family_of_best(snapshot))
        yield from spending.spending_figures(story)
    if story and snapshot.likeness:
        skills = story.config.skills
        yield from origins.similarity_figures(skills, snapshot.likeness)
    if snapshot.manifest:
        yield origins.manifest_figure(snapshot.manifest)


def family_of_best(snapshot: Snapshot) -> list[Ancestor]:
    """Return the best bred member and its ancestors; nobody before the first child.

    It is the one that validation chose, or as long as there is none, the one with the
    highest mean search score.
    """
    story, results = snapshot.story, snapshot.results
    if story is None:
        return []
    chosen = story.row(results.members.get(BALANCED, "")) if results else None
    if chosen is None or not chosen.parents:
        chosen = story.best_bred
    return family(story.row, chosen.member, _DEPTH) if chosen else []
