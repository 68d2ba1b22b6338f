"""Laws of selection, crossover, mutation and aggregation, against dense float64."""

import numpy as np
import pytest

from lora_qd.archive import Elite
from lora_qd.factors import CoreSpace, LowRank, norm, scaled
from lora_qd.variation import (
    CrossoverSettings,
    MutationForm,
    SelectionForm,
    aggregate,
    crossover,
    elite_probabilities,
    mutate,
    sample_elites,
    softmax_weights,
    tilt,
)
from lora_qd.variation.crossover import Granularity


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_cores(seed, num_modules=3, rank=5):
    rng = np.random.default_rng(seed)
    return {
        f"m{i}": rng.normal(size=(rank, rank)).astype(np.float32)
        for i in range(num_modules)
    }


def elite(objective, *measures, index=None):
    return Elite(f"{objective}{measures}", objective, measures, index or (0, 0))


def test_the_papers_probabilities_are_those_of_the_formula():
    elites = [elite(0.2, 0.5, 0.5), elite(0.6, 0.1, 0.3), elite(0.4, 0.3, 0.1)]
    values = np.array([[0.2, 0.5, 0.5], [0.6, 0.1, 0.3], [0.4, 0.3, 0.1]])
    unit = (values - values.min(0)) / (values.max(0) - values.min(0))
    gamma = np.prod(0.5 + unit * 0.3, axis=1)
    np.testing.assert_allclose(elite_probabilities(elites), gamma / gamma.sum())


def test_the_papers_best_and_worst_differ_by_at_most_4_1_at_three_tasks():
    p = elite_probabilities([elite(0.0, 0.0, 0.0), elite(1.0, 1.0, 1.0)])
    assert p[1] / p[0] == pytest.approx((0.8 / 0.5) ** 3)


def test_the_released_form_spans_05_to_13_and_uses_the_cells_of_measures():
    elites = [elite(0.0, 0.9, 0.9, index=(0, 0)), elite(1.0, 0.1, 0.1, index=(7, 7))]
    p = elite_probabilities(elites, SelectionForm.RELEASED)
    assert p[1] / p[0] == pytest.approx((1.3 / 0.5) ** 3)


def test_a_task_on_which_all_are_alike_drops_out():
    with_tie = [elite(0.2, 0.5), elite(0.6, 0.5)]
    without = [elite(0.2), elite(0.6)]
    np.testing.assert_allclose(
        elite_probabilities(with_tie), elite_probabilities(without)
    )


def test_uniform_selection_prefers_nobody():
    elites = [elite(0.0, 0.1), elite(1.0, 0.9), elite(0.5, 0.5)]
    p = elite_probabilities(elites, SelectionForm.UNIFORM)
    np.testing.assert_allclose(p, 1 / 3)


def test_parents_are_distinct(rng):
    elites = [elite(i / 10, i / 10) for i in range(4)]
    for _ in range(50):
        first, second = sample_elites(elites, rng)
        assert first.id != second.id


def test_a_lone_elite_is_both_parents(rng):
    only = elite(0.5, 0.5)
    assert sample_elites([only], rng) == (only, only)


@pytest.mark.parametrize(("num", "expected"), [(3, 3), (9, 4)])
def test_more_parents_are_drawn_once_each(rng, num, expected):
    elites = [elite(i / 10, i / 10) for i in range(4)]
    ids = {parent.id for parent in sample_elites(elites, rng, num=num)}
    assert len(ids) == expected


def test_selection_from_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one elite"):
        elite_probabilities([])


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.8), (0.9, 0.8), (-1.0, 0.5)])
def test_elite_weights_out_of_order_are_refused(low, high):
    with pytest.raises(ValueError, match="0 < a_low <= a_high"):
        elite_probabilities([elite(0.5)], a_low=low, a_high=high)


def test_crossover_keeps_the_sum_of_the_coefficients(rng):
    cores = random_cores(1)
    child = crossover([cores, cores], rng, CrossoverSettings(sigma=0.5))
    for module, core in cores.items():
        np.testing.assert_allclose(child.cores[module], core, atol=1e-5)


@pytest.mark.parametrize("granularity", list(Granularity))
def test_crossover_is_the_dense_weighted_mean(rng, granularity):
    first, second = random_cores(1), random_cores(2)
    child = crossover(
        [first, second], rng, CrossoverSettings(sigma=0.5, granularity=granularity)
    )
    shares = []
    for m in first:
        a, b = first[m].astype(np.float64), second[m].astype(np.float64)
        direction = (a - b).ravel()
        share = float(
            (child.cores[m] - b).ravel() @ direction / (direction @ direction)
        )
        np.testing.assert_allclose(
            child.cores[m], share * a + (1 - share) * b, atol=1e-5
        )
        shares.append(share)
    assert np.mean(shares) == pytest.approx(child.shares[0], abs=1e-5)
    is_shared = np.ptp(shares) < 1e-5
    assert is_shared == (granularity is Granularity.MODEL)


def test_crossover_without_spread_is_the_mean(rng):
    first, second = random_cores(1), random_cores(2)
    child = crossover([first, second], rng, CrossoverSettings(sigma=0.0))
    assert child.shares == (0.5, 0.5)
    assert child.gain == 1.0


def test_the_gain_scales_the_whole_child():
    parents = [random_cores(1), random_cores(2)]
    child = crossover(
        parents, np.random.default_rng(5), CrossoverSettings(sigma=0.0, gain_sigma=0.3)
    )
    plain = crossover(parents, np.random.default_rng(5), CrossoverSettings(sigma=0.0))
    assert child.gain != 1.0
    assert norm(child.cores) == pytest.approx(child.gain * norm(plain.cores), rel=1e-5)


def test_crossover_weights_never_blow_up(rng):
    parents = [random_cores(1), random_cores(2)]
    shares = [
        crossover(parents, rng, CrossoverSettings(sigma=5.0)).shares[0]
        for _ in range(300)
    ]
    # A sum of at least 0.1 bounds the share by |w1| / 0.1.
    assert max(map(abs, shares)) < 250


@pytest.mark.parametrize(("sigma", "gain_sigma"), [(-0.1, 0.0), (0.1, -1.0)])
def test_negative_spreads_are_refused(rng, sigma, gain_sigma):
    with pytest.raises(ValueError, match="sigma >= 0 and gain_sigma >= 0"):
        crossover(
            [random_cores(1)],
            rng,
            CrossoverSettings(sigma=sigma, gain_sigma=gain_sigma),
        )


def test_a_child_of_nobody_is_refused(rng):
    with pytest.raises(ValueError, match="at least one parent"):
        crossover([], rng, CrossoverSettings(sigma=0.5))


@pytest.mark.parametrize("granularity", list(Granularity))
def test_many_parents_are_weighed_with_shares_that_sum_to_one(rng, granularity):
    parents = [random_cores(seed) for seed in range(5)]
    child = crossover(
        parents, rng, CrossoverSettings(sigma=0.3, granularity=granularity)
    )
    assert len(child.shares) == 5
    assert sum(child.shares) == pytest.approx(1.0)
    if granularity is Granularity.MODEL:
        for module, core in child.cores.items():
            expected = sum(
                share * parent[module].astype(np.float64)
                for share, parent in zip(child.shares, parents, strict=True)
            )
            np.testing.assert_allclose(core, expected, atol=1e-5)


def test_what_parents_do_not_share_cancels_with_their_number(rng):
    common = random_cores(0)
    noise = [random_cores(seed) for seed in range(1, 17)]
    parents = [{m: common[m] + n[m] for m in common} for n in noise]

    def distance(child):
        return norm({m: child.cores[m] - common[m] for m in common})

    of_two = distance(crossover(parents[:2], rng, CrossoverSettings(sigma=0.0)))
    of_sixteen = distance(crossover(parents, rng, CrossoverSettings(sigma=0.0)))
    assert of_sixteen == pytest.approx(of_two / np.sqrt(8), rel=0.3)


def test_the_papers_mutation_multiplies_the_singular_values_of_the_dense_delta(rng):
    updates = np.random.default_rng(3)
    expert = {"m": LowRank(updates.normal(size=(20, 4)), updates.normal(size=(4, 15)))}
    space = CoreSpace.of([expert])
    cores = space.project(expert)
    child = mutate(cores, cores, rng, form=MutationForm.MULTIPLY, w_max=2.0)
    basis = space.bases["m"]
    P, S, Qt = np.linalg.svd(basis.U @ cores["m"] @ basis.V.T)
    after = basis.U @ child["m"] @ basis.V.T
    factors = np.diag(P.T @ after @ Qt.T)[:4] / S[:4]
    expected = (P[:, :4] * (S[:4] * factors)) @ Qt[:4]
    np.testing.assert_allclose(after, expected, atol=1e-4)
    assert np.all((factors >= 0) & (factors <= 2))
    assert np.ptp(factors) > 0.01


def test_the_relative_mutation_stays_within_its_bound(rng):
    cores = random_cores(4)
    child = mutate(cores, cores, rng, form=MutationForm.RELATIVE, w_max=0.2)
    for module, core in cores.items():
        change = np.linalg.norm(child[module] - core) / np.linalg.norm(core)
        assert 0 < change <= 0.2 + 1e-6


def test_the_released_mutation_adds_the_skills_expert_only_positively(rng):
    cores, expert = random_cores(5), random_cores(6)
    child = mutate(cores, expert, rng, form=MutationForm.EXPERT, w_max=0.1)
    for module, core in cores.items():
        P, S, Qt = np.linalg.svd(expert[module].astype(np.float64))
        w = np.diag(P.T @ (child[module] - core).astype(np.float64) @ Qt.T) / S
        assert np.all((w > -1e-4) & (w < 0.1 + 1e-4))


def test_no_mutation_changes_nothing(rng):
    cores = random_cores(7)
    assert mutate(cores, cores, rng, form=MutationForm.NONE, w_max=0.3) is cores


@pytest.mark.parametrize("form", list(MutationForm))
def test_equal_generators_draw_equal_mutations(form):
    cores, expert = random_cores(8), random_cores(9)
    twice = [
        mutate(cores, expert, np.random.default_rng(1), form=form, w_max=0.3)
        for _ in range(2)
    ]
    for module in cores:
        np.testing.assert_array_equal(twice[0][module], twice[1][module])


def test_a_negative_bound_is_refused(rng):
    with pytest.raises(ValueError, match="w_max >= 0"):
        mutate(random_cores(1), random_cores(1), rng, form=MutationForm.NONE, w_max=-1)


def test_a_tilt_raises_the_singular_values_and_keeps_the_norm():
    cores = random_cores(12)
    for module, tilted in tilt(cores, 0.3).items():
        P, S, Qt = np.linalg.svd(cores[module].astype(np.float64))
        T = S**0.3 * np.linalg.norm(S) / np.linalg.norm(S**0.3)
        np.testing.assert_allclose(tilted, (P * T) @ Qt, atol=1e-4)


def test_a_tilt_to_zero_makes_the_spectrum_flat_and_one_changes_nothing():
    cores = random_cores(13)
    for module, core in tilt(cores, 0.0).items():
        S = np.linalg.svd(core, compute_uv=False)
        np.testing.assert_allclose(S, S[0], rtol=1e-4)
        np.testing.assert_allclose(tilt(cores, 1.0)[module], cores[module], atol=1e-5)


def test_a_tilt_raises_no_direction_out_of_the_noise():
    core = np.outer(np.arange(1.0, 6.0), np.arange(2.0, 7.0)).astype(np.float32)
    (tilted,) = tilt({"m": core}, 0.01).values()
    np.testing.assert_allclose(tilted, core, rtol=1e-4)


def test_a_tilt_of_zeros_is_zero():
    assert not tilt({"m": np.zeros((4, 4), np.float32)}, 0.5)["m"].any()


def test_a_negative_tilt_is_refused():
    with pytest.raises(ValueError, match="exponent >= 0"):
        tilt(random_cores(1), -0.1)


def test_softmax_weights_are_those_of_the_papers_example():
    np.testing.assert_allclose(
        softmax_weights([0.764, 0.382, 0.426]), [0.417, 0.285, 0.298], atol=5e-4
    )


def test_the_aggregate_is_the_weighted_sum_of_the_elites():
    first, second = random_cores(1), random_cores(2)
    result = aggregate([first, second], [0.3, 0.9])
    beta = np.exp([0.3, 0.9]) / np.exp([0.3, 0.9]).sum()
    for m in first:
        expected = beta[0] * first[m] + beta[1] * second[m]
        np.testing.assert_allclose(result[m], expected, atol=1e-5)


@pytest.mark.parametrize("bad", [[], [float("nan"), 0.5]])
def test_an_aggregate_without_finite_scores_is_refused(bad):
    with pytest.raises(ValueError, match="finite scores"):
        softmax_weights(bad)


def test_a_hundred_generations_do_not_drift_from_dense_float64():
    rng = np.random.default_rng(11)
    experts = [
        {"m": LowRank(rng.normal(size=(30, 4)), rng.normal(size=(4, 20)))}
        for _ in range(3)
    ]
    space = CoreSpace.of(experts)
    basis = space.bases["m"]
    population = [space.project(e) for e in experts]
    exact = [u["m"].B @ u["m"].A for u in experts]
    for step in range(100):
        i, j = rng.choice(3, size=2, replace=False)
        child = crossover(
            [population[i], population[j]],
            np.random.default_rng(step),
            CrossoverSettings(sigma=0.3),
        )
        share = child.shares[0]
        population[i] = scaled(child.cores, 1.01)
        exact[i] = 1.01 * (share * exact[i] + (1 - share) * exact[j])
    for cores, delta in zip(population, exact, strict=True):
        error = np.linalg.norm(basis.U @ cores["m"] @ basis.V.T - delta)
        assert error <= 1e-4 * np.linalg.norm(delta)


def test_a_child_that_keeps_the_norm_is_as_long_as_its_parents(rng):
    first, second = random_cores(20), random_cores(21)
    child = crossover(
        [first, second], rng, CrossoverSettings(sigma=0.3, keep_norm=True)
    )
    for module, core in child.cores.items():
        norms = [np.linalg.norm(parent[module]) for parent in (first, second)]
        wanted = np.average(norms, weights=np.abs(child.shares))
        assert np.linalg.norm(core) == pytest.approx(wanted, rel=1e-5)


def test_parents_that_cancel_are_not_blown_up(rng):
    first = random_cores(22)
    opposite = {module: -core for module, core in first.items()}
    child = crossover(
        [first, opposite], rng, CrossoverSettings(sigma=0.0, keep_norm=True)
    )
    assert norm(child.cores) == pytest.approx(0, abs=1e-6)
