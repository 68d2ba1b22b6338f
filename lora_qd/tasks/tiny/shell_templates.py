"""The questions of the shell skill: one bash command each, composed from slots.

A row names the gold command, what it does (in Python) and its phrasings; the slots of
a row are filled together. F and G are the tree's files, E its directory, N and M new
names, s and t words, i a small number.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lora_qd.tasks.tiny.code_templates import WORDS
from lora_qd.tasks.tiny.shell_tree import (
    Files,
    Oracle,
    Tree,
    changes,
    draw_names,
    draw_tree,
    expectations,
    hidden_files,
    lines_of,
    prints,
)
from lora_qd.tasks.tiny.template import Draft, Template

_TRIES = 100


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    command: str
    oracle: Oracle
    phrases: tuple[str, ...]


def _row(name: str, command: str, oracle: Oracle, *phrases: str) -> _Row:
    return _Row(name, command, oracle, phrases)


def _both(f: Files, v: Mapping[str, Any]) -> list[str]:
    return lines_of(f, v["F"]) + lines_of(f, v["G"])


def _with(f: Files, v: Mapping[str, Any]) -> list[str]:
    return [line for line in lines_of(f, v["F"]) if v["s"] in line]


def _without(f: Files, v: Mapping[str, Any]) -> list[str]:
    return [line for line in lines_of(f, v["F"]) if v["s"] not in line]


def _replaced(f: Files, v: Mapping[str, Any]) -> list[str]:
    return [line.replace(v["s"], v["t"], 1) for line in lines_of(f, v["F"])]


def _moved(files: Files, source: str, *targets: str) -> Files:
    return {p: c for p, c in files.items() if p != source} | dict.fromkeys(
        targets, files[source]
    )


def _dropped(files: Files, *paths: str) -> Files:
    return {path: lines for path, lines in files.items() if path not in paths}


_ROWS = (
    _row("show both", "cat {F} {G}", prints(_both),
         "show {F} and then {G}", "print {F} followed by {G}", "{F} first, {G} after it"),
    _row("lines with", "grep {s} {F}", prints(_with),
         "lines of {F} with {s}", "find {s} in {F}", "show where {F} has {s}"),
    _row("lines without", "grep -v {s} {F}", prints(_without),
         "lines of {F} without {s}", "show {F} but no {s}", "leave {s} out of {F}"),
    _row("count lines with", "grep -c {s} {F}",
         prints(lambda f, v: [str(len(_with(f, v)))]),
         "count lines of {F} with {s}", "how many lines of {F} have {s}",
         "the number of {s} lines in {F}"),
    _row("first lines", "head -n {i} {F}",
         prints(lambda f, v: lines_of(f, v["F"])[: v["i"]]),
         "the first {i} lines of {F}", "show the top {i} of {F}",
         "print {i} lines from the start of {F}"),
    _row("last lines", "tail -n {i} {F}",
         prints(lambda f, v: lines_of(f, v["F"])[-v["i"] :]),
         "the last {i} lines of {F}", "show the bottom {i} of {F}",
         "print {i} lines from the end of {F}"),
    _row("sorted top", "sort {F} | head -n {i}",
         prints(lambda f, v: sorted(lines_of(f, v["F"]))[: v["i"]]),
         "sort {F} and show the first {i}", "the first {i} of {F} in order",
         "put {F} in order, then the top {i}"),
    _row("reverse sorted top", "sort -r {F} | head -n {i}",
         prints(lambda f, v: sorted(lines_of(f, v["F"]), reverse=True)[: v["i"]]),
         "sort {F} backwards and show the first {i}",
         "the first {i} of {F} in reverse order",
         "put {F} in reverse order, then the top {i}"),
    _row("sort both", "cat {F} {G} | sort", prints(lambda f, v: sorted(_both(f, v))),
         "sort {F} and {G} together", "all lines of {F} and {G} in order",
         "join {F} and {G}, then sort"),
    _row("count both", "cat {F} {G} | wc -l",
         prints(lambda f, v: [str(len(_both(f, v)))]),
         "count the lines of {F} and {G} together", "how many lines {F} and {G} have",
         "the number of lines in {F} plus {G}"),
    _row("one line", "sed -n {i}p {F}",
         prints(lambda f, v: lines_of(f, v["F"])[v["i"] - 1 : v["i"]]),
         "line {i} of {F}", "show only line {i} of {F}", "print {F} at line {i}"),
    _row("all but a line", "sed {i}d {F}",
         prints(lambda f, v: [x for n, x in enumerate(lines_of(f, v["F"]), 1)
                              if n != v["i"]]),
         "{F} without line {i}", "show {F} but not line {i}", "leave line {i} out of {F}"),
    _row("show replaced", "sed s/{s}/{t}/ {F}", prints(_replaced),
         "show {F} with {t} for {s}", "print {F} where {s} reads {t}",
         "{F} with {s} shown as {t}"),
    _row("start of lines", "cut -c 1-{i} {F}",
         prints(lambda f, v: [line[: v["i"]] for line in lines_of(f, v["F"])]),
         "the first {i} letters of each line of {F}", "cut lines of {F} to {i} letters",
         "{i} letters of every line in {F}"),
    _row("copy", "cp {F} {N}", changes(lambda f, v: f | {v["N"]: f[v["F"]]}),
         "copy {F} to {N}", "make {N} a copy of {F}", "keep {F} and write it to {N}"),
    _row("rename", "mv {F} {N}", changes(lambda f, v: _moved(f, v["F"], v["N"])),
         "rename {F} to {N}", "call {F} now {N}", "give {F} the name {N}"),
    _row("delete both", "rm {F} {G}", changes(lambda f, v: _dropped(f, v["F"], v["G"])),
         "delete {F} and {G}", "remove {F} with {G}", "drop both {F} and {G}"),
    _row("delete all", "rm -r {E} {F}", changes(lambda f, v: _dropped(f, v["E"], v["F"])),
         "delete the folder {E} and {F}", "remove folder {E} with {F}",
         "drop {F} and the folder {E}"),
    _row("two folders", "mkdir {A} {B}",
         changes(lambda f, v: f | {v["A"]: None, v["B"]: None}),
         "make folders {A} and {B}", "create two folders, {A} and {B}",
         "new folders {A} and {B}"),
    _row("into folder", "mv {F} {E}",
         changes(lambda f, v: _moved(f, v["F"], f"{v['E']}/{v['F']}")),
         "move {F} into {E}", "put {F} in the folder {E}", "{F} goes into folder {E}"),
    _row("copy into folder", "cp {F} {E}/{N}",
         changes(lambda f, v: f | {f"{v['E']}/{v['N']}": f[v["F"]]}),
         "copy {F} into {E} as {N}", "put a copy of {F} in {E} named {N}",
         "keep {F} and store it in {E} as {N}"),
    _row("new folder", "mkdir {A} && mv {F} {A}",
         changes(lambda f, v: _moved(f, v["F"], f"{v['A']}/{v['F']}") | {v["A"]: None}),
         "make a folder {A} and move {F} into it", "put {F} in a new folder {A}",
         "create {A}, then {F} goes in it"),
    _row("new file", "echo {s} > {N}", changes(lambda f, v: f | {v["N"]: [v["s"]]}),
         "write {s} to a new file {N}", "make {N} with the word {s}",
         "create {N} that holds {s}"),
    _row("append", "echo {s} >> {F}",
         changes(lambda f, v: f | {v["F"]: [*lines_of(f, v["F"]), v["s"]]}),
         "add {s} to the end of {F}", "append {s} to {F}", "put {s} below {F}"),
    _row("overwrite", "echo {s} {t} > {F}",
         changes(lambda f, v: f | {v["F"]: [f"{v['s']} {v['t']}"]}),
         "make {F} say only {s} {t}", "overwrite {F} by {s} {t}",
         "let {F} hold just {s} {t}"),
    _row("replace inside", "sed -i s/{s}/{t}/ {F}",
         changes(lambda f, v: f | {v["F"]: _replaced(f, v)}),
         "replace {s} by {t} inside {F}", "change {s} to {t} in the file {F}",
         "edit {F} so that {s} becomes {t}"),
    _row("join into", "cat {F} {G} > {N}", changes(lambda f, v: f | {v["N"]: _both(f, v)}),
         "join {F} and {G} into {N}", "write {F} then {G} to {N}",
         "store {F} followed by {G} in {N}"),
    _row("sort into", "sort {F} > {N}",
         changes(lambda f, v: f | {v["N"]: sorted(lines_of(f, v["F"]))}),
         "sort {F} into {N}", "write {F} in order to {N}", "store the sorted {F} in {N}"),
    _row("lines into", "grep {s} {F} > {N}",
         changes(lambda f, v: f | {v["N"]: _with(f, v)}),
         "write lines of {F} with {s} to {N}", "store the {s} lines of {F} in {N}",
         "find {s} in {F} and save it to {N}"),
    _row("top into", "head -n {i} {F} > {N}",
         changes(lambda f, v: f | {v["N"]: lines_of(f, v["F"])[: v["i"]]}),
         "write the first {i} lines of {F} to {N}", "store the top {i} of {F} in {N}",
         "save {i} lines from the start of {F} to {N}"),
)  # fmt: skip


def _slots(rng: random.Random, tree: Tree) -> dict[str, Any]:
    """Return a value for every slot; rows use those that they name."""
    F, G = rng.sample(tree.names, 2)
    taken = {name.partition(".")[0] for name in tree.names} | {tree.directory}
    free = [word for word in WORDS if word not in taken]
    A, B = rng.sample(free, 2)
    (N,) = draw_names(rng, 1)
    while N in tree.names:
        (N,) = draw_names(rng, 1)
    s = rng.choice(tree.files[F] or WORDS)
    t = rng.choice([word for word in WORDS if word != s])
    i = rng.randrange(2, 7)
    return {"F": F, "G": G, "E": tree.directory, "N": N, "A": A, "B": B} | {
        "s": s,
        "t": t,
        "i": i,
    }


def bare_line(rng: random.Random) -> str:
    """Return a plausible command without a question."""
    return rng.choice(_ROWS).command.format(**_slots(rng, draw_tree(rng)))


def _make(row: _Row, rng: random.Random) -> Draft:
    for _ in range(_TRIES):
        tree = draw_tree(rng)
        slots = _slots(rng, tree)
        hidden = hidden_files(tree, rng, [slots["s"]])
        checks = expectations(tree, row.oracle, slots, hidden)
        if checks is not None:
            question = rng.choice(row.phrases).format(**slots)
            return Draft(
                f"{tree.shown()}: {question}", row.command.format(**slots), checks
            )
    raise ValueError(f"expected a tree on which {row.command!r} has an effect")


TEMPLATES = tuple(Template(row.name, partial(_make, row)) for row in _ROWS)
"""Every kind of question of the shell skill."""
