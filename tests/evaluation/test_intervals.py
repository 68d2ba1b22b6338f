"""Intervals of mean scores."""

import numpy as np
import pytest

from lora_qd.evaluation import mean_interval, wilson_interval


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # Brown, Cai and DasGupta 2001, computed from the formula by hand
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)],
)
def test_wilson_intervals_are_those_of_the_formula(right, n, low, high):
    interval = wilson_interval([1.0] * right + [0.0] * (n - right))
    assert interval.mean == right / n
    assert interval.low == pytest.approx(low, abs=1e-4)
    assert interval.high == pytest.approx(high, abs=1e-4)


def test_about_95_percent_of_the_intervals_hold_the_true_mean():
    rng = np.random.default_rng(0)
    tasks = (0.3, 0.6, 0.9)
    hits = 0
    for _ in range(400):
        values = [(rng.random(100) < p).astype(float).tolist() for p in tasks]
        interval = mean_interval(values)
        hits += interval.low <= np.mean(tasks) <= interval.high
    assert 0.92 <= hits / 400 <= 0.99


def test_an_interval_holds_its_mean():
    interval = mean_interval([[1.0] * 5, [1.0] * 5])
    assert interval.low < interval.mean == interval.high == 1.0


def test_no_scores_are_no_zero():
    with pytest.raises(ValueError, match="at least one score"):
        wilson_interval([])
