"""Laws of the element-wise merges: with U and V the identity, the papers' formulas.

The oracles are written entry by entry in float64.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_qd.factors import stacks
from lora_qd.factors.merging import merge
from tests.factors.merging.members import members_of, weights_for

seeds = st.integers(0, 100_000)
shapes = st.tuples(st.integers(1, 7), st.integers(1, 7))
densities = st.sampled_from([0.01, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0])


def rng():
    return np.random.default_rng(3)


def by_magnitude(core):
    """Indices of the entries, smallest first."""
    return np.argsort(np.abs(core).ravel(), kind="stable")


def only(core, kept):
    flat = np.zeros(core.size)
    flat[kept] = core.ravel()[kept]
    return flat.reshape(core.shape)


def dense_trim(core, density):
    return only(core, by_magnitude(core)[-max(1, round(density * core.size)) :])


def dense_election(cores, w):
    """TIES (arXiv 2306.01708, Algorithm 1) after the trim, entry by entry."""
    merged = np.zeros(cores[0].shape)
    for index in np.ndindex(*merged.shape):
        values = [weight * core[index] for weight, core in zip(w, cores, strict=True)]
        sign = np.sign(sum(values))
        agreeing = [
            (value, weight)
            for value, weight in zip(values, w, strict=True)
            if value != 0 and np.sign(value) == sign
        ]
        if agreeing:
            merged[index] = sum(v for v, _ in agreeing) / sum(u for _, u in agreeing)
    return merged


def draws(members):
    """What a random merge of one module draws for each member."""
    num, shape = len(members), members[0]["m0"].shape
    return rng().random((1, num, *shape))[0]


@settings(max_examples=30, deadline=None)
@given(seed=seeds, shape=shapes, density=densities, num=st.integers(1, 4))
def test_ties_is_the_papers_algorithm(seed, shape, density, num):
    members, w = members_of(seed, num, shape), weights_for(seed, num)
    merged = merge(members, w, "ties", density=density, gain=1.5)
    for module in merged:
        kept = [dense_trim(c[module].astype(float), density) for c in members]
        expected = 1.5 * dense_election(kept, w)
        np.testing.assert_allclose(merged[module], expected, atol=1e-5)


def test_ties_by_hand():
    members = [
        {"m": np.array([[3.0, -1.0, 0.5, 2.0]], np.float32)},
        {"m": np.array([[1.0, 4.0, -0.2, -2.5]], np.float32)},
    ]
    merged = merge(members, [1.0, 1.0], "ties", density=0.5, gain=1.0)["m"]
    np.testing.assert_allclose(merged, [[3.0, 4.0, 0.0, -2.5]])


@pytest.mark.parametrize("tenths", range(1, 11))
def test_a_density_keeps_its_share_of_entries(tenths):
    core = np.arange(1, 11, dtype=np.float32).reshape(2, 5)
    merged = merge([{"m": core}], [1.0], "ties", density=tenths / 10)["m"]
    assert np.count_nonzero(merged) == tenths


@settings(max_examples=15, deadline=None)
@given(seed=seeds, shape=shapes, density=densities)
def test_dare_is_the_papers_formula_for_its_draws(seed, shape, density):
    members, w = members_of(seed, 3, shape, modules=1), weights_for(seed, 3)
    kept = [
        np.where(draw < density, c["m0"].astype(float) / density, 0.0)
        for draw, c in zip(draws(members), members, strict=True)
    ]
    merged = merge(members, w, "dare", rng=rng(), density=density)["m0"]
    expected = np.tensordot(w, kept, axes=1)
    np.testing.assert_allclose(merged, expected, rtol=1e-5, atol=1e-5)
    merged = merge(members, w, "dare-ties", rng=rng(), density=density)["m0"]
    np.testing.assert_allclose(merged, dense_election(kept, w), rtol=1e-5, atol=1e-5)


def test_dare_keeps_the_mean_and_the_density():
    core = np.ones((200, 200), dtype=np.float32)
    merged = merge([{"m": core}], [1.0], "dare", rng=rng(), density=0.2)["m"]
    assert set(np.unique(merged)) == {0.0, 5.0}
    assert merged.mean() == pytest.approx(1.0, abs=0.05)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, shape=shapes)
def test_della_is_the_papers_formula_for_its_draws(seed, shape):
    members, w = members_of(seed, 2, shape, modules=1), weights_for(seed, 2)
    kept = []
    for draw, cores in zip(draws(members), members, strict=True):
        core = cores["m0"].astype(float)
        rank = np.empty(core.size)
        rank[by_magnitude(core)] = np.arange(core.size)
        p = 1 - 0.6 + 0.3 / 2 - 0.3 * rank.reshape(core.shape) / core.size
        kept.append(np.where(draw < 1 - p, core / (1 - p), 0.0))
    merged = merge(members, w, "della", rng=rng(), density=0.6, epsilon=0.3)["m0"]
    np.testing.assert_allclose(merged, dense_election(kept, w), rtol=1e-5, atol=1e-5)


def test_della_drops_small_entries_more_often():
    core = np.linspace(0.01, 1, 10_000, dtype=np.float32).reshape(100, 100)
    merged = merge([{"m": core}], [1.0], "della", rng=rng(), epsilon=0.6)["m"]
    halves = np.array_split((merged != 0).ravel(), 2)
    assert halves[0].mean() == pytest.approx(0.35, abs=0.03)
    assert halves[1].mean() == pytest.approx(0.65, abs=0.03)


def test_della_without_a_spread_is_dare_with_an_election():
    members = members_of(1)
    flat = merge(members, [1.0] * 3, "della", rng=rng(), density=0.4, epsilon=0.0)
    dare = merge(members, [1.0] * 3, "dare-ties", rng=rng(), density=0.4)
    for module in dare:
        np.testing.assert_array_equal(flat[module], dare[module])


@pytest.mark.parametrize(
    ("density", "message"),
    [(0.1, "epsilon 0.4; choose an epsilon below 0.2"), (1.0, "an epsilon of 0")],
)
def test_a_spread_that_leaves_no_probability_is_refused(density, message):
    with pytest.raises(ValueError, match=message):
        merge(
            members_of(0), [1.0] * 3, "della", rng=rng(), density=density, epsilon=0.4
        )


@settings(max_examples=15, deadline=None)
@given(
    seed=seeds, shape=shapes, density=densities, gamma=st.sampled_from([0, 0.1, 0.4])
)
def test_breadcrumbs_is_the_papers_mask(seed, shape, density, gamma):
    members, w = members_of(seed, 3, shape, modules=1), weights_for(seed, 3)
    kept = []
    for cores in members:
        core = cores["m0"].astype(float)
        num_top = min(round(gamma * core.size), core.size - 1)
        rest = by_magnitude(core)[: core.size - num_top]
        kept.append(only(core, rest[-max(1, round(density * core.size)) :]))
    merged = merge(members, w, "breadcrumbs", density=density, gamma=gamma)["m0"]
    np.testing.assert_allclose(merged, np.tensordot(w, kept, axes=1), atol=1e-5)


def test_breadcrumbs_drops_both_ends():
    core = np.arange(1, 101, dtype=np.float32).reshape(10, 10)
    merged = merge([{"m": core}], [1.0], "breadcrumbs", density=0.5, gamma=0.1)["m"]
    assert sorted(merged[merged != 0]) == list(range(41, 91))


@pytest.mark.parametrize("method", ["dare", "della"])
def test_how_modules_are_stacked_changes_no_draw(method, monkeypatch):
    members = members_of(2, modules=7)
    at_once = merge(members, [1.0] * 3, method, rng=rng())
    monkeypatch.setattr(stacks, "_MOST_ENTRIES", 1)
    one_by_one = merge(members, [1.0] * 3, method, rng=rng())
    for module in at_once:
        np.testing.assert_array_equal(at_once[module], one_by_one[module])


def test_no_entry_is_merged_with_a_rotation_of_the_inputs():
    # The limit of element-wise methods: their entries are those of one basis.
    members = members_of(3, num=2, shape=(5, 5), modules=1)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    turned = [{"m0": (c["m0"] @ turn).astype(np.float32)} for c in members]
    merged = merge(members, [1.0, 1.0], "ties")["m0"] @ turn
    other = merge(turned, [1.0, 1.0], "ties")["m0"]
    assert np.linalg.norm(merged - other) > 0.1 * np.linalg.norm(merged)
