"""Laws of crossover by merging methods."""

import numpy as np
import pytest

from lora_qd.factors.merging import METHODS, merge
from lora_qd.variation import crossover, merge_crossover


def parents_of(seed, num=2):
    rng = np.random.default_rng(seed)
    return [
        {f"m{i}": rng.normal(size=(6, 5)).astype(np.float32) for i in range(3)}
        for _ in range(num)
    ]


def rng():
    return np.random.default_rng(7)


def norms(cores):
    return np.array([np.linalg.norm(core) for core in cores.values()])


@pytest.mark.parametrize("keep_norm", [False, True])
def test_the_linear_method_is_the_papers_crossover(keep_norm):
    options = {"sigma": 0.4, "gain_sigma": 0.2, "keep_norm": keep_norm}
    one = merge_crossover(parents_of(1, num=3), rng(), method="linear", **options)
    other = crossover(parents_of(1, num=3), rng(), **options)
    assert one.shares == pytest.approx(other.shares)
    assert one.gain == other.gain
    for module in one.cores:
        np.testing.assert_allclose(one.cores[module], other.cores[module], rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_breeds_a_child_as_long_as_its_parents(method):
    parents = parents_of(2)
    child = merge_crossover(parents, rng(), method=method, sigma=0.1, keep_norm=True)
    assert np.all(norms(child.cores) <= 1.001 * np.maximum(*map(norms, parents)))
    assert np.all(norms(child.cores) >= 0.999 * np.minimum(*map(norms, parents)))


def test_the_child_is_the_merge_with_the_shares_that_were_drawn():
    parents = parents_of(3)
    child = merge_crossover(parents, rng(), method="ties", sigma=0.3, gain_sigma=0.1)
    merged = merge(parents, child.shares, "ties")
    for module, core in merged.items():
        np.testing.assert_allclose(child.cores[module], child.gain * core, rtol=1e-5)


def test_equal_generators_give_equal_children():
    first, second = (
        merge_crossover(parents_of(4), rng(), method="dare", sigma=0.3)
        for _ in range(2)
    )
    for module in first.cores:
        np.testing.assert_array_equal(first.cores[module], second.cores[module])


def test_negative_spreads_are_refused():
    with pytest.raises(ValueError, match="sigma >= 0 and gain_sigma >= 0"):
        merge_crossover(parents_of(5), rng(), method="ties", sigma=-1)


def test_what_the_method_refuses_is_refused():
    with pytest.raises(ValueError, match="two adapters for slerp"):
        merge_crossover(parents_of(6, num=3), rng(), method="slerp", sigma=0.1)
