"""Differences between two candidates on the same samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_qd.evaluation import Difference, paired_difference, paired_mean

SCORES = st.floats(0, 1)
PAIRS = st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=30)
TASKS = st.lists(PAIRS, min_size=1, max_size=5)


def difference(pairs):
    first, second = zip(*pairs, strict=True)
    return paired_difference(first, second)


def counts(right_both, wins, losses, wrong_both):
    return [
        *[(1.0, 1.0)] * right_both,
        *[(0.0, 1.0)] * wins,
        *[(1.0, 0.0)] * losses,
        *[(0.0, 0.0)] * wrong_both,
    ]


@pytest.mark.parametrize("table", [(5, 3, 1, 2), (0, 4, 0, 0), (9, 0, 0, 1)])
def test_right_or_wrong_scores_give_the_interval_of_agresti_and_min(table):
    both, wins, losses, none = (number + 0.5 for number in table)
    n = both + wins + losses + none
    centre = (wins - losses) / n
    half = 1.959964 * np.sqrt(wins + losses - (wins - losses) ** 2 / n) / n
    mean = (table[1] - table[2]) / sum(table)
    got = difference(counts(*table))
    assert got.mean == pytest.approx(mean)
    assert got.low == pytest.approx(min(centre - half, mean), abs=1e-6)
    assert got.high == pytest.approx(min(max(centre + half, mean), 1), abs=1e-6)
    assert (got.num_wins, got.num_losses) == table[1:3]


@given(PAIRS)
def test_an_interval_holds_its_mean_and_has_a_width(pairs):
    got = difference(pairs)
    assert -1 <= got.low <= got.mean <= got.high <= 1
    assert got.high - got.low > 0.01
    assert got.mean == pytest.approx(np.mean([b - a for a, b in pairs]), abs=1e-12)


@given(TASKS)
def test_exchanging_the_candidates_turns_every_sign(tasks):
    def check(there, back):
        assert (back.mean, back.low, back.high) == pytest.approx(
            (-there.mean, -there.high, -there.low), abs=1e-12
        )
        assert (back.num_wins, back.num_losses) == (there.num_losses, there.num_wins)

    there = [difference(pairs) for pairs in tasks]
    back = [difference([pair[::-1] for pair in pairs]) for pairs in tasks]
    for one, other in zip(there, back, strict=True):
        check(one, other)
    check(paired_mean(there), paired_mean(back))


@given(PAIRS, st.randoms())
def test_the_order_of_the_samples_does_not_matter(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    assert difference(shuffled) == difference(pairs)


@given(TASKS)
def test_a_mean_over_tasks_holds_itself_and_is_no_wider_than_they_are(tasks):
    parts = [difference(pairs) for pairs in tasks]
    got = paired_mean(parts)
    assert -1 <= got.low <= got.mean <= got.high <= 1
    assert got.high > got.low
    assert got.mean == pytest.approx(np.mean([p.mean for p in parts]), abs=1e-12)
    widest = max(p.high - p.low for p in parts)
    assert got.high - got.low <= widest + 1e-12
    assert got.num_wins == sum(p.num_wins for p in parts)


@given(PAIRS)
def test_the_mean_over_one_task_is_its_own(pairs):
    one = difference(pairs)
    got = paired_mean([one])
    assert (got.mean, got.low, got.high) == pytest.approx((one.mean, one.low, one.high))


def test_four_equal_tasks_halve_the_interval():
    one = difference(counts(10, 6, 2, 10))
    four = paired_mean([one] * 4)
    assert four.high - four.low == pytest.approx((one.high - one.low) / 2)


@pytest.mark.parametrize(("wins", "losses"), [(0.3, 0.1), (0.2, 0.2), (0.1, 0.02)])
def test_about_95_percent_of_the_intervals_hold_the_true_difference(wins, losses):
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        drawn = rng.multinomial(40, [wins, losses, 1 - wins - losses])
        got = difference(counts(0, drawn[0], drawn[1], drawn[2]))
        hits += got.low <= wins - losses <= got.high
    assert hits >= 930


def test_about_95_percent_of_the_intervals_of_means_hold_the_true_mean():
    rng = np.random.default_rng(0)
    tasks = [(0.3, 0.1), (0.1, 0.1), (0.05, 0.01)]
    truth = np.mean([wins - losses for wins, losses in tasks])
    hits = 0
    for _ in range(1000):
        drawn = [rng.multinomial(40, [w, x, 1 - w - x]) for w, x in tasks]
        got = paired_mean([difference(counts(0, d[0], d[1], d[2])) for d in drawn])
        hits += got.low <= truth <= got.high
    assert 930 <= hits <= 990


def test_scores_in_between_have_narrower_intervals():
    half = difference([(0.25, 0.5), (0.75, 0.5)] * 20)
    full = difference(counts(0, 20, 20, 0))
    assert half.high < full.high


def test_a_difference_reads_as_one_line():
    assert str(Difference(0.123, 0.05, 0.19, 5, 1)) == "+0.12 [+0.05, +0.19]"
    assert str(Difference(-0.001, -0.1, 0.1, 1, 1)) == "+0.00 [-0.10, +0.10]"


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([], [], "at least one pair of scores, but got none"),
        ([1.0], [1.0, 0.0], "scores of the same samples, but got 1 and 2"),
        ([1.0], [1.5], "in \\[0, 1\\], but got 1.5"),
        ([float("nan")], [0.0], "in \\[0, 1\\], but got nan"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        paired_difference(first, second)


def test_no_tasks_are_no_zero():
    with pytest.raises(ValueError, match="at least one task, but got none"):
        paired_mean([])
