"""Laws of the further forms of mutation, and of long lines of descent."""

import numpy as np
import pytest
import torch

from lora_qd.factors import CoreSpace, LowRank
from lora_qd.variation import CrossoverSettings, MutationForm, crossover, mutate


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_cores(seed, shape=(6, 5), num_modules=3):
    rng = np.random.default_rng(seed)
    return {
        f"m{i}": rng.normal(size=shape).astype(np.float32) for i in range(num_modules)
    }


def singular_factors(before, after):
    """Return what each singular direction was multiplied by."""
    P, S, Qt = np.linalg.svd(before.astype(float), full_matrices=False)
    seen = P.T @ after.astype(float) @ Qt.T
    np.testing.assert_allclose(seen, np.diag(np.diag(seen)), atol=1e-4)
    return np.diag(seen) / S


def mutated(cores, rng, form, w_max):
    return mutate(cores, cores, rng, form=form, w_max=w_max)


def test_lognormal_factors_are_positive_and_spread_by_w_max(rng):
    cores = random_cores(1, shape=(20, 20), num_modules=20)
    child = mutated(cores, rng, MutationForm.LOGNORMAL, 0.3)
    logs = np.log([singular_factors(cores[m], child[m]) for m in cores])
    assert logs.std() == pytest.approx(0.3, rel=0.1)
    assert logs.mean() == pytest.approx(0.0, abs=0.05)


def test_a_mask_drops_whole_components_and_keeps_the_others(rng):
    cores = random_cores(2, shape=(20, 20), num_modules=20)
    child = mutated(cores, rng, MutationForm.MASK, 0.25)
    kept = np.concatenate([singular_factors(cores[m], child[m]) for m in cores])
    assert np.all((np.abs(kept) < 1e-3) | (np.abs(kept - 1) < 1e-3))
    assert np.mean(kept > 0.5) == pytest.approx(0.75, abs=0.06)


@pytest.mark.parametrize("w_max", [0.05, 0.3])
def test_a_rotation_keeps_the_singular_values_and_turns_by_w_max(rng, w_max):
    cores = random_cores(3, shape=(16, 16), num_modules=10)
    child = mutated(cores, rng, MutationForm.ROTATE, w_max)
    angles = []
    for module, core in cores.items():
        P, S, _ = np.linalg.svd(core.astype(float))
        turned, after, _ = np.linalg.svd(child[module].astype(float))
        np.testing.assert_allclose(after, S, rtol=1e-4)
        angles.append(np.arccos(np.clip(np.abs(np.sum(P * turned, axis=0)), 0, 1)))
    assert np.median(angles) == pytest.approx(w_max, rel=0.3)


def test_gaussian_noise_has_the_norm_asked_for(rng):
    cores = random_cores(4)
    child = mutated(cores, rng, MutationForm.GAUSSIAN, 0.2)
    for module, core in cores.items():
        change = np.linalg.norm(child[module] - core)
        assert change == pytest.approx(0.2 * np.linalg.norm(core), rel=1e-4)


def test_zero_cores_stay_zero_in_every_form(rng):
    zeros = {"m": np.zeros((4, 4), np.float32)}
    for form in MutationForm:
        assert not mutated(zeros, rng, form, 0.3)["m"].any(), form


@pytest.mark.parametrize("form", list(MutationForm))
def test_children_stay_float32_and_finite(form, rng):
    cores = random_cores(5, shape=(3, 7))
    for module, core in mutated(cores, rng, form, 0.5).items():
        assert core.dtype == np.float32
        assert core.shape == cores[module].shape
        assert np.isfinite(core).all()


@pytest.mark.parametrize(
    ("form", "low", "high"),
    [
        (MutationForm.MULTIPLY, 0.0, 0.4),
        (MutationForm.EXPERT, 0.0, 0.4),
        (MutationForm.RELATIVE, 0.6, 1.4),
    ],
)
def test_factors_are_drawn_module_by_module_whatever_the_shapes(form, low, high):
    child = random_cores(7, (4, 6), 1) | {"x": random_cores(8, (5, 5), 1)["m0"]}
    child |= {"y": 2 * child["m0"], "z": random_cores(9, (5, 5), 1)["m0"]}
    expert = {m: core[::-1] for m, core in child.items()}
    got = mutate(child, expert, np.random.default_rng(5), form=form, w_max=0.4)
    draws = np.random.default_rng(5)
    for module, core in child.items():
        source = expert[module] if form is MutationForm.EXPERT else core
        P, S, Qt = np.linalg.svd(source.astype(float), full_matrices=False)
        expected = (P * S * draws.uniform(low, high, size=len(S))) @ Qt
        if form is MutationForm.EXPERT:
            expected += core
        np.testing.assert_allclose(got[module], expected, atol=1e-5)


@pytest.mark.parametrize("form", list(MutationForm))
def test_no_strength_changes_nothing_but_where_it_multiplies(form, rng):
    cores = random_cores(10)
    for module, core in mutated(cores, rng, form, 0.0).items():
        expected = 0 * core if form is MutationForm.MULTIPLY else cores[module]
        np.testing.assert_allclose(core, expected, atol=1e-5)


@pytest.mark.parametrize("w_max", [-0.1, float("nan"), float("inf")])
def test_a_strength_that_is_no_strength_is_refused(w_max, rng):
    with pytest.raises(ValueError, match="finite w_max >= 0.*0.1 is a usual one"):
        mutated(random_cores(6), rng, MutationForm.RELATIVE, w_max)


def test_a_probability_above_one_is_refused(rng):
    with pytest.raises(ValueError, match="at most 1 to mask, but got 1.5"):
        mutated(random_cores(6), rng, MutationForm.MASK, 1.5)


def descend(dtype, *, w_max, keep_norm, follow):
    """Breed a thousand generations beside dense float64.

    Returns each child's relative error, and the smallest gap between two singular
    values that its mutation had to tell apart, as a share of the largest one.

    Args:
        dtype: of bases and cores.
        w_max: of the mutation.
        keep_norm: of the crossover.
        follow: whether the dense line goes its own way; else each dense child is bred
            from the parents that the core space has.
    """
    rng = np.random.default_rng(11)
    experts = [
        {"m": LowRank(rng.normal(size=(30, 4)), rng.normal(size=(4, 20)))}
        for _ in range(3)
    ]
    space = CoreSpace.of(experts, dtype=dtype)
    basis = space.bases["m"]
    members = [space.project(expert) for expert in experts]
    exact = [expert["m"].B @ expert["m"].A for expert in experts]
    errors, gaps = [], []
    for step in range(1000):
        i, j = rng.choice(3, size=2, replace=False)
        if not follow:
            exact = [basis.U @ c["m"].astype(float) @ basis.V.T for c in members]
        crossing = crossover(
            [members[i], members[j]],
            np.random.default_rng(step),
            CrossoverSettings(sigma=0.2, keep_norm=keep_norm),
        )
        members[i] = mutate(
            crossing.cores,
            members[i],
            np.random.default_rng(step),
            form=MutationForm.RELATIVE,
            w_max=w_max,
        )
        exact[i], gap = dense_child(
            (exact[i], exact[j]), step, crossing.shares, w_max, keep_norm
        )
        delta = basis.U @ members[i]["m"].astype(float) @ basis.V.T
        errors.append(np.linalg.norm(delta - exact[i]) / np.linalg.norm(exact[i]))
        gaps.append(gap)
    return np.array(errors), np.array(gaps)


def dense_child(parents, step, shares, w_max, keep_norm):
    """Crossover and mutation on the dense deltas in float64, with the same draws."""
    child = shares[0] * parents[0] + shares[1] * parents[1]
    if keep_norm:
        norms = [np.linalg.norm(parent) for parent in parents]
        child *= np.average(norms, weights=np.abs(shares)) / np.linalg.norm(child)
    P, S, Qt = np.linalg.svd(child, full_matrices=False)
    w = np.random.default_rng(step).uniform(1 - w_max, 1 + w_max, size=12)
    return (P[:, :12] * (S[:12] * w)) @ Qt[:12], -np.diff(S[:12]).max() / S[0]


@pytest.mark.parametrize("keep_norm", [False, True])
def test_a_thousand_generations_do_not_drift_from_dense_float64(keep_norm):
    errors, _ = descend(torch.float64, w_max=0.1, keep_norm=keep_norm, follow=True)
    assert errors.max() < 1e-8


def test_a_thousand_crossovers_in_float32_do_not_drift():
    errors, _ = descend(torch.float32, w_max=0.0, keep_norm=True, follow=True)
    assert errors.max() < 1e-4


def test_every_one_of_a_thousand_children_in_float32_is_its_parents_dense_child():
    # Lines of descent part in float32: where two singular values nearly meet, which of
    # them gets which factor turns on the last bit, so the error goes as 1 / gap. No
    # child is less exact for that.
    errors, gaps = descend(torch.float32, w_max=0.1, keep_norm=True, follow=False)
    assert (errors * gaps).max() < np.finfo(np.float32).eps
    assert np.median(errors) < 1e-5
    assert errors[gaps > 1e-3].max() < 1e-4
