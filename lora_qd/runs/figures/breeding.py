"""What breeding achieved: success by operator, the Pareto front, a family tree."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lora_qd.evaluation import wilson_interval
from lora_qd.runs.ancestry import Ancestor
from lora_qd.runs.figures.figure import Figure, Kind, Scale, Value
from lora_qd.runs.story import Story
from lora_qd.search.breeding import EXPERT_PREFIX
from lora_qd.store.ledger import ChildRow, mean

SECTION = "Breeding"
_NUM_TIMES = 20
"""Parts of a run whose success is compared."""
_MOST_NODES = 80
"""Of a family tree: more are no longer told apart."""


def breeding_figures(story: Story, family: Sequence[Ancestor]) -> Iterator[Figure]:
    """Yield the charts of operators, of the front, and of one member's family."""
    bred = [
        (row, bool(entered))
        for row, entered in zip(story.rows, story.entered, strict=True)
        if row.parents
    ]
    yield _success(bred)
    yield _success_over_time(bred)
    yield _front(story)
    yield _tree(story, family[:_MOST_NODES], len(family) - _MOST_NODES)


def _success(bred: Sequence[tuple[ChildRow, bool]]) -> Figure:
    rows: list[Sequence[Value]] = []
    for name, successes in _by_operator(bred).items():
        rate = wilson_interval([float(s) for s in successes])
        values = [round(v, 4) for v in (rate.mean, rate.low, rate.high)]
        rows.append((name, *values, len(successes)))
    return Figure(
        id="operators",
        section=SECTION,
        title="Operators' success",
        summary="Share of the children that entered an archive, by what bred them, "
        "with 95 % intervals; draws are cut into thirds.",
        kind=Kind.BARS,
        columns=("operator", "success", "low", "high", "children"),
        rows=rows,
        encoding={"y": "operator", "x": "success", "low": "low", "high": "high"},
        scales={"x": Scale("share of children", 0.0, 1.0)},
    )


def _by_operator(bred: Sequence[tuple[ChildRow, bool]]) -> dict[str, list[bool]]:
    """Return who succeeded, by archive, by parents, by operator, by thirds of draws.

    An operator that bred all children compares with nothing and is left out.
    """
    archives: dict[str, list[bool]] = {}
    parents: dict[str, list[bool]] = {}
    named: dict[str, dict[str, list[bool]]] = {}
    drawn: dict[str, list[tuple[float, bool]]] = {}
    for row, success in bred:
        archives.setdefault(f"bred for {row.task}", []).append(success)
        has_seed = any(not parent[:1].isdigit() for parent in row.parents)
        kind = "a seed among its parents" if has_seed else "bred parents only"
        parents.setdefault(kind, []).append(success)
        for name, value in row.recipe.items():
            if isinstance(value, float):
                drawn.setdefault(name, []).append((value, success))
            elif isinstance(value, str) and name != "rng":
                by_value = named.setdefault(name, {})
                by_value.setdefault(f"{name} {value}", []).append(success)
    groups = dict(sorted(archives.items())) | dict(sorted(parents.items()))
    for by_value in named.values():
        groups |= by_value if len(by_value) > 1 else {}
    for name, draws in drawn.items():
        groups |= _thirds(name, draws)
    return groups


def _thirds(name: str, draws: list[tuple[float, bool]]) -> dict[str, list[bool]]:
    ordered = sorted(draws)
    if len(ordered) < 3 or ordered[0][0] == ordered[-1][0]:
        return {}
    cuts = [round(i * len(ordered) / 3) for i in range(4)]
    parts = [ordered[low:high] for low, high in itertools.pairwise(cuts)]
    return {
        f"{name} {part[0][0]:.2f} to {part[-1][0]:.2f}": [s for _, s in part]
        for part in parts
    }


def _success_over_time(bred: Sequence[tuple[ChildRow, bool]]) -> Figure:
    num = min(_NUM_TIMES, len(bred))
    cuts = [round(i * len(bred) / num) for i in range(num + 1)] if num else []
    rows: list[Sequence[Value]] = []
    for low, high in itertools.pairwise(cuts):
        rate = wilson_interval([float(success) for _, success in bred[low:high]])
        values = [round(v, 4) for v in (rate.mean, rate.low, rate.high)]
        rows.append((bred[high - 1][0].index, *values))
    return Figure(
        id="success-over-time",
        section=SECTION,
        title="Success over time",
        summary="Share of the children that entered an archive, part by part of the "
        "run, with 95 % intervals.",
        kind=Kind.LINES,
        columns=("child", "success", "low", "high"),
        rows=rows,
        encoding={"x": "child", "y": "success", "low": "low", "high": "high"},
        scales={"x": Scale("child"), "y": Scale("share of children", 0.0, 1.0)},
    )


def _front(story: Story) -> Figure:
    """Return the front over the first two skills; all skills are in its numbers."""
    skills = story.config.skills
    order = np.argsort(story.front.scores.sum(axis=1), kind="stable")
    rows: list[Sequence[Value]] = []
    for i in order:
        id_, scores = story.front.ids[i], story.front.scores[i]
        values = [round(float(score), 5) for score in scores]
        rows.append((_kind(story.row(id_)), *values, id_))
    others = f" The other skills ({', '.join(skills[2:])}) are in its numbers."
    return Figure(
        id="pareto-front",
        section=SECTION,
        title="Pareto front",
        summary=f"The {len(rows)} members that no other one equals or beats on every "
        f"skill, over {skills[0]} and {skills[1]}."
        f"{others if len(skills) > 2 else ''} The ringed one has the best mean.",
        kind=Kind.SCATTER,
        columns=("kind", *(f"{skill} score" for skill in skills), "member"),
        rows=rows,
        encoding={
            "x": f"{skills[0]} score",
            "y": f"{skills[1]} score",
            "series": "kind",
            "member": "member",
        },
        scales={"x": Scale(f"{skills[0]} score"), "y": Scale(f"{skills[1]} score")},
        marked=(len(rows) - 1,) if rows else (),
    )


def _kind(row: ChildRow | None) -> str:
    if row is None or row.parents:
        return "bred"
    return "expert" if row.member.startswith(EXPERT_PREFIX) else "static merge"


def _tree(story: Story, family: Sequence[Ancestor], num_more: int) -> Figure:
    skills = story.config.skills
    root = family[0].member if family else ""
    more = f" {num_more} more lie farther back." if num_more > 0 else ""
    return Figure(
        id="family-tree",
        section=SECTION,
        title="Family tree of the best member",
        summary=f"{root} and whom it was bred from, back to the seeds, with their mean "
        f"search scores.{more}"
        if family
        else "Nobody was bred yet.",
        kind=Kind.TREE,
        columns=("member", "parents", "generation", "mean", *skills),
        rows=[_node(ancestor, skills) for ancestor in family],
        encoding={
            "id": "member",
            "parents": "parents",
            "generation": "generation",
            "value": "mean",
            "member": "member",
        },
        scales={"value": Scale("mean score", 0.0, 1.0)},
    )


def _node(ancestor: Ancestor, skills: Sequence[str]) -> Sequence[Value]:
    scores: Mapping[str, float] = {
        skill: ancestor.scores[skill] for skill in skills if ancestor.scores
    }
    means: list[Value] = [round(mean(scores), 5) if scores else None]
    return (
        ancestor.member,
        " ".join(dict.fromkeys(ancestor.parents)),
        ancestor.generation,
        *means,
        *(scores.get(skill) for skill in skills),
    )
