"""Laws of the merges by singular vectors, against dense float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_qd.factors.merging import merge
from lora_qd.factors.merging.spectral import aligned
from lora_qd.factors.merging.sums import weighted
from tests.factors.merging.members import (
    Dense,
    assert_close,
    assert_near,
    experts_of,
    members_of,
    random_dense,
    weights_for,
)
from tests.factors.merging.test_elementwise import dense_election, dense_trim

seeds = st.integers(0, 100_000)


def dense_tsv_m(deltas, w, nums):
    """TSV-M (arXiv 2412.00081): concatenate, orthogonalise, recompose."""
    left, values, right = [], [], []
    for delta, weight, num in zip(deltas, w, nums, strict=True):
        P, S, Qt = np.linalg.svd(delta)
        left.append(P[:, :num])
        values.append(weight * S[:num])
        right.append(Qt[:num])
    return (
        dense_procrustes(np.concatenate(left, axis=1))
        @ np.diag(np.concatenate(values))
        @ dense_procrustes(np.concatenate(right, axis=0))
    )


def dense_procrustes(M):
    P, _, Qt = np.linalg.svd(M, full_matrices=False)
    return P @ Qt


def ranks_of(deltas):
    return [int(np.linalg.matrix_rank(delta)) for delta in deltas]


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_tsv_m_of_adapters_is_that_of_the_dense_deltas(seed):
    dense = random_dense(seed)
    w = weights_for(seed, len(dense.members))
    core = merge(dense.members, w, "tsv-m")["m"]
    expected = dense_tsv_m(dense.deltas, w, ranks_of(dense.deltas))
    assert_near(dense.delta(core), expected, rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_tsv_m_keeps_a_share_of_each_members_directions(seed):
    dense = Dense(experts_of(seed, [4, 2, 6], (20, 18)))
    w = weights_for(seed, 3)
    core = merge(dense.members, w, "tsv-m", share=0.5)["m"]
    expected = dense_tsv_m(dense.deltas, w, [2, 1, 3])
    assert_near(dense.delta(core), expected, rtol=1e-6)


@pytest.mark.parametrize("num", [1, 2, 3, 4])
def test_tsv_m_of_full_rank_members_gives_each_the_papers_part(num):
    members = members_of(11, num, shape=(12, 12), modules=1)
    w = weights_for(1, num)
    merged = merge(members, w, "tsv-m")["m0"]
    deltas = [c["m0"].astype(float) for c in members]
    assert_near(merged, dense_tsv_m(deltas, w, [12 // num] * num), rtol=1e-5)


def test_a_member_without_weight_takes_no_room_in_tsv_m():
    members = members_of(12, num=3, shape=(8, 8))
    with_it = merge(members, [1.0, 0.5, 0.0], "tsv-m")
    assert_close(with_it, merge(members[:2], [1.0, 0.5], "tsv-m"))


def test_tsv_m_of_one_member_twice_stays_in_its_span():
    dense = Dense(experts_of(2, [3], (10, 9)))
    (member,), (delta,) = dense.members, dense.deltas
    merged = dense.delta(merge([member, member], [1.0, 1.0], "tsv-m")["m"])
    joint = np.linalg.matrix_rank(np.hstack([merged, delta]), tol=1e-8)
    assert np.isfinite(merged).all()
    assert joint == 3


def test_tsv_m_of_orthogonal_members_is_their_sum():
    first, second = np.zeros((6, 6)), np.zeros((6, 6))
    first[:3, :3], second[3:, 3:] = np.diag([3.0, 2.0, 1.0]), np.diag([5.0, 4.0, 0.5])
    members = [{"m": core.astype(np.float32)} for core in (first, second)]
    merged = merge(members, [0.5, 2.0], "tsv-m")["m"]
    np.testing.assert_allclose(merged, 0.5 * first + 2 * second, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_iso_c_of_adapters_is_that_of_the_dense_deltas(seed):
    dense = random_dense(seed)
    w = weights_for(seed, len(dense.members))
    total = np.tensordot(w, dense.deltas, axes=1)
    rank = sum(ranks_of(dense.deltas))
    P, S, Qt = np.linalg.svd(total)
    expected = S[:rank].mean() * P[:, :rank] @ Qt[:rank]
    core = merge(dense.members, w, "iso-c")["m"]
    assert_near(dense.delta(core), expected, rtol=1e-6)


def test_iso_c_of_full_rank_members_is_the_papers_formula():
    members = members_of(9, modules=1)
    merged = merge(members, [1.0, 1.0, 1.0], "iso-c")["m0"]
    P, S, Qt = np.linalg.svd(sum(c["m0"].astype(float) for c in members), False)
    np.testing.assert_allclose(merged, S.mean() * P @ Qt, atol=1e-5)


def test_iso_c_raises_no_direction_out_of_the_noise():
    draw = np.random.default_rng(10)
    core = draw.normal(size=(6, 2)) @ draw.normal(size=(2, 5))
    noise = 3e-6 * np.linalg.norm(core) * draw.normal(size=(6, 5)) / 6
    merged = merge([{"m": (core + noise).astype(np.float32)}], [1.0], "iso-c")["m"]
    S = np.linalg.svd(merged, compute_uv=False)
    expected = np.linalg.svd(core, compute_uv=False)[:2].mean()
    np.testing.assert_allclose(S, [expected, expected, 0, 0, 0], atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_the_aligned_parts_are_those_of_the_dense_joint_svd(seed):
    dense = random_dense(seed)
    w = weights_for(seed, len(dense.members))
    P, parts = aligned(np.stack([c["m"][None] for c in dense.members]))
    joint = np.linalg.svd(np.hstack(dense.deltas), compute_uv=False)
    norms = np.linalg.norm(np.concatenate(list(parts[:, 0]), axis=-1), axis=-1)
    np.testing.assert_allclose(norms, joint[: len(norms)], atol=1e-8)
    for part, delta in zip(parts[:, 0], dense.deltas, strict=True):
        assert_near(dense.delta(P[0] @ part), delta, rtol=1e-8)
    linear = P @ weighted(parts, np.array(w)[:, None])
    expected = np.tensordot(w, dense.deltas, axes=1)
    assert_near(dense.delta(linear[0]), expected, rtol=1e-8)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, density=st.sampled_from([0.3, 0.6, 1.0]))
def test_knots_is_ties_on_the_parts_of_the_joint_svd(seed, density):
    members = members_of(seed, num=3, shape=(5, 7), modules=1)
    w = weights_for(seed, 3)
    merged = merge(members, w, "knots", density=density, gain=1.2)["m0"]
    joint = np.concatenate([c["m0"].astype(float) for c in members], axis=1)
    P, S, Qt = np.linalg.svd(joint, full_matrices=False)
    parts = [np.diag(S) @ Qt[:, 7 * k : 7 * (k + 1)] for k in range(3)]
    kept = [dense_trim(part, density) for part in parts]
    assert_near(merged, 1.2 * P @ dense_election(kept, w), rtol=1e-4)


def test_knots_without_disagreement_is_the_mean_whatever_the_coordinates():
    (member,) = members_of(7, num=1)
    merged = merge([member, member], [1.0, 1.0], "knots", density=1.0)
    assert_close(merged, member, rtol=1e-4)


@pytest.mark.parametrize("method", ["tsv-m", "iso-c", "knots"])
def test_members_of_zeros_merge_to_zeros(method):
    zeros = {"m": np.zeros((4, 3), np.float32)}
    assert not merge([zeros, zeros], [1.0, 1.0], method)["m"].any()
