"""Small directory trees of the shell skill, and what a gold command does to them.

The gold effect is computed here in Python, not by a shell: a second opinion that the
tests hold against the real bash.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lora_qd.tasks.tiny.code_templates import WORDS

Files = dict[str, list[str] | None]
"""Lines by path; None is a directory."""

_ENDINGS = ("txt", "log", "csv", "md")
_NUM_HIDDEN_LINES = 7


@dataclass(frozen=True, slots=True)
class Tree:
    """Two files and a directory, as a question shows them."""

    files: Files
    names: tuple[str, str]
    """The two files."""
    directory: str

    def shown(self) -> str:
        """Return the tree as a question shows it."""
        lines = [f"{name}: {' '.join(self.files[name] or [])}" for name in self.names]
        return f"{'; '.join(lines)}; {self.directory}/"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a command prints and leaves."""

    output: list[str]
    """Lines on standard output."""
    files: Files


Oracle = Callable[[Files, Mapping[str, Any]], Effect]
"""Computes the effect of a row's command from the tree and the row's slots."""


def draw_tree(rng: random.Random) -> Tree:
    """Return a tree with random names; each file shows two lines of one word."""
    first, second = draw_names(rng, 2)
    directory = rng.choice(WORDS)
    words = rng.sample(WORDS, 4)
    files: Files = {first: words[:2], second: words[2:], directory: None}
    return Tree(files, (first, second), directory)


def draw_names(rng: random.Random, num: int) -> list[str]:
    """Return distinct file names."""
    return [f"{word}.{rng.choice(_ENDINGS)}" for word in rng.sample(WORDS, num)]


def hidden_files(tree: Tree, rng: random.Random, words: list[str]) -> Files:
    """Return the same tree with longer files in which ``words`` occur repeatedly."""
    files: Files = {tree.directory: None}
    for name in tree.names:
        others = rng.sample(WORDS, _NUM_HIDDEN_LINES)
        lines = [f"{word} {others.pop()}" for word in words]
        for word in words:
            lines += [word] * rng.randrange(1, 4)
        lines += [f"{others.pop()} {others.pop()}"]
        lines += others[: _NUM_HIDDEN_LINES - len(lines)]
        rng.shuffle(lines)
        files[name] = lines
    return files


def expectations(
    tree: Tree, oracle: Oracle, slots: Mapping[str, Any], hidden: Files
) -> dict[str, Any] | None:
    """Return the scorer's checks; None where the command shows no effect."""
    cases = []
    for files in (tree.files, hidden):
        effect = oracle(dict(files), slots)
        cases.append(
            {
                "files": as_text(files),
                "output": "".join(f"{line}\n" for line in effect.output),
                "after": as_text(effect.files),
            }
        )
    last = cases[-1]
    if not last["output"] and last["after"] == last["files"]:
        return None
    return {"cases": cases}


def as_text(files: Files) -> dict[str, str | None]:
    """Return contents by path, as the sandbox takes and returns them."""
    return {
        path: None if lines is None else "".join(f"{line}\n" for line in lines)
        for path, lines in sorted(files.items())
    }


def prints(lines: Callable[[Files, Mapping[str, Any]], list[str]]) -> Oracle:
    """Return the oracle of a command that only prints ``lines``."""
    return lambda files, slots: Effect(lines(files, slots), files)


def changes(after: Callable[[Files, Mapping[str, Any]], Files]) -> Oracle:
    """Return the oracle of a command that prints nothing."""
    return lambda files, slots: Effect([], after(files, slots))


def lines_of(files: Files, name: str) -> list[str]:
    """Return the lines of a file."""
    return list(files[name] or [])
