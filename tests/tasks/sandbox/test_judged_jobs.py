"""A judge and an answer in two processes: what crosses between them, and what not."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_qd.tasks.sandbox import Job, Sandbox
from lora_qd.tasks.sandbox.inside.remote import decode, encode

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.sets(st.integers() | st.text())
        | st.frozensets(st.integers())
    ),
    max_leaves=20,
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    st.lists,
    max_leaves=10,
)


def refuse(_):
    raise ValueError("a reference")


def kinds(value):
    """Return the types of a value and of all that is in it."""
    if isinstance(value, dict):
        return [dict, *((kinds(k), kinds(v)) for k, v in value.items())]
    if isinstance(value, (list, tuple)):
        return [type(value), *map(kinds, value)]
    return type(value)


def judged(source, judge):
    async def main():
        async with Sandbox(1) as sandbox:
            return await sandbox.run(Job("python", source, judge=judge))

    return asyncio.run(main())


@given(PLAIN)
def test_plain_data_crosses_unchanged_with_its_types(value):
    back = decode(encode(value, refuse), refuse)
    assert back == value
    assert kinds(back) == kinds(value)


@given(JUNK)
def test_what_is_no_plain_data_is_refused_or_plain(data):
    with contextlib.suppress(ValueError):
        assert "Remote" not in str(kinds(decode(data, refuse)))


class Liar(int):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


@pytest.mark.parametrize("value", [Liar(3), [Liar(3)], {Liar(3): (Liar(3),)}])
def test_of_a_subclass_only_the_plain_part_crosses(value):
    assert "Liar" not in str(kinds(decode(encode(value, refuse), refuse)))


def test_anything_else_becomes_a_reference():
    kept = []

    def keep(value):
        kept.append(value)
        return len(kept) - 1

    thing = object()
    back = decode(encode([thing, 1], keep), lambda number: kept[number])
    assert back == [thing, 1]


def test_a_judge_calls_what_the_source_defines_and_its_output_counts():
    source = "print('noise')\ndef double(x): return 2 * x"
    outcome = judged(source, "print(answer['double'](21))")
    assert (outcome.is_ok, outcome.output) == (True, "42\n")


def test_an_error_of_the_answer_reaches_the_judge_by_its_name():
    judge = "try: answer['f']()\nexcept ZeroDivisionError as e: print(type(e).__name__)"
    assert judged("def f(): return 1 / 0", judge).output == "ZeroDivisionError\n"


@pytest.mark.parametrize(
    ("source", "fact"),
    [
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("import os; os._exit(0)", "the answer ended"),
        ("x = 1", "KeyError"),
    ],
)
def test_an_answer_that_does_not_begin_fails_the_job(source, fact):
    outcome = judged(source, "answer['f']()")
    assert not outcome.is_ok
    assert fact in outcome.reason


def test_a_judge_needs_python():
    with pytest.raises(
        ValueError, match="expected Python with a judge, but got 'bash'"
    ):
        Job("bash", "true", judge="pass")
