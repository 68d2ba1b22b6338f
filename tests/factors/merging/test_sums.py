"""Laws of the merges that are sums, against dense float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_qd.factors.merging import merge
from tests.factors.merging.members import (
    assert_close,
    assert_near,
    members_of,
    random_dense,
    weights_for,
)

seeds = st.integers(0, 100_000)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_linear_is_the_dense_weighted_mean(seed):
    dense = random_dense(seed, dtype=torch.float32)
    w = weights_for(seed, len(dense.members))
    core = merge(dense.members, w, "linear")["m"]
    expected = np.tensordot(w, dense.deltas, axes=1) / sum(w)
    assert_near(dense.delta(core), expected, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, sign=st.sampled_from([1, -1]))
def test_concatenated_factors_are_the_plain_sum(seed, sign):
    dense = random_dense(seed, dtype=torch.float32)
    w = [sign * weight for weight in weights_for(seed, len(dense.members))]
    parts = [np.linalg.svd(delta, full_matrices=False) for delta in dense.deltas]
    B = np.hstack([weight * P * S for weight, (P, S, _) in zip(w, parts, strict=True)])
    A = np.vstack([Qt for _, _, Qt in parts])
    for method in ("cat", "task-arithmetic"):
        core = merge(dense.members, w, method)["m"]
        assert_near(dense.delta(core), B @ A, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, order=st.permutations(range(4)))
def test_linear_merges_commute(seed, order):
    members, w = members_of(seed, num=4), weights_for(seed, 4)
    back = merge([members[i] for i in order], [w[i] for i in order], "linear")
    assert_close(back, merge(members, w, "linear"))


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_linear_merges_associate(seed):
    first, second, third = members_of(seed)
    u, v, w = weights_for(seed, 3)
    for method, of_pair in (("task-arithmetic", 1.0), ("linear", u + v)):
        pair = merge([first, second], [u, v], method)
        at_once = merge([first, second, third], [u, v, w], method)
        assert_close(merge([pair, third], [of_pair, w], method), at_once)


def test_weights_beyond_the_parents_extrapolate():
    first, second = members_of(1, num=2)
    merged = merge([first, second], [1.5, -0.5], "linear")
    assert_close(merged, {m: 1.5 * first[m] - 0.5 * second[m] for m in first})
    line = [merge([first, second], [1 - t, t], "slerp") for t in (-0.2, 1.3)]
    assert all(np.isfinite(core).all() for cores in line for core in cores.values())


@settings(max_examples=20, deadline=None)
@given(seed=seeds, t=st.floats(0, 1))
def test_slerp_is_shoemakes_arc_between_the_dense_deltas(seed, t):
    dense = random_dense(seed, num=2)
    core = merge(dense.members, [1 - t, t], "slerp")["m"]
    first, second = dense.deltas
    cosine = np.sum(first * second) / np.linalg.norm(first) / np.linalg.norm(second)
    a = np.arccos(cosine)
    expected = (np.sin((1 - t) * a) * first + np.sin(t * a) * second) / np.sin(a)
    assert_near(dense.delta(core), expected, rtol=1e-7)


def test_the_arc_keeps_the_norm_of_members_of_one_norm():
    first, second = members_of(5, num=2, modules=1)
    unit = [{"m0": c["m0"] / np.linalg.norm(c["m0"])} for c in (first, second)]
    for t in (0.0, 0.3, 0.5, 1.0):
        merged = merge(unit, [1 - t, t], "slerp")
        assert np.linalg.norm(merged["m0"]) == pytest.approx(1.0, abs=1e-6)
    assert_close(merge(unit, [1.0, 0.0], "slerp"), unit[0])


@pytest.mark.parametrize("factor", [2.0, -1.0, 0.0, 1 + 1e-6])
def test_the_arc_between_parallel_members_is_a_line(factor):
    (member,) = members_of(6, num=1)
    other = {m: np.float32(factor) * c for m, c in member.items()}
    merged = merge([member, other], [0.5, 0.5], "slerp")
    assert_close(merged, {m: (1 + factor) / 2 * c for m, c in member.items()})


def test_slerp_of_three_is_refused():
    with pytest.raises(ValueError, match="two adapters for slerp, but got 3"):
        merge(members_of(0), [1.0] * 3, "slerp")


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_weights_that_cancel_are_refused_where_they_are_normalised(method):
    with pytest.raises(ValueError, match=r"do not sum to zero.*use task-arithmetic"):
        merge(members_of(0, num=2), [1.0, -1.0], method)


def test_a_module_without_weight_in_all_members_cannot_be_normalised():
    with pytest.raises(ValueError, match="do not sum to zero"):
        merge(members_of(0, num=1), [{"m0": 1.0}], "linear")
