"""What the page tells of one member: scores, parents, operators, commands, answers."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from lora_qd.records import Split
from lora_qd.runs.ancestry import describe
from lora_qd.runs.following import Snapshot
from lora_qd.store.ledger import ChildRow, Ledger, mean


def describe_member(snapshot: Snapshot, member: str) -> dict[str, Any] | None:
    """Return what is known of a member as plain data; None of a stranger."""
    return _describe(snapshot, member, _holdings(snapshot))


def _describe(
    snapshot: Snapshot, member: str, holdings: Mapping[str, list[str]]
) -> dict[str, Any] | None:
    story = snapshot.story
    if story is None:
        return None
    row = story.row(member)
    named = _names(snapshot, member)
    if row is None and not named:
        return None
    config = story.config
    return {
        "id": member,
        "index": row.index if row else None,
        "task": row.task if row else "",
        "scores": {s: row.scores[s] for s in config.skills} if row else {},
        "mean": mean({s: row.scores[s] for s in config.skills}) if row else None,
        "parents": list(row.parents) if row else [],
        "operators": _operators(row, named),
        "archives": holdings.get(member, []),
        "commands": _commands(snapshot, member, named),
        "splits": {},
    }


def known_members(
    snapshot: Snapshot, ids: Iterable[str], *, most: int
) -> dict[str, dict[str, Any]]:
    """Return what is known of the members in ``ids``, the ``most`` best of them."""
    holdings = _holdings(snapshot)
    told = [_describe(snapshot, id_, holdings) for id_ in dict.fromkeys(ids)]
    known = [about for about in told if about is not None]
    # Who is nobody's child has no mean and is in the final table: these come first.
    known.sort(key=lambda about: -2.0 if about["mean"] is None else -about["mean"])
    return {about["id"]: about for about in known[:most]}


def answers_of(
    ledger: Ledger,
    member: str,
    split: Split,
    skill: str,
    prompts: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Return what a member answered, sample by sample, the worst first."""
    outcomes = ledger.outcomes(member, split, skill)
    return [
        {
            "id": sample,
            "prompt": prompts.get(sample),
            "answer": outcome.answer,
            "score": outcome.value,
            "reason": outcome.reason,
        }
        for sample, outcome in sorted(outcomes.items(), key=lambda o: o[1].value)
    ]


def _holdings(snapshot: Snapshot) -> dict[str, list[str]]:
    """Return the skills in whose archives each elite holds a cell."""
    holdings: dict[str, list[str]] = {}
    for skill, archive in snapshot.story.archives.items() if snapshot.story else ():
        for elite in archive.elites:
            holdings.setdefault(elite.id, []).append(skill)
    return holdings


def _names(snapshot: Snapshot, member: str) -> list[str]:
    """Return under which names a member is served and shown in the final table."""
    results = snapshot.results
    if results is None:
        return []
    served = [name for name, id_ in results.members.items() if id_ == member]
    return served + [row.name for row in results.rows if row.member == member]


def _operators(row: ChildRow | None, named: list[str]) -> str:
    if row is None:
        return f"made after the search: {', '.join(named)}"
    return describe(row.recipe) if row.parents else "a seed of the archives"


def _commands(snapshot: Snapshot, member: str, named: list[str]) -> dict[str, str]:
    """Return how to use a member; serving takes those of the final table only."""
    run = shlex.quote(str(snapshot.directory.path))
    out = shlex.quote(f"adapter-{member}")
    if snapshot.results is None or member == "base":
        return {}
    export = f"loraqd export {run} --member {shlex.quote(member)} --out {out}"
    served = [name for name in snapshot.results.members if name in named]
    commands = {"export": export}
    if served:
        commands["serve"] = f"loraqd serve {run}  # as {served[0]}"
    return commands
