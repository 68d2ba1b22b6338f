"""The part of a model card that tells whom the aggregate was made from."""

from lora_qd.hub.names import code, escaped, listing
from lora_qd.runs.ancestry import Ancestor, ancestors_of, describe
from lora_qd.runs.config import RunConfig
from lora_qd.runs.finals import AGGREGATE
from lora_qd.runs.results import Results
from lora_qd.runs.run import Run

_DEPTH = 3
_MOST_ROWS = 16


def lineage_heads(config: RunConfig) -> list[str]:
    """Return the heads of the columns with scores."""
    return [escaped(skill) for skill in config.skills]


def lineage_text(run: Run, results: Results) -> str:
    """Return the sentences above the table."""
    by_member: dict[str, list[str]] = {}
    for skill in run.config.skills:
        by_member.setdefault(results.members[skill], []).append(escaped(skill))
    parts = [
        f"{code(member)} (best on {listing(skills)} in the search)"
        for member, skills in by_member.items()
    ]
    rest = len(_family(run)) - _MOST_ROWS
    more = (
        f" {rest} more ancestors are left out here; `loraqd lineage` shows them."
        if rest > 0
        else ""
    )
    return (
        f"The aggregate is the sum of {len(parts)} members, weighted by the softmax of "
        f"their validation scores: {listing(parts)}.{more}"
    )


def lineage_rows(run: Run) -> list[list[str]]:
    """Return the cells of the table, the nearest ancestors first."""
    return [_row(run.config, ancestor) for ancestor in _family(run)[:_MOST_ROWS]]


def _family(run: Run) -> list[Ancestor]:
    return ancestors_of(run, AGGREGATE, _DEPTH)[1:]


def _row(config: RunConfig, ancestor: Ancestor) -> list[str]:
    parents = ", ".join(code(parent) for parent in ancestor.parents)
    how = escaped(describe(ancestor.recipe)) if ancestor.parents else ""
    return [
        str(ancestor.generation),
        code(ancestor.member),
        parents or _seed(ancestor),
        how,
        *(f"{ancestor.scores[skill]:.2f}" for skill in config.skills),
    ]


def _seed(ancestor: Ancestor) -> str:
    """Return what a member that nobody was bred into is."""
    is_expert = ancestor.member.startswith("expert-")
    return "(an expert)" if is_expert else "(the experts' sum)"
