"""Forecasts against counting, and the chance to enter against trying."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_qd.archive import Axis, GridArchive, chance_to_enter, forecast


@given(st.lists(st.floats(0, 1), max_size=30), st.integers(0, 30))
def test_a_forecast_is_a_distribution_between_the_worst_and_the_best(done, num_left):
    num = len(done) + num_left
    if not num:
        return
    found = forecast(done, num)
    assert found.chances.sum() == pytest.approx(1.0)
    assert (found.chances >= 0).all()
    assert found.values[0] == pytest.approx(sum(done) / num)
    assert found.values[-1] == pytest.approx((sum(done) + num_left) / num)


def test_a_forecast_without_answers_gives_every_score_the_same_chance():
    np.testing.assert_allclose(forecast([], 9).chances, 1 / 10)


def test_a_forecast_is_what_drawing_from_every_population_gives():
    num, num_done, num_right = 12, 5, 2
    chances = np.zeros(num + 1)
    for right in range(num + 1):  # each equally likely
        ways = math.comb(right, num_right) * math.comb(
            num - right, num_done - num_right
        )
        chances[right] = ways / math.comb(num, num_done)
    expected = chances / chances.sum()
    found = forecast([1.0, 0.0, 0.0, 1.0, 0.0], num)
    np.testing.assert_allclose(found.values, np.arange(2, 10) / num)
    np.testing.assert_allclose(found.chances, expected[2:10])


def test_a_finished_score_is_certain():
    found = forecast([1.0, 0.0, 0.5], 3)
    assert found.values == pytest.approx([0.5])
    assert found.chances == pytest.approx([1.0])


@pytest.mark.parametrize("num_elites", [0, 5, 40])
def test_the_chance_to_enter_is_the_share_of_those_that_do(num_elites):
    rng = np.random.default_rng(num_elites)
    grid = GridArchive("code", [Axis(n, 0.1, 0.9, 4) for n in ("os", "db")])

    def scores(values):
        return dict(zip(("code", "os", "db"), map(float, values), strict=True))

    for i in range(num_elites):
        grid.add(f"m{i}", scores(rng.uniform(size=3)))
    done = {"code": [1.0, 0.0, 1.0], "os": [0.0] * 6, "db": [1.0, 0.0] * 4}
    forecasts = {task: forecast(values, 16) for task, values in done.items()}
    drawn = [
        [rng.choice(f.values, p=f.chances) for f in forecasts.values()]
        for _ in range(3000)
    ]
    share = np.mean([bool(grid.copy().add("child", scores(one))) for one in drawn])
    # Five standard errors of a share are at most 0.046.
    assert chance_to_enter(grid, forecasts) == pytest.approx(share, abs=0.046)


def test_who_has_finished_enters_for_sure_or_not_at_all():
    grid = GridArchive("code", [Axis("os", 0.0, 1.0, 4)])
    grid.add("a", {"code": 0.5, "os": 0.5})
    as_good = {"code": forecast([1.0, 0.0], 2), "os": forecast([0.0, 1.0], 2)}
    assert chance_to_enter(grid, as_good) == pytest.approx(0.0)
    better = as_good | {"code": forecast([1.0, 1.0], 2)}
    assert chance_to_enter(grid, better) == pytest.approx(1.0)


def test_of_those_that_are_left_no_more_than_the_stated_share_would_have_entered():
    rng = np.random.default_rng(5)
    grid = GridArchive("code", [Axis("os", 0.0, 1.0, 2)])
    for i in range(30):
        grid.add(f"m{i}", {"code": 0.8 * rng.uniform(), "os": rng.uniform()})
    num, error, num_left, num_wrong = 32, 0.1, 0, 0
    for _ in range(1500):
        right = rng.integers(0, num + 1, size=2)  # every score equally likely
        asked = [rng.permutation(np.arange(num) < r).astype(float) for r in right]
        whole = dict(zip(("code", "os"), (r / num for r in right), strict=True))
        for size in range(4, num, 4):
            done = zip(("code", "os"), (a[:size].tolist() for a in asked), strict=True)
            chance = chance_to_enter(grid, {t: forecast(v, num) for t, v in done})
            if chance <= error:
                num_left += 1
                num_wrong += bool(grid.copy().add("child", whole))
                break
    assert num_left > 300
    assert num_wrong / num_left <= error
