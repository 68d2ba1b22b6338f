"""The questions of the code skill: one line of Python each, composed from slots.

A row names the body of the gold function, its phrasings and the kind of input that it
is tried on. The slots of a row are filled together, so that body and phrasing agree.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lora_qd.tasks.tiny.code_inputs import INPUTS_BY_KIND
from lora_qd.tasks.tiny.template import Draft, Template

_WORDS = (
    "red blue tea cat dog sun sea map box cup hat key pen fox owl bee ant ice oak rain "
    "wind snow leaf rock sand gold milk corn rice salt lamp door road ship bird fish "
    "frog goat wolf bear moon star hill lake tree rose ring song bell coin"
)

WORDS = tuple(_WORDS.split())
"""Short words, each one token of the tiny base."""

_OPENERS = ("Write f(x): ", "Python f of x: ", "Let f(x) do this: ")

_MIN_OUTPUTS = 2
_TRIES = 100


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    kind: str
    """What x is; decides the inputs that an answer is tried on."""
    body: str
    """What the gold function returns."""
    phrases: tuple[str, ...]


def _row(name: str, kind: str, body: str, *phrases: str) -> _Row:
    return _Row(name, kind, body, phrases)


_ROWS = (
    _row(
        "scale and shift", "number", "x * {a} {o} {b}",
        "multiply x by {a}, then {O} {b}", "{a} times x, then {O} {b}",
        "take x times {a} and {O} {b}",
    ),
    _row(
        "shift and scale", "number", "(x {o} {b}) * {a}",
        "{O} {b}, then multiply by {a}", "start from x, {O} {b}, all times {a}",
        "first {O} {b}, then take it times {a}",
    ),
    _row(
        "remainder", "number", "x % {a} {o} {b}",
        "the remainder of x by {a}, then {O} {b}", "x modulo {a}, then {O} {b}",
        "what is left of x after division by {a}, then {O} {b}",
    ),
    _row(
        "whole division", "number", "x // {a} {o} {b}",
        "divide x by {a}, then {O} {b}", "x split in {a} parts, then {O} {b}",
        "how often {a} fits in x, then {O} {b}",
    ),
    _row(
        "clamp", "number", "max({lo}, min(x, {hi}))",
        "keep x between {lo} and {hi}", "clamp x to {lo} up to {hi}",
        "limit x, lowest {lo}, highest {hi}",
    ),
    _row(
        "in range", "number", "{lo} < x < {hi}",
        "tell whether x is above {lo} and below {hi}",
        "is x inside {lo} and {hi}", "true if x lies within {lo} and {hi}",
    ),
    _row(
        "pick", "number", "{a} if x {c} {b} else {d}",
        "{a} when x is {C} {b}, otherwise {d}", "if x is {C} {b} then {a}, else {d}",
        "give {a} for x {C} {b} and {d} for the rest",
    ),
    _row(
        "distance", "number", "abs(x - {a}) {o} {b}",
        "the distance of x and {a}, then {O} {b}",
        "how far x is from {a}, then {O} {b}",
        "the gap from x to {a}, then {O} {b}",
    ),
    _row(
        "square", "number", "(x {o} {a}) ** 2 {p} {b}",
        "{O} {a}, square it, then {P} {b}",
        "the square of x after you {O} {a}, then {P} {b}",
        "first {O} {a}, then square, then {P} {b}",
    ),
    _row(
        "bounded product", "number", "{m}(x * {a}, {b})",
        "the {M} of x times {a} and {b}", "x times {a} or {b}, the {M} one",
        "compare x times {a} to {b}, give the {M}",
    ),
    _row(
        "map", "numbers", "[v * {a} {o} {b} for v in x]",
        "multiply each item by {a}, then {O} {b}", "every item times {a}, then {O} {b}",
        "for all items, take {a} times it and {O} {b}",
    ),
    _row(
        "filter", "numbers", "[v for v in x if v {c} {a} and v != {b}]",
        "keep items {C} {a} but no {b}", "all items {C} {a} except {b}",
        "only items {C} {a}, without {b}",
    ),
    _row(
        "filter and shift", "numbers", "[v {o} {a} for v in x if v {c} {b}]",
        "{O} {a} to each item {C} {b}", "for items {C} {b}, {O} {a}",
        "{O} {a} for every item {C} {b}, drop the rest",
    ),
    _row(
        "count", "numbers", "sum(v {c} {a} for v in x) {o} {b}",
        "count items {C} {a}, then {O} {b}", "how many items are {C} {a}, then {O} {b}",
        "the number of items {C} {a}, then {O} {b}",
    ),
    _row(
        "filtered sum", "numbers", "sum(v for v in x if v {c} {a}) {o} {b}",
        "sum the items {C} {a}, then {O} {b}",
        "the total of items {C} {a}, then {O} {b}",
        "add up items {C} {a}, then {O} {b}",
    ),
    _row(
        "any or all", "numbers", "{q}(v {c} {a} for v in x) or x[{i}] == {b}",
        "tell if {Q} items are {C} {a} or item {i} is {b}",
        "true if {Q} items are {C} {a} or item {i} is {b}",
        "are {Q} items {C} {a}, or is item {i} a {b}",
    ),
    _row(
        "largest few", "numbers", "sorted(x, reverse=True)[:{i}] + [{a}]",
        "the {i} largest items, then {a}", "the top {i} items followed by {a}",
        "the highest {i} of x with {a} at the end",
    ),
    _row(
        "both ends", "numbers", "[{a}] + x + [{b}]",
        "put {a} before x and {b} after it", "x with {a} in front and {b} behind",
        "add {a} to the front and {b} to the end",
    ),
    _row(
        "extreme", "numbers", "{m}(x) * {a} {o} {b}",
        "the {M} item times {a}, then {O} {b}",
        "take the {M} item, times {a}, then {O} {b}",
        "multiply the {M} item by {a}, then {O} {b}",
    ),
    _row(
        "replace", "numbers", "[{a} if v == {b} else v for v in x]",
        "replace {b} by {a}", "put {a} in place of each {b}",
        "change every {b} in x to {a}",
    ),
    _row(
        "slice", "numbers", "x[{i}:{j}] + [{a}]",
        "items {i} up to {j}, then {a}", "from item {i} until {j} followed by {a}",
        "cut x from {i} to {j} with {a} at the end",
    ),
    _row(
        "membership", "numbers", "{a} in x and {b} not in x",
        "tell whether x has {a} but not {b}", "true if {a} is in x and {b} is not",
        "does x hold {a} without {b}",
    ),
    _row(
        "affix", "text", "{s} + x + {t}",
        "put {s} before x and {t} after it", "x with {s} in front and {t} behind",
        "add {s} to the front and {t} to the end",
    ),
    _row(
        "replace text", "text", "x.replace({s}, {t}).{k}()",
        "replace {s} by {t}, then {K}", "{s} becomes {t}, then {K}",
        "change each {s} to {t}, then {K}",
    ),
    _row(
        "split and join", "text", "{t}.join(x.split({s}))",
        "split x at {s} and join with {t}", "put {t} between the parts of x cut at {s}",
        "join with {t} what you get by cutting x at {s}",
    ),
    _row(
        "count text", "text", "x.count({s}) * {a} {o} {b}",
        "how often {s} is in x, times {a}, then {O} {b}",
        "count {s} in x, times {a}, then {O} {b}",
        "{a} times the count of {s}, then {O} {b}",
    ),
    _row(
        "edges", "text", "x.startswith({s}) or x.endswith({t})",
        "tell whether x starts with {s} or ends with {t}",
        "true if {s} begins x or {t} ends it", "does x begin with {s} or end with {t}",
    ),
    _row(
        "list of words", "words", "[v + {s} for v in x if v != {t}]",
        "drop {t}, add {s} to each item", "put {s} after each item that is not {t}",
        "add {s} to the items of x but leave out {t}",
    ),
    _row(
        "two keys", "table", "x[{s}] * {a} {o} x[{t}]",
        "{s} of x times {a}, then {O} {t} of x",
        "take {a} times {s} of x and {O} its {t}",
        "multiply {s} of x by {a}, then {O} {t} of x",
    ),
    _row(
        "fallback", "table", "x.get({s}, {a}) {o} {b}",
        "look up {s} in x or take {a}, then {O} {b}",
        "{s} of x, or {a} if it is missing, then {O} {b}",
        "find {s} in x, default {a}, then {O} {b}",
    ),
)  # fmt: skip

_COMPARISONS = (("above", ">"), ("below", "<"), ("at least", ">="), ("at most", "<="))
_ARITHMETIC = (("add", "+"), ("subtract", "-"))
_EXTREMES = (("largest", "max"), ("smallest", "min"))
_CASES = (("upper case", "upper"), ("lower case", "lower"), ("title case", "title"))
_QUANTIFIERS = (("some", "any"), ("all", "all"))


def _slots(rng: random.Random) -> dict[str, Any]:
    """Return a value for every slot; rows use those that they name."""
    a, b, d = rng.sample(range(2, 100), 3)
    lo, hi = sorted(5 * n + rng.randrange(5) for n in rng.sample(range(1, 20, 2), 2))
    i, j = sorted(rng.sample(range(1, 8), 2))
    s, t = rng.sample(WORDS, 2)
    C, c = rng.choice(_COMPARISONS)
    O, o = rng.choice(_ARITHMETIC)  # noqa: E741 - capital: the word for the symbol o
    P, p = rng.choice(_ARITHMETIC)
    M, m = rng.choice(_EXTREMES)
    K, k = rng.choice(_CASES)
    Q, q = rng.choice(_QUANTIFIERS)
    numbers = {"a": a, "b": b, "d": d, "lo": lo, "hi": hi, "i": i, "j": j}
    words = {"s": repr(s), "t": repr(t)}
    symbols = {"c": c, "o": o, "p": p, "m": m, "k": k, "q": q}
    phrases = {"C": C, "O": O, "P": P, "M": M, "K": K, "Q": Q}
    return {**numbers, **words, **symbols, **phrases}


def bare_line(rng: random.Random) -> str:
    """Return a plausible function without a question."""
    return _target(rng.choice(_ROWS), _slots(rng))


def _target(row: _Row, slots: Mapping[str, Any]) -> str:
    return f"def f(x): return {row.body.format(**slots)}"


def _make(row: _Row, rng: random.Random) -> Draft:
    slots = _slots(rng)
    prompt = rng.choice(_OPENERS) + rng.choice(row.phrases).format(**slots)
    target = _target(row, slots)
    inputs, outputs = _calls(row, rng, slots, target)
    return Draft(prompt, target, {"inputs": inputs, "outputs": outputs})


def _calls(
    row: _Row, rng: random.Random, slots: Mapping[str, Any], target: str
) -> tuple[list[Any], list[Any]]:
    """Return inputs on which the gold function differs from constant and identity."""
    function = _compiled(target)
    used = {key: value for key, value in slots.items() if f"{{{key}}}" in row.body}
    for _ in range(_TRIES):
        inputs = INPUTS_BY_KIND[row.kind](rng, used)
        outputs = [function(value) for value in inputs]
        is_varied = len({repr(value) for value in outputs}) >= _MIN_OUTPUTS
        if is_varied and outputs != inputs:
            return inputs, outputs
    raise ValueError(
        f"expected inputs that tell {target!r} from a constant, found none"
    )


def _compiled(target: str) -> Callable[[Any], Any]:
    namespace: dict[str, Any] = {}
    exec(target, namespace)  # our own line, never an answer
    function: Callable[[Any], Any] = namespace["f"]
    return function


TEMPLATES = tuple(Template(row.name, partial(_make, row)) for row in _ROWS)
"""Every kind of question of the code skill."""
