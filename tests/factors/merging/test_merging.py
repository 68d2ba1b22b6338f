"""Laws that all merging methods share, weights by module, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_qd.factors.merging import METHODS, merge
from tests.factors.merging.members import assert_close, members_of

SYMMETRIC = [name for name in METHODS if not METHODS[name].is_random]
"""Those that draw give each member draws of its own."""
IDENTICAL = [name for name in METHODS if name not in ("slerp", "iso-c")]
"""Those that return a lone member with weight 1, if nothing is trimmed: slerp takes two
and Iso-C changes the spectrum."""
NORMALISED = ["linear", "slerp", "ties", "dare-ties", "della", "knots"]
"""Those that only the weights' proportions matter to."""


def untrimmed(method):
    """Return parameters that leave nothing out."""
    gentle = {"density": 1.0, "share": 1.0, "gamma": 0.0, "epsilon": 0.0}
    return {k: gentle[k] for k in METHODS[method].parameters if k in gentle}


def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("method", IDENTICAL)
def test_a_lone_member_of_weight_one_is_itself(method):
    (member,) = members_of(0, num=1)
    merged = merge([member], [1.0], method, rng=rng(), **untrimmed(method))
    assert_close(merged, member)


@pytest.mark.parametrize("method", NORMALISED)
def test_two_copies_of_a_member_merge_to_itself_where_weights_are_proportions(method):
    (member,) = members_of(0, num=1)
    options = untrimmed(method)
    merged = merge([member, member], [0.8, 2.4], method, rng=rng(), **options)
    assert_close(merged, member)


@pytest.mark.parametrize("method", SYMMETRIC)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), w=st.tuples(st.floats(0.1, 2), st.floats(0.1, 2)))
def test_the_order_of_the_members_changes_nothing(method, seed, w):
    first, second = members_of(seed, num=2)
    forth = merge([first, second], w, method)
    back = merge([second, first], w[::-1], method)
    assert_close(forth, back)


@pytest.mark.parametrize("method", METHODS)
def test_merging_changes_no_member_and_keeps_kind_and_shape(method):
    members = members_of(14, num=2)
    before = [{m: core.copy() for m, core in cores.items()} for cores in members]
    merged = merge(members, [0.5, 0.5], method, rng=rng())
    for module, core in merged.items():
        assert core.dtype == np.float32
        assert core.shape == members[0][module].shape
        for cores, old in zip(members, before, strict=True):
            np.testing.assert_array_equal(cores[module], old[module])


@pytest.mark.parametrize("method", [n for n in METHODS if METHODS[n].is_random])
def test_equal_generators_give_equal_merges(method):
    members = members_of(13)
    first, second = (merge(members, [1.0] * 3, method, rng=rng()) for _ in range(2))
    for module in first:
        np.testing.assert_array_equal(first[module], second[module])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_says_what_it_does_and_admits_its_defaults(method):
    assert 10 < len(METHODS[method].summary) < 60
    for name, parameter in METHODS[method].parameters.items():
        assert parameter.admits(parameter.default), name
        assert not parameter.admits(float("nan")), name


def test_weights_by_pattern_name_layers_kinds_and_the_rest():
    names = ["layers.0.q", "layers.0.mlp", "layers.1.q", "layers.1.mlp"]
    members = [dict.fromkeys(names, np.ones((2, 2), np.float32))]
    weights = {r"layers\.0\.": 0.3, "mlp": 0.6, "": 1.0}
    merged = merge(members, [weights], "task-arithmetic")
    assert [float(merged[n][0, 0]) for n in names] == pytest.approx([0.3, 0.3, 1, 0.6])


@pytest.mark.parametrize("method", METHODS)
def test_weights_by_module_are_the_merges_of_single_modules(method):
    members = members_of(15, num=2)
    options = untrimmed(method)  # without draws, which follow the modules
    weights = [{"m0": 0.4, "m1": 1.1}, 0.7]
    merged = merge(members, weights, method, rng=rng(), **options)
    for module, first in {"m0": 0.4, "m1": 1.1}.items():
        alone = [{module: cores[module]} for cores in members]
        expected = merge(alone, [first, 0.7], method, rng=rng(), **options)
        assert_close(merged, expected)


def test_a_module_that_no_pattern_matches_has_weight_zero():
    merged = merge(members_of(12, num=1), [{"m0": 1.0}], "task-arithmetic")
    assert merged["m0"].any()
    assert not merged["m1"].any()


def test_modules_of_different_shapes_keep_their_order_and_values():
    a, b = np.ones((2, 3), np.float32), np.ones((4, 4), np.float32)
    merged = merge([{"x": a, "y": b, "z": 2 * a}], [0.5], "task-arithmetic")
    assert list(merged) == ["x", "y", "z"]
    assert [float(c[0, 0]) for c in merged.values()] == [0.5, 0.5, 1.0]


@pytest.mark.parametrize(
    ("weights", "method", "options", "message"),
    [
        ([1.0], "linear", {}, "one weight per member"),
        ([1.0, float("nan")], "linear", {}, "finite weights.*leave out a member"),
        ([1.0, {"(": 1.0}], "linear", {}, "regular expressions.*backslash"),
        ([1.0, {"mlp": 1.0}], "linear", {}, "'mlp' matches none of 2.*like 'm0'"),
        ([1.0, 1.0], "tie", {}, "method out of linear, .*'tie'"),
        ([1.0, 1.0], "linear", {"density": 0.5}, r"linear takes \(none\).*density"),
        ([1.0, 1.0], "ties", {"density": 0.0}, r"density in \(0, 1\], but got 0"),
        ([1.0, 1.0], "ties", {"density": float("nan")}, "density in"),
        ([1.0, 1.0], "ties", {"gain": -1.0}, r"gain in \(0, 100\]"),
        ([1.0, 1.0], "tsv-m", {"share": 1.5}, r"share in \(0, 1\], but got 1.5"),
        ([1.0, 1.0], "breadcrumbs", {"gamma": -0.1}, r"gamma in \[0, 0.5\]"),
    ],
)
def test_bad_input_is_refused(weights, method, options, message):
    with pytest.raises(ValueError, match=message):
        merge(members_of(0, num=2), weights, method, rng=rng(), **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"m1": None}, "only one of members 1 and 2 has 'm1'; project"),
        ({"m7": np.zeros((6, 5))}, "only one of members 1 and 2 has 'm7'"),
        ({"m1": np.zeros((2, 5))}, r"'m1' has cores \(6, 5\) and \(2, 5\)"),
        ({"m1": np.full((6, 5), np.nan)}, "'m1' of member 2 holds NaN or inf"),
        ({"m1": np.full((6, 5), np.inf)}, "'m1' of member 2 holds NaN or inf"),
    ],
)
def test_members_that_do_not_fit_together_are_refused(change, message):
    first, second = members_of(0, num=2)
    second = {m: c for m, c in (second | change).items() if c is not None}
    with pytest.raises(ValueError, match=message):
        merge([first, second], [1.0, 1.0], "linear")


def test_a_random_method_without_generator_is_refused():
    with pytest.raises(ValueError, match="expected an rng for dare"):
        merge(members_of(0), [1.0] * 3, "dare")


def test_nothing_is_not_merged():
    with pytest.raises(ValueError, match="at least one member"):
        merge([], [], "linear")
