"""Bounds hold, chunks cover, and a candidate that is settled is asked no further."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import SeedSequence

from lora_qd.evaluation import Evaluator, Stopping, bounds_of
from lora_qd.records import Sample, Split
from tests.evaluation.toys import ToyTask, WatchedEngine, member

SPLIT = Split.SEARCH


def evaluate(tasks, stopping):
    evaluator = Evaluator([WatchedEngine()], tasks, in_flight=1)
    job = evaluator.evaluate(member("m"), SPLIT, list(tasks), stopping)
    return asyncio.run(job)


def never(values, num_samples):
    return False


def always(values, num_samples):
    return True


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40),
    st.integers(0, 40),
    st.booleans(),
)
def test_bounds_of_hold_whatever_comes(values, num_done, is_binary):
    values = [float(round(v)) if is_binary else v for v in values]
    bounds = bounds_of({"code": values[:num_done]}, {"code": len(values)})
    mean = sum(values) / len(values)
    assert bounds.low["code"] <= mean <= bounds.high["code"]
    assert 0 <= bounds.low["code"] <= bounds.high["code"] <= 1


def test_bounds_of_are_reached_by_the_worst_and_the_best_to_come():
    done = [1.0, 0.0, 0.5]
    bounds = bounds_of({"code": done}, {"code": 6})
    assert bounds.low["code"] == pytest.approx(1.5 / 6, abs=1e-8)
    assert bounds.high["code"] == pytest.approx(4.5 / 6, abs=1e-8)


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 20), min_size=1),
    st.integers(1, 25),
    st.one_of(st.none(), st.integers(0, 9)),
)
def test_chunks_hold_every_sample_once(sizes, chunk, seed):
    samples = {
        t: [Sample(f"{t}{i}", "", "") for i in range(n)] for t, n in sizes.items()
    }
    order = None if seed is None else SeedSequence(seed)
    stopping = Stopping(chunk=chunk, may_leave=never, order=order)
    chunks = list(stopping.chunks(samples))
    for task, every in samples.items():
        asked = [s.id for part in chunks for s in part[task]]
        assert sorted(asked) == sorted(s.id for s in every)
        assert all(len(part[task]) <= chunk for part in chunks)
        if order is None:
            assert asked == [s.id for s in every]


@pytest.mark.parametrize("order", [None, SeedSequence(3)])
def test_a_candidate_that_is_never_settled_is_scored_as_without_chunks(order):
    tasks = {n: ToyTask(n, num=7, judge=lambda s, _: int(s.id[-1]) / 7) for n in "ab"}
    stopping = Stopping(chunk=3, may_leave=never, order=order)
    chunked, whole = evaluate(tasks, stopping), evaluate(tasks, None)
    assert chunked.scores == whole.scores
    assert {t: list(o) for t, o in chunked.outcomes.items()} == {
        t: list(o) for t, o in whole.outcomes.items()
    }
    assert chunked.num_left == whole.num_left == 0


def test_a_settled_candidate_is_left_after_the_chunk():
    tasks = {"a": ToyTask("a", num=7), "b": ToyTask("b", num=4)}
    left = evaluate(tasks, Stopping(chunk=2, may_leave=always))
    assert {t: len(o) for t, o in left.outcomes.items()} == {"a": 2, "b": 2}
    assert left.num_left == 7
    assert left.scores == {"a": 1.0, "b": 1.0}


def test_a_decision_falls_after_every_chunk_but_the_last():
    seen = []

    def may_leave(values, num_samples):
        seen.append((values, num_samples))
        return False

    tasks = {"a": ToyTask("a", num=5, judge=lambda s, _: int(s.id[-1]) / 4)}
    evaluate(tasks, Stopping(chunk=2, may_leave=may_leave))
    assert seen == [
        ({"a": [0.0, 0.25]}, {"a": 5}),
        ({"a": [0.0, 0.25, 0.5, 0.75]}, {"a": 5}),
    ]


def test_a_drawn_order_is_another_for_every_seed_and_always_the_same():
    samples = {"a": [Sample(str(i), "", "") for i in range(30)]}

    def order(seed):
        stopping = Stopping(chunk=30, may_leave=never, order=SeedSequence(seed))
        [chunk] = stopping.chunks(samples)
        return [s.id for s in chunk["a"]]

    assert order(1) == order(1) != order(2)
