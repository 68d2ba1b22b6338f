"""Hidden inputs for generated functions: values near the constants of the question."""

import random
from collections.abc import Callable, Mapping
from typing import Any

_NUM_CALLS = 5
_PLAIN = ("mud", "fig", "jam", "elm", "yak")
"""Words that occur in no question."""

Inputs = Callable[[random.Random, Mapping[str, Any]], list[Any]]
"""Draws the inputs of one question; its slots are the second argument."""


def _constants(slots: Mapping[str, Any]) -> list[int]:
    return [value for key, value in slots.items() if key in {"a", "b", "lo", "hi"}]


def _edges(slots: Mapping[str, Any]) -> list[int]:
    return [value + step for value in _constants(slots) for step in (-1, 0, 1)]


def _numbers(rng: random.Random, slots: Mapping[str, Any]) -> list[Any]:
    edges = _edges(slots)
    return [*edges, rng.randrange(100, 300), rng.randrange(-50, 0)]


def _number_lists(rng: random.Random, slots: Mapping[str, Any]) -> list[Any]:
    edges = _edges(slots)
    below, above = range(-20, min(edges)), range(max(edges) + 1, 200)
    lists = [rng.sample(below, 10), rng.sample(above, 10), rng.sample(below, 10)]
    if "i" in slots and "b" in slots:
        lists[2][slots["i"]] = slots["b"]  # only the asked place has the asked value
    lists += [[*rng.sample(above, 9), constant] for constant in _constants(slots)]
    lists.append([*edges, *rng.sample(above, max(0, 10 - len(edges)))])
    for items in lists[3:]:
        rng.shuffle(items)
    return lists


def _words(slots: Mapping[str, Any]) -> list[str]:
    return [slots[key].strip("'") for key in ("s", "t") if key in slots]


def _texts(rng: random.Random, slots: Mapping[str, Any]) -> list[Any]:
    asked = _words(slots)
    texts = []
    for index in range(_NUM_CALLS):
        middle = [rng.choice((*asked, *_PLAIN)) for _ in range(3)]
        first = asked[0] if index == 0 else rng.choice(_PLAIN)
        last = asked[-1] if index == 1 else rng.choice(_PLAIN)
        texts.append(" ".join([first, *middle, asked[0], "Big", last]))
    return texts


def _word_lists(rng: random.Random, slots: Mapping[str, Any]) -> list[Any]:
    asked = _words(slots)
    lists = []
    for _ in range(_NUM_CALLS):
        items = [*asked, *rng.sample(_PLAIN, rng.randrange(1, 4))]
        rng.shuffle(items)
        lists.append(items)
    return lists


def _tables(rng: random.Random, slots: Mapping[str, Any]) -> list[Any]:
    asked = _words(slots)
    tables = []
    for index in range(_NUM_CALLS):
        keys = [*asked, *rng.sample(_PLAIN, 2)]
        if len(asked) == 1 and index % 2:
            keys.remove(asked[0])  # such a question says what to do without the key
        tables.append({key: rng.randrange(-20, 200) for key in keys})
    return tables


INPUTS_BY_KIND: Mapping[str, Inputs] = {
    "number": _numbers,
    "numbers": _number_lists,
    "text": _texts,
    "words": _word_lists,
    "table": _tables,
}
"""How the inputs of a question are drawn, by what its x is."""
