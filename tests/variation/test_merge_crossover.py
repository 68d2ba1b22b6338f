"""Laws of crossover by merging methods."""

import numpy as np
import pytest

from lora_qd.factors.merging import METHODS, merge
from lora_qd.variation import CrossoverSettings, crossover
from lora_qd.variation.crossover import Granularity


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
def test_the_papers_crossover_is_the_linear_merge(keep_norm):
    parents = parents_of(1, num=3)
    settings = CrossoverSettings(sigma=0.4, gain_sigma=0.2, keep_norm=keep_norm)
    child = crossover(parents, rng(), settings)
    merged = merge(parents, child.shares, "linear")
    for module, core in merged.items():
        length = child.gain
        if keep_norm:
            wanted = [np.linalg.norm(parent[module]) for parent in parents]
            length *= np.average(wanted, weights=np.abs(child.shares))
            length /= np.linalg.norm(core)
        np.testing.assert_allclose(child.cores[module], length * core, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_breeds_a_child_as_long_as_its_parents(method):
    parents = parents_of(2)
    child = crossover(
        parents, rng(), CrossoverSettings(method=method, sigma=0.1, keep_norm=True)
    )
    assert np.all(norms(child.cores) <= 1.001 * np.maximum(*map(norms, parents)))
    assert np.all(norms(child.cores) >= 0.999 * np.minimum(*map(norms, parents)))


def test_the_child_is_the_merge_with_the_shares_that_were_drawn():
    parents = parents_of(3)
    child = crossover(
        parents, rng(), CrossoverSettings(method="ties", sigma=0.3, gain_sigma=0.1)
    )
    merged = merge(parents, child.shares, "ties")
    for module, core in merged.items():
        np.testing.assert_allclose(child.cores[module], child.gain * core, rtol=1e-5)


def test_equal_generators_give_equal_children():
    first, second = (
        crossover(parents_of(4), rng(), CrossoverSettings(method="dare", sigma=0.3))
        for _ in range(2)
    )
    for module in first.cores:
        np.testing.assert_array_equal(first.cores[module], second.cores[module])


def test_negative_spreads_are_refused():
    with pytest.raises(ValueError, match="sigma >= 0 and gain_sigma >= 0"):
        crossover(parents_of(5), rng(), CrossoverSettings(method="ties", sigma=-1))


def test_what_the_method_refuses_is_refused():
    with pytest.raises(ValueError, match="two adapters for slerp"):
        crossover(
            parents_of(6, num=3), rng(), CrossoverSettings(method="slerp", sigma=0.1)
        )


def test_modules_that_draw_for_another_method_are_refused():
    with pytest.raises(ValueError, match="'module' is for 'linear' only"):
        CrossoverSettings(sigma=0.1, method="ties", granularity=Granularity.MODULE)
