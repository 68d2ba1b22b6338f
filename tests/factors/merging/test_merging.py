"""Laws of all merging methods, against dense float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_qd.factors import CoreSpace, LowRank
from lora_qd.factors.merging import METHODS, merge

SYMMETRIC = [name for name in METHODS if not METHODS[name].is_random]
"""Those that draw give each member draws of its own."""
IDENTICAL = [name for name in METHODS if name not in ("slerp", "iso-c")]
"""Those that return a lone member with weight 1, if nothing is trimmed."""
SPECTRAL = ["linear", "task-arithmetic", "cat", "slerp", "tsv-m", "iso-c"]
"""Those that are exact for the dense deltas."""


def members_of(seed, num=3, shape=(6, 5), modules=2):
    rng = np.random.default_rng(seed)
    return [
        {f"m{i}": rng.normal(size=shape).astype(np.float32) for i in range(modules)}
        for _ in range(num)
    ]


def untrimmed(method):
    """Return parameters that leave nothing out."""
    gentle = {"density": 1.0, "share": 1.0, "gamma": 1e-9, "epsilon": 1e-9}
    return {k: gentle[k] for k in METHODS[method].parameters if k in gentle}


def rng():
    return np.random.default_rng(3)


def assert_close(first, second, rtol=1e-5):
    for module in first:
        error = np.linalg.norm(first[module] - second[module])
        assert error <= rtol * np.linalg.norm(second[module]) + 1e-7, module


@pytest.mark.parametrize("method", IDENTICAL)
def test_a_lone_member_of_weight_one_is_itself(method):
    (member,) = members_of(0, num=1)
    merged = merge([member], [1.0], method, rng=rng(), **untrimmed(method))
    assert_close(merged, member)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    num=st.integers(1, 5),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_linear_is_the_dense_weighted_mean(seed, num, shape):
    members = members_of(seed, num, shape)
    w = np.random.default_rng(seed).uniform(0.1, 2, size=num)
    merged = merge(members, list(w), "linear")
    expected = {
        m: sum(a * c[m].astype(float) for a, c in zip(w, members, strict=True))
        / w.sum()
        for m in members[0]
    }
    assert_close(merged, expected)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000), w=st.lists(st.floats(-2, 2), min_size=3, max_size=3)
)
def test_sums_associate(seed, w):
    first, second, third = members_of(seed)
    sums = "task-arithmetic"
    at_once = merge([first, second, third], w, sums)
    pair = merge([first, second], w[:2], sums)
    assert_close(merge([pair, third], [1.0, w[2]], sums), at_once, rtol=1e-4)


@pytest.mark.parametrize("method", SYMMETRIC)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), w=st.tuples(st.floats(0.1, 2), st.floats(0.1, 2)))
def test_the_order_of_the_members_changes_nothing(method, seed, w):
    first, second = members_of(seed, num=2)
    forth = merge([first, second], w, method)
    back = merge([second, first], w[::-1], method)
    assert_close(forth, back, rtol=1e-4)


@pytest.mark.parametrize("method", SPECTRAL)
def test_spectral_methods_are_exact_for_dense_deltas(method):
    draw = np.random.default_rng(4)
    experts = [
        {"m": LowRank(draw.normal(size=(30, r)), draw.normal(size=(r, 20)))}
        for r in (3, 3)
    ]
    space = CoreSpace.of(experts)
    merged = merge([space.project(e) for e in experts], [0.6, 0.7], method)
    basis = space.bases["m"]
    got = basis.U @ merged["m"].astype(float) @ basis.V.T
    dense = [{"m": e["m"].B @ e["m"].A} for e in experts]
    expected = merge(dense, [0.6, 0.7], method)["m"]
    assert np.linalg.norm(got - expected) <= 1e-4 * np.linalg.norm(expected)


def test_the_arc_keeps_the_norm_of_members_of_one_norm():
    first, second = members_of(5, num=2, modules=1)
    unit = [{"m0": c["m0"] / np.linalg.norm(c["m0"])} for c in (first, second)]
    for t in (0.0, 0.3, 0.5, 1.0):
        merged = merge(unit, [1 - t, t], "slerp")
        assert np.linalg.norm(merged["m0"]) == pytest.approx(1.0, abs=1e-6)
    assert_close(merge(unit, [1.0, 0.0], "slerp"), unit[0])


@pytest.mark.parametrize("factor", [2.0, -1.0, 0.0])
def test_the_arc_between_parallel_members_is_a_line(factor):
    (member,) = members_of(6, num=1)
    other = {m: factor * c for m, c in member.items()}
    merged = merge([member, other], [0.5, 0.5], "slerp")
    assert_close(merged, {m: (1 + factor) / 2 * c for m, c in member.items()})


def dense_ties(cores, w, density, scale):
    """TIES (arXiv 2306.01708, Algorithm 1), entry by entry in float64."""
    trimmed = []
    for core in cores:
        num_dropped = core.size - round(density * core.size)
        kept = core.astype(float).copy()
        order = np.argsort(np.abs(core).ravel(), kind="stable")
        kept.ravel()[order[:num_dropped]] = 0.0
        trimmed.append(kept)
    merged = np.zeros(cores[0].shape)
    for index in np.ndindex(*merged.shape):
        values = [weight * t[index] for weight, t in zip(w, trimmed, strict=True)]
        sign = np.sign(sum(values))
        agreeing = [
            (value, weight)
            for value, weight in zip(values, w, strict=True)
            if value != 0 and np.sign(value) == sign
        ]
        if agreeing:
            merged[index] = sum(v for v, _ in agreeing) / sum(u for _, u in agreeing)
    return scale * merged


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    density=st.sampled_from([0.1, 0.2, 0.5, 0.8, 1.0]),
    num=st.integers(1, 4),
)
def test_ties_is_the_papers_algorithm(seed, density, num):
    members = members_of(seed, num, shape=(5, 4))
    w = [1.0, 0.7, 1.3, 0.4][:num]
    merged = merge(members, w, "ties", density=density, scale=1.5)
    for module in merged:
        expected = dense_ties([c[module] for c in members], w, density, 1.5)
        np.testing.assert_allclose(merged[module], expected, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_knots_is_ties_on_the_parts_of_the_joint_svd(seed):
    members = members_of(seed, num=3, shape=(5, 7), modules=1)
    w = [1.0, 0.5, 0.8]
    merged = merge(members, w, "knots", density=0.6, scale=1.0)["m0"]
    joint = np.concatenate([c["m0"].astype(float) for c in members], axis=1)
    P, S, Qt = np.linalg.svd(joint, full_matrices=False)
    parts = [np.diag(S) @ Qt[:, 7 * k : 7 * (k + 1)] for k in range(3)]
    np.testing.assert_allclose(merged, P @ dense_ties(parts, w, 0.6, 1.0), atol=1e-4)


def test_knots_without_disagreement_is_the_mean_whatever_the_coordinates():
    (member,) = members_of(7, num=1)
    merged = merge([member, member], [1.0, 1.0], "knots", density=1.0)
    assert_close(merged, member, rtol=1e-4)


def test_dare_keeps_the_mean_and_the_density():
    core = np.ones((200, 200), dtype=np.float32)
    merged = merge([{"m": core}], [1.0], "dare", rng=rng(), density=0.2)["m"]
    assert set(np.unique(merged)) == {0.0, 5.0}
    assert merged.mean() == pytest.approx(1.0, abs=0.05)


def test_dare_is_the_papers_formula_for_its_draws():
    members = members_of(8, modules=1)
    w = [0.5, 1.0, 0.2]
    merged = merge(members, w, "dare", rng=rng(), density=0.4)["m0"]
    mask = rng().random((3, 1, 6, 5))[:, 0] < 0.4
    expected = sum(
        weight * kept * member["m0"].astype(float) / 0.4
        for weight, kept, member in zip(w, mask, members, strict=True)
    )
    np.testing.assert_allclose(merged, expected, atol=1e-5)


def test_della_drops_small_entries_more_often():
    core = np.linspace(0.01, 1, 10_000, dtype=np.float32).reshape(100, 100)
    merged = merge([{"m": core}], [1.0], "della", rng=rng(), density=0.5, epsilon=0.6)[
        "m"
    ]
    halves = np.array_split((merged != 0).ravel(), 2)
    assert halves[0].mean() == pytest.approx(0.35, abs=0.03)
    assert halves[1].mean() == pytest.approx(0.65, abs=0.03)


def test_breadcrumbs_drops_both_ends():
    core = np.arange(1, 101, dtype=np.float32).reshape(10, 10)
    merged = merge([{"m": core}], [1.0], "breadcrumbs", density=0.5, gamma=0.1)["m"]
    kept = sorted(merged[merged != 0])
    assert kept == list(range(41, 91))


def test_iso_c_has_one_singular_value_the_mean():
    members = members_of(9, modules=1)
    merged = merge(members, [1.0, 1.0, 1.0], "iso-c")["m0"]
    total = sum(c["m0"].astype(float) for c in members)
    P, S, Qt = np.linalg.svd(total, full_matrices=False)
    np.testing.assert_allclose(merged, S.mean() * P @ Qt, atol=1e-5)


def test_iso_c_of_a_low_rank_sum_flattens_the_rank_that_is_there():
    draw = np.random.default_rng(10)
    core = (draw.normal(size=(6, 2)) @ draw.normal(size=(2, 5))).astype(np.float32)
    merged = merge([{"m": core}], [1.0], "iso-c")["m"]
    S = np.linalg.svd(merged, compute_uv=False)
    expected = np.linalg.svd(core, compute_uv=False)[:2].mean()
    np.testing.assert_allclose(S, [expected, expected, 0, 0, 0], atol=1e-5)


def test_tsv_m_is_the_papers_formula():
    members = members_of(11, num=2, shape=(8, 8), modules=1)
    merged = merge(members, [1.0, 0.5], "tsv-m", share=0.5)["m0"]
    left, values, right = [], [], []
    for weight, member in zip([1.0, 0.5], members, strict=True):
        P, S, Qt = np.linalg.svd(member["m0"].astype(float))
        left.append(P[:, :4])
        values.append(weight * S[:4])
        right.append(Qt[:4])
    P, _, Qt = np.linalg.svd(np.concatenate(left, axis=1), full_matrices=False)
    L, _, Rt = np.linalg.svd(np.concatenate(right, axis=0), full_matrices=False)
    expected = (P @ Qt) @ np.diag(np.concatenate(values)) @ (L @ Rt)
    np.testing.assert_allclose(merged, expected, atol=1e-4)


def test_weights_by_pattern_name_layers_kinds_and_the_rest():
    names = ["layers.0.q", "layers.0.mlp", "layers.1.q", "layers.1.mlp"]
    members = [dict.fromkeys(names, np.ones((2, 2), np.float32))]
    weights = {r"layers\.0\.": 0.3, "mlp": 0.6, "": 1.0}
    merged = merge(members, [weights], "task-arithmetic")
    assert [float(merged[n][0, 0]) for n in names] == pytest.approx([0.3, 0.3, 1, 0.6])


def test_a_module_that_no_pattern_matches_has_weight_zero():
    merged = merge(members_of(12, num=1), [{"m0": 1.0}], "task-arithmetic")
    assert not merged["m1"].any()


def test_modules_of_different_shapes_keep_their_order_and_values():
    a, b = np.ones((2, 3), np.float32), np.ones((4, 4), np.float32)
    merged = merge([{"x": a, "y": b, "z": 2 * a}], [0.5], "task-arithmetic")
    assert list(merged) == ["x", "y", "z"]
    assert [float(c[0, 0]) for c in merged.values()] == [0.5, 0.5, 1.0]


@pytest.mark.parametrize("method", [n for n in METHODS if METHODS[n].is_random])
def test_equal_generators_give_equal_merges(method):
    members = members_of(13)
    first, second = (merge(members, [1.0] * 3, method, rng=rng()) for _ in range(2))
    for module in first:
        np.testing.assert_array_equal(first[module], second[module])


@pytest.mark.parametrize("method", METHODS)
def test_cores_stay_float32_and_keep_their_shapes(method):
    members = members_of(14, num=2)
    merged = merge(members, [0.5, 0.5], method, rng=rng())
    for module, core in merged.items():
        assert core.dtype == np.float32
        assert core.shape == members[0][module].shape


@pytest.mark.parametrize(
    ("weights", "method", "options", "message"),
    [
        ([1.0], "linear", {}, "one weight per member"),
        ([1.0, -1.0], "linear", {}, "do not sum to zero.*task-arithmetic"),
        ([1.0, -1.0], "slerp", {}, "do not sum to zero"),
        ([1.0, float("nan")], "linear", {}, "finite weights"),
        ([1.0, {"(": 1.0}], "linear", {}, "regular expressions"),
        ([1.0, 1.0], "tie", {}, "method out of linear, .*'tie'"),
        ([1.0, 1.0], "linear", {"density": 0.5}, r"linear takes \(none\).*density"),
        ([1.0, 1.0], "ties", {"density": 0.0}, r"density in \(0, 1\], but got 0"),
        ([1.0, 1.0], "ties", {"density": float("nan")}, "density in"),
        ([1.0, 1.0], "tsv-m", {"share": 1.5}, r"share in \(0, 1\], but got 1.5"),
    ],
)
def test_bad_input_is_refused(weights, method, options, message):
    with pytest.raises(ValueError, match=message):
        merge(members_of(0, num=2), weights, method, rng=rng(), **options)


def test_slerp_of_three_is_refused():
    with pytest.raises(ValueError, match="two adapters for slerp, but got 3"):
        merge(members_of(0), [1.0] * 3, "slerp")


def test_a_random_method_without_generator_is_refused():
    with pytest.raises(ValueError, match="expected an rng for dare"):
        merge(members_of(0), [1.0] * 3, "dare")


def test_nothing_is_not_merged():
    with pytest.raises(ValueError, match="at least one member"):
        merge([], [], "linear")
