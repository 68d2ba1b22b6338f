"""Laws of the archive, with pyribs as the second opinion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ribs.archives import GridArchive as RibsArchive

from lora_qd.archive import AddStatus, Axis, GridArchive, axes_from_experts


def archive(num_cells=10, num_axes=2):
    names = ["os", "db", "math"][:num_axes]
    return GridArchive("code", [Axis(n, 0.0, 1.0, num_cells) for n in names])


def scores(code, os=0.5, db=0.5):
    return {"code": code, "os": os, "db": db}


def test_an_empty_cell_takes_any_solution():
    assert archive().add("a", scores(0.0)) is AddStatus.NEW


def test_only_a_strict_improvement_replaces_an_elite():
    grid = archive()
    grid.add("a", scores(0.5))
    assert grid.add("b", scores(0.5)) is AddStatus.NOT_ADDED
    assert grid.add("c", scores(0.4)) is AddStatus.NOT_ADDED
    assert grid.add("d", scores(0.6)) is AddStatus.IMPROVE_EXISTING
    assert [elite.id for elite in grid.elites] == ["d"]


def test_a_status_is_true_if_the_archive_changed():
    grid = archive()
    assert grid.add("a", scores(0.5))
    assert not grid.add("b", scores(0.5))


def test_other_measures_are_other_cells():
    grid = archive()
    grid.add("a", scores(0.5, os=0.11))
    grid.add("b", scores(0.4, os=0.21))
    assert len(grid) == 2


@pytest.mark.parametrize(
    ("value", "cell"),
    [(0.0, 0), (0.0999, 0), (0.1, 1), (0.3, 3), (0.7, 7), (0.99, 9), (1.0, 9)],
)
def test_cells_are_closed_below(value, cell):
    assert archive().index_of([value, 0.0]) == (cell, 0)


def test_a_value_outside_lands_in_the_edge_cell_and_is_counted():
    grid = GridArchive("code", [Axis("os", 0.2, 0.4, 4)])
    grid.add("a", {"code": 0.5, "os": 0.9})
    grid.add("b", {"code": 0.5, "os": 0.1})
    grid.add("c", {"code": 0.6, "os": 0.3})
    assert [elite.index for elite in grid.elites] == [(0,), (2,), (3,)]
    assert grid.stats().num_clipped == 2


def test_stats_count_cells_and_sum_objectives():
    grid = archive(num_cells=4)
    grid.add("a", scores(0.25, os=0.1))
    grid.add("b", scores(0.5, os=0.9))
    stats = grid.stats()
    assert stats.num_elites == 2
    assert stats.coverage == 2 / 16
    assert stats.qd_score == 0.75
    assert stats.best == 0.5


def test_eight_tasks_need_no_dense_grid():
    names = [f"t{i}" for i in range(8)]
    grid = GridArchive(names[0], [Axis(n, 0.0, 1.0, 15) for n in names[1:]])
    assert grid.add("a", dict.fromkeys(names, 0.5)) is AddStatus.NEW
    assert grid.num_cells == 15**7


def test_the_same_stream_fills_pyribs_and_this_archive_alike():
    rng = np.random.default_rng(0)
    ours = GridArchive("code", [Axis("os", 0.1, 0.8, 15), Axis("db", 0.2, 0.9, 15)])
    theirs = RibsArchive(solution_dim=1, dims=[15, 15], ranges=[(0.1, 0.8), (0.2, 0.9)])
    for number in range(1500):
        # Scores of 64 samples: many ties and many values on the edges of cells.
        code, os, db = rng.integers(0, 65, size=3) / 64
        status = ours.add(str(number), scores(code, os, db))
        added = theirs.add_single([number], code, [os, db])
        assert int(status) == int(added["status"])
    expected = {str(int(elite["solution"][0])): elite["objective"] for elite in theirs}
    assert {e.id: e.objective for e in ours.elites} == pytest.approx(expected)
    assert ours.stats().coverage == pytest.approx(theirs.stats.coverage)
    assert ours.stats().qd_score == pytest.approx(float(theirs.stats.qd_score))


def test_axes_reach_from_085_of_the_worst_to_115_of_the_best_expert():
    experts = {"a": {"os": 0.4, "db": 0.9}, "b": {"os": 0.8, "db": 0.2}}
    axes = axes_from_experts(experts, ["os", "db"], num_cells=15)
    assert axes["os"].low == pytest.approx(0.34)
    assert axes["os"].high == pytest.approx(0.92)
    assert axes["db"].high == 1.0
    assert axes["db"].num_cells == 15


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_experts_that_agree_still_give_an_axis(value):
    axes = axes_from_experts({"a": {"os": value}, "b": {"os": value}}, ["os"])
    assert 0 <= axes["os"].low < axes["os"].high <= 1


def test_a_missing_score_is_refused():
    with pytest.raises(ValueError, match=r"a score for each of .*\['db'\] are missing"):
        archive().add("a", {"code": 0.5, "os": 0.5})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused_and_change_nothing(bad):
    grid = archive()
    with pytest.raises(ValueError, match="finite"):
        grid.add("a", scores(bad))
    with pytest.raises(ValueError, match="finite measures"):
        grid.add("a", scores(0.5, os=bad))
    assert len(grid) == 0


def test_a_wrong_number_of_measures_is_refused():
    with pytest.raises(ValueError, match="expected 2 finite measures.*scores of all"):
        archive().index_of([0.5])


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (0.6, 0.2), (float("nan"), 1)])
def test_an_empty_axis_is_refused(low, high):
    with pytest.raises(ValueError, match="low < high on axis 'os'"):
        Axis("os", low, high, 5)


def test_an_axis_without_cells_is_refused():
    with pytest.raises(ValueError, match="at least 1 cell on axis 'os'"):
        Axis("os", 0.0, 1.0, 0)


def test_the_best_of_equal_elites_has_the_highest_measures():
    grid = archive()
    grid.add("a", scores(0.5, os=0.1, db=0.9))
    grid.add("b", scores(0.5, os=0.8, db=0.4))
    grid.add("c", scores(0.4, os=0.9, db=0.9))
    assert grid.best.id == "b"


@given(st.data())
def test_a_closed_archive_refuses_everything_between_the_bounds_for_ever(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    grid = archive(num_cells=3)

    def fill(num):
        for i in range(num):
            grid.add(f"m{i}", scores(*rng.uniform(size=3)))

    fill(data.draw(st.integers(1, 60)))
    corners = rng.uniform(size=(2, 3)) * data.draw(st.sampled_from([1.0, 0.5, 0.1]))
    low, high = corners.min(axis=0), corners.max(axis=0)
    is_closed = grid.is_closed_to(scores(*low), scores(*high))
    fill(20)
    tried = [scores(*rng.uniform(low, high)) for _ in range(30)]
    tried += [scores(*low), scores(*high)]
    if is_closed:
        assert not any(grid.add("child", one) for one in tried)


def test_an_archive_is_closed_if_and_only_if_every_cell_within_reach_refuses():
    grid = archive(num_cells=2, num_axes=1)
    low, high = {"code": 0.1, "os": 0.2}, {"code": 0.6, "os": 0.7}
    grid.add("a", {"code": 0.6, "os": 0.1})
    assert not grid.is_closed_to(low, high)  # a cell within reach is empty
    grid.add("b", {"code": 0.5, "os": 0.9})
    assert not grid.is_closed_to(low, high)  # its elite may be beaten
    assert grid.is_closed_to(low, high | {"os": 0.4})
    grid.add("c", {"code": 0.6, "os": 0.9})
    assert grid.is_closed_to(low, high)  # an equal does not enter


def test_a_copy_stays_as_it_is():
    grid = archive()
    grid.add("a", scores(0.5))
    then = grid.copy()
    grid.add("b", scores(0.6))
    grid.add("c", scores(0.6, os=0.9))
    assert [elite.id for elite in then.elites] == ["a"]
    assert then.index_of([0.5, 0.5]) == grid.index_of([0.5, 0.5])
