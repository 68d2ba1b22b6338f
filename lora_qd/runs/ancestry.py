"""A member's family tree: who it was bred from, and they from whom."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lora_qd.records import Scores
from lora_qd.runs.finals import AGGREGATE
from lora_qd.runs.run import Run
from lora_qd.store.ledger import ChildRow


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One member of a family tree; each is in it once."""

    member: str
    generation: int
    """Steps from the member that was asked for, along the shortest line."""
    index: int | None
    """Order of birth; None for nobody's child."""
    task: str
    """The skill whose archive it was bred in; empty for a seed."""
    parents: tuple[str, ...]
    recipe: Mapping[str, Any]
    """Operators and their draws."""
    scores: Scores
    """On the search split; empty for nobody's child."""
    is_last: bool
    """Whether its parents lie below the depth that was asked for."""


def ancestors_of(run: Run, name: str, depth: int) -> list[Ancestor]:
    """Return a member and its ancestors, the nearest first.

    Args:
        run: the run.
        name: the member's id, or the name that it is served under.
        depth: most generations to go back.

    Raises:
        InputError: there is no such member.
    """
    rows = {row.member: row for row in run.children}
    return family(rows.get, run.id_of(name), depth, partial(_summands, run))


def family(
    row_of: Callable[[str], ChildRow | None],
    member: str,
    depth: int,
    summands: Callable[[str], Sequence[str]] = lambda _: (),
) -> list[Ancestor]:
    """Return a member and its ancestors, the nearest first.

    Args:
        row_of: tells what the ledger has of a child or seed, None of anybody else.
        member: its id.
        depth: most generations to go back.
        summands: tells whom a member that is nobody's child was made from.
    """
    found: dict[str, Ancestor] = {}
    waiting = deque([(member, 0)])
    while waiting:
        id_, generation = waiting.popleft()
        if id_ in found:
            continue
        row = row_of(id_)
        parents = summands(id_) if row is None else row.parents
        found[id_] = Ancestor(
            member=id_,
            generation=generation,
            index=row.index if row else None,
            task=row.task if row else "",
            parents=tuple(parents),
            recipe=row.recipe if row else {},
            scores=row.scores if row else {},
            is_last=generation >= depth and bool(parents),
        )
        if generation < depth:
            waiting += [(parent, generation + 1) for parent in parents]
    return list(found.values())


def describe(recipe: Mapping[str, Any]) -> str:
    """Return the operators of a child and what they drew, in one line."""
    parts = []
    for name, value in recipe.items():
        if name == "rng":  # where the generator stood: for breeding again, not to read
            continue
        if isinstance(value, float):
            parts.append(f"{name} {value:.3g}")
        elif isinstance(value, list | tuple):
            parts.append(f"{name} {', '.join(f'{one:.3g}' for one in value)}")
        else:
            parts.append(f"{name} {value}")
    return "; ".join(parts)


def _summands(run: Run, member: str) -> Sequence[str]:
    """Return the elites that an aggregate is the sum of; nothing for a static merge."""
    served = run.results.members if run.results else {}
    if member != served.get(AGGREGATE):
        return ()
    return tuple(dict.fromkeys(served[skill] for skill in run.config.skills))
