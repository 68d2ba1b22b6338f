"""Laws of the core space, against dense float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_qd.factors import CoreSpace, LowRank, norm, svd, weighted_sum


def random_experts(seed, *, num=3, shape=(40, 30), ranks=(4, 6, 3), modules=2):
    rng = np.random.default_rng(seed)
    return [
        {
            f"layer.{m}": LowRank(
                rng.normal(size=(shape[0], rank)),
                rng.normal(size=(rank, shape[1])),
                scaling=float(rng.uniform(0.2, 3.0)),
            )
            for m in range(modules)
        }
        for rank in ranks[:num]
    ]


def dense(update):
    return update.scaling * update.B.astype(np.float64) @ update.A.astype(np.float64)


def dense_of(space, cores, module):
    basis = space.bases[module]
    return basis.U @ cores[module].astype(np.float64) @ basis.V.T


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    ranks=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    shape=st.tuples(st.integers(8, 60), st.integers(8, 60)),
)
def test_an_experts_cores_give_back_its_dense_delta(seed, ranks, shape):
    experts = random_experts(seed, num=len(ranks), shape=shape, ranks=tuple(ranks))
    space = CoreSpace.of(experts)
    for expert in experts:
        cores = space.project(expert)
        for module, update in expert.items():
            expected = dense(update)
            error = np.linalg.norm(dense_of(space, cores, module) - expected)
            assert error <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float32, 1e-6), (torch.float64, 1e-12)]
)
def test_bases_are_orthonormal(dtype, atol):
    space = CoreSpace.of(random_experts(0), dtype=dtype)
    for basis in space.bases.values():
        for Q in (basis.U, basis.V):
            np.testing.assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=atol)


def test_a_linear_merge_of_cores_is_the_linear_merge_of_deltas():
    experts = random_experts(1)
    space = CoreSpace.of(experts)
    weights = [0.7, -0.4, 1.3]
    merged = weighted_sum([space.project(e) for e in experts], weights)
    for module in space.bases:
        expected = sum(
            w * dense(e[module]) for w, e in zip(weights, experts, strict=True)
        )
        np.testing.assert_allclose(dense_of(space, merged, module), expected, atol=1e-4)


def test_a_module_that_an_expert_lacks_is_zero():
    first, second, _ = random_experts(2)
    del second["layer.1"]
    space = CoreSpace.of([first, second])
    assert np.all(space.project(second)["layer.1"] == 0)


def test_a_weak_expert_is_not_dropped_beside_a_strong_one():
    strong, weak, _ = random_experts(3)
    weak = {m: LowRank(u.B * 1e-9, u.A, u.scaling) for m, u in weak.items()}
    space = CoreSpace.of([strong, weak])
    cores = space.project(weak)
    expected = dense(weak["layer.0"])
    error = np.linalg.norm(dense_of(space, cores, "layer.0") - expected)
    assert error <= 1e-5 * np.linalg.norm(expected)


def test_shared_directions_are_counted_once():
    first = random_experts(4, num=1)[0]
    space = CoreSpace.of([first, first, first])
    assert space.largest_rank == 4


def test_exact_materialisation_gives_back_the_delta_with_scaling_one():
    experts = random_experts(5)
    space = CoreSpace.of(experts)
    cores = weighted_sum([space.project(e) for e in experts], [0.5, 0.5, 0.5])
    result = space.materialise(cores)
    assert result.dropped_energy == pytest.approx(0, abs=1e-9)
    for module, update in result.task_vector.items():
        assert update.scaling == 1.0
        np.testing.assert_allclose(
            dense(update), dense_of(space, cores, module), atol=1e-4
        )


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_truncation_is_the_dense_truncated_svd_and_reports_its_loss(rank):
    experts = random_experts(6, modules=1)
    space = CoreSpace.of(experts)
    cores = weighted_sum([space.project(e) for e in experts], [1.0, 1.0, 1.0])
    result = space.materialise(cores, rank=rank)
    full = dense_of(space, cores, "layer.0")
    P, S, Qt = np.linalg.svd(full)
    best = (P[:, :rank] * S[:rank]) @ Qt[:rank]
    np.testing.assert_allclose(dense(result.task_vector["layer.0"]), best, atol=1e-4)
    assert result.dropped_energy == pytest.approx(
        np.sum(S[rank:] ** 2) / np.sum(S**2), rel=1e-4
    )
    assert result.task_vector["layer.0"].rank == rank


def test_the_core_svd_holds_the_dense_singular_values():
    experts = random_experts(7, modules=1)
    space = CoreSpace.of(experts)
    cores = space.project(experts[0])
    expected = np.linalg.svd(dense(experts[0]["layer.0"]), compute_uv=False)
    S = svd(cores["layer.0"]).S
    np.testing.assert_allclose(S[:4], expected[:4], rtol=1e-5)
    assert norm(cores) == pytest.approx(np.linalg.norm(expected), rel=1e-5)


def test_the_zero_task_vector_materialises_without_loss():
    expert = random_experts(8, num=1)[0]
    space = CoreSpace.of([expert])
    zero = weighted_sum([space.project(expert)], [0.0])
    assert space.materialise(zero, rank=2).dropped_energy == 0.0


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    ranks=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    shape=st.tuples(st.integers(8, 40), st.integers(8, 40)),
)
def test_a_late_expert_changes_no_older_members_delta(seed, ranks, shape):
    *early, late = random_experts(seed, num=len(ranks), shape=shape, ranks=tuple(ranks))
    early = [dict(e) for e in early]
    late["layer.new"] = late["layer.0"]
    space = CoreSpace.of(early)
    member = weighted_sum([space.project(e) for e in early], [0.5] * len(early))
    wider = space.extend(late)
    padded = wider.pad(member)
    for module in space.bases:
        np.testing.assert_allclose(
            dense_of(wider, padded, module), dense_of(space, member, module), atol=1e-12
        )
    assert np.all(padded["layer.new"] == 0)
    cores = wider.project(late)
    for module, update in late.items():
        error = np.linalg.norm(dense_of(wider, cores, module) - dense(update))
        assert error <= 1e-5 * np.linalg.norm(dense(update))
    for basis in wider.bases.values():
        np.testing.assert_allclose(
            basis.U.T @ basis.U, np.eye(basis.U.shape[1]), atol=1e-5
        )


def test_an_expert_that_lies_in_the_space_does_not_widen_it():
    experts = random_experts(20)
    space = CoreSpace.of(experts)
    assert space.extend(experts[1]).largest_rank == space.largest_rank


def test_the_residual_is_the_share_of_the_delta_outside_the_space():
    *inside, foreign = random_experts(21, modules=1)
    space = CoreSpace.of(inside)
    assert space.residual(inside[0]) == pytest.approx(0, abs=1e-6)
    delta = dense(foreign["layer.0"])
    basis = space.bases["layer.0"]
    nearest = basis.U @ (basis.U.T @ delta @ basis.V) @ basis.V.T
    expected = np.sum((delta - nearest) ** 2) / np.sum(delta**2)
    assert space.residual(foreign) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(
        dense_of(space, space.project(foreign), "layer.0"), nearest, atol=1e-4
    )


def test_a_module_unknown_to_the_space_lies_outside():
    expert = random_experts(22, num=1)[0]
    space = CoreSpace.of([{"layer.0": expert["layer.0"]}])
    norms = {m: np.sum(dense(u) ** 2) for m, u in expert.items()}
    expected = norms["layer.1"] / sum(norms.values())
    assert space.residual(expert) == pytest.approx(expected, rel=1e-4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.permutations(range(3)))
def test_the_order_of_the_experts_changes_no_delta(seed, order):
    experts = random_experts(seed)
    member = {}
    for indices in (range(3), order):
        space = CoreSpace.of([experts[i] for i in indices])
        cores = weighted_sum([space.project(e) for e in experts], [0.3, 0.9, -0.4])
        member[tuple(indices)] = dense_of(space, cores, "layer.0")
    first, second = member[0, 1, 2], member[tuple(order)]
    assert np.linalg.norm(first - second) <= 1e-5 * np.linalg.norm(first)


def test_modules_of_many_shapes_are_truncated_each_on_its_own():
    experts = random_experts(23, modules=2)
    wide = random_experts(24, shape=(9, 50), modules=1)
    experts = [{**e, "wide": w["layer.0"]} for e, w in zip(experts, wide, strict=True)]
    space = CoreSpace.of(experts)
    cores = weighted_sum([space.project(e) for e in experts], [1.0, 1.0, 1.0])
    result = space.materialise(cores, rank=2)
    for module, update in result.task_vector.items():
        full = dense_of(space, cores, module)
        P, S, Qt = np.linalg.svd(full)
        np.testing.assert_allclose(
            dense(update), (P[:, :2] * S[:2]) @ Qt[:2], atol=1e-4
        )
        assert result.dropped_by_module[module] == pytest.approx(
            np.sum(S[2:] ** 2) / np.sum(S**2), rel=1e-4
        )


@pytest.mark.parametrize("shape", [(9, 50), (50, 9)])
def test_exact_materialisation_takes_the_smaller_side_as_rank(shape):
    experts = random_experts(25, shape=shape, ranks=(6, 6, 6), modules=1)
    space = CoreSpace.of(experts)
    update = space.materialise(space.project(experts[0])).task_vector["layer.0"]
    assert update.rank == 9
    np.testing.assert_allclose(dense(update), dense(experts[0]["layer.0"]), atol=1e-4)


def test_no_experts_are_refused():
    with pytest.raises(ValueError, match="at least one expert"):
        CoreSpace.of([])


def test_two_shapes_of_one_module_are_refused():
    first = random_experts(9, num=1)[0]
    second = random_experts(9, num=1, shape=(41, 30))[0]
    with pytest.raises(ValueError, match=r"one shape of 'layer.0'.*one base model"):
        CoreSpace.of([first, second])


def test_a_foreign_module_is_refused():
    experts = random_experts(10)
    space = CoreSpace.of(experts)
    with pytest.raises(ValueError, match="'other', which no expert has"):
        space.project({"other": experts[0]["layer.0"]})


def test_a_foreign_shape_is_refused():
    space = CoreSpace.of(random_experts(11))
    other = random_experts(11, shape=(12, 30))[0]
    with pytest.raises(ValueError, match=r"expected a \(40, 30\) update.*\(12, 30\)"):
        space.project(other)


@pytest.mark.parametrize("rank", [0, -3])
def test_a_rank_below_one_is_refused(rank):
    space = CoreSpace.of(random_experts(12))
    with pytest.raises(ValueError, match="rank of at least 1"):
        space.materialise({}, rank=rank)


@pytest.mark.parametrize(
    ("B", "A", "scaling", "message"),
    [
        (
            np.zeros((4, 2)),
            np.zeros((3, 5)),
            1.0,
            r"one rank.*B \(4, 2\) and A \(3, 5\)",
        ),
        (np.zeros(4), np.zeros((3, 5)), 1.0, "one rank"),
        (np.full((4, 2), np.nan), np.zeros((2, 5)), 1.0, "NaN or inf"),
        (np.zeros((4, 2)), np.full((2, 5), np.inf), 1.0, "NaN or inf"),
        (np.zeros((4, 2)), np.zeros((2, 5)), float("nan"), "finite scaling"),
    ],
)
def test_broken_factors_are_refused(B, A, scaling, message):
    with pytest.raises(ValueError, match=message):
        LowRank(B, A, scaling)


@pytest.mark.gpu
def test_a_graphics_card_gives_the_deltas_of_the_processor():
    experts = random_experts(30)
    deltas = []
    for device in ("cpu", "cuda"):
        space = CoreSpace.of(experts, device=device)
        cores = weighted_sum([space.project(e) for e in experts], [0.5, 0.7, 0.2])
        result = space.materialise(cores, rank=5)
        deltas.append(dense(result.task_vector["layer.0"]))
    error = np.linalg.norm(deltas[0] - deltas[1])
    assert error <= 1e-4 * np.linalg.norm(deltas[0])
