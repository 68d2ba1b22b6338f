"""``loraqd lineage``."""

import json
import sys
from collections import deque
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from lora_qd.runs.ancestry import Ancestor, ancestors_of, describe
from lora_qd.runs.run import Run
from lora_qd.store.ledger import mean

_INDENT = 4
"""Columns that rich takes for a generation."""
_LABEL = 140
"""Columns of the longest line without its indent."""


def show_lineage(path: Path, member: str, *, depth: int, as_json: bool) -> None:
    """Print a member's family tree."""
    ancestors = ancestors_of(Run.open(path), member, depth)
    if as_json:
        print(json.dumps([asdict(ancestor) for ancestor in ancestors], indent=2))
        return
    deepest = max(ancestor.generation for ancestor in ancestors)
    width = None if sys.stdout.isatty() and deepest < 10 else _LABEL + _INDENT * deepest
    console = Console(highlight=False, width=width)
    console.print(_tree_of(ancestors))
    num_last = sum(1 for ancestor in ancestors if ancestor.is_last)
    if num_last:
        console.print(
            f"{num_last} members have parents farther back; see them with "
            f"--depth {depth + 4}"
        )


def _tree_of(ancestors: list[Ancestor]) -> Tree:
    """Return the tree; whoever is in it twice is a reference the second time."""
    known = {ancestor.member: ancestor for ancestor in ancestors}
    root = Tree(_label(ancestors[0]))
    shown = {ancestors[0].member}
    waiting = deque([(root, ancestors[0])])
    while waiting:  # in the order of the generations, as they were found
        node, ancestor = waiting.popleft()
        for parent in ancestor.parents:
            if parent not in known:
                continue
            if parent in shown:
                node.add(Text(f"{parent} (see there)", style="dim"))
                continue
            shown.add(parent)
            waiting.append((node.add(_label(known[parent])), known[parent]))
    return root


def _label(ancestor: Ancestor) -> Text:
    label = Text(ancestor.member, style="bold")
    if ancestor.task:
        label.append(f"  bred for {ancestor.task}", style="not bold")
    if ancestor.scores:
        scores = ", ".join(f"{s} {v:.3f}" for s, v in ancestor.scores.items())
        text = f"  {scores}, mean {mean(ancestor.scores):.3f}"
        label.append(text, style="not bold green")
    operators = describe(ancestor.recipe) if ancestor.task else ""
    if operators:
        label.append(f"\n{operators}", style="not bold dim")
    return label
