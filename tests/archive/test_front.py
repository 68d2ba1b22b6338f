import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_qd.archive import Hypervolume, ParetoFront

SCORES = st.lists(
    st.tuples(*[st.integers(0, 4).map(lambda n: n / 4)] * 3), min_size=1, max_size=30
)


def dominates(one, other):
    """Whether ``one`` equals or beats ``other`` everywhere and beats it somewhere."""
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


@given(SCORES)
def test_the_front_is_whom_nobody_dominates_the_first_of_equals(scores):
    front = ParetoFront(["a", "b", "c"])
    for i, score in enumerate(scores):
        front.add(str(i), score)
    expected = [
        str(i)
        for i, score in enumerate(scores)
        if not any(dominates(other, score) for other in scores)
        and score not in scores[:i]
    ]
    assert front.ids == expected
    assert [tuple(row) for row in front.scores] == [scores[int(i)] for i in expected]


@given(SCORES)
def test_adding_tells_whether_the_front_changed(scores):
    front = ParetoFront(["a", "b", "c"])
    for i, score in enumerate(scores):
        before = list(front.ids)
        assert front.add(str(i), score) == (front.ids != before)


def exact(scores):
    """Return the volume below some of ``scores`` by inclusion and exclusion."""
    total = 0.0
    for size in range(1, len(scores) + 1):
        for chosen in itertools.combinations(scores, size):
            total += (-1) ** (size + 1) * float(np.prod(np.min(chosen, axis=0)))
    return total


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 5, 8])
def test_the_hypervolume_is_near_the_exact_one(num_tasks):
    rng = np.random.default_rng(num_tasks)
    scores = rng.random((7, num_tasks)) ** (1 / num_tasks)
    volume = Hypervolume(num_tasks)
    for score in scores:
        volume.add(score)
    assert volume.value == pytest.approx(exact(scores), abs=4 * 0.004)


@given(SCORES)
def test_the_hypervolume_never_falls_and_knows_no_order(scores):
    forwards, backwards = Hypervolume(3), Hypervolume(3)
    values = [forwards.value]
    for score in scores:
        forwards.add(score)
        values.append(forwards.value)
    for score in reversed(scores):
        backwards.add(score)
    assert values == sorted(values)
    assert values[0] == 0.0
    assert forwards.value == backwards.value


def test_a_perfect_member_covers_everything():
    volume = Hypervolume(4)
    volume.add([1.0] * 4)
    assert volume.value == 1.0
