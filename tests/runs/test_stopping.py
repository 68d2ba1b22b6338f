"""Less work for the same archives: with exact stopping nothing changes but the work."""

import pytest

from lora_qd.records import Split
from lora_qd.runs.run import Run
from lora_qd.runs.verify import verify
from lora_qd.store.ledger import Ledger
from tests.runs import synthetic

NUM_SAMPLES = 24


@pytest.fixture(autouse=True)
def many_samples(monkeypatch):
    monkeypatch.setattr(synthetic, "NUM_SAMPLES", NUM_SAMPLES)


def finished(path, **changes):
    changes = {"search__children": 60, "search__cells": 3, **changes}
    config = synthetic.config(path, **changes)
    synthetic.run(config)
    return Run.open(config.run)


def archives_of(run):
    return {skill: archive.elites for skill, archive in run.archives.items()}


@pytest.mark.parametrize(
    ("seed", "chunk", "lag", "batch"), [(1, 1, 0, 1), (2, 4, 1, 3), (3, 7, 2, 4)]
)
def test_archives_and_results_are_those_of_a_run_that_asks_everything(
    tmp_path, seed, chunk, lag, batch
):
    same = {"seed": seed, "search__lag": lag, "search__batch": batch}
    whole = finished(tmp_path / "whole", **same)
    stopped = finished(
        tmp_path / "stopped",
        search__stopping="exact",
        search__stopping_chunk=chunk,
        **same,
    )
    assert archives_of(stopped) == archives_of(whole)
    assert [r.member for r in stopped.children] == [r.member for r in whole.children]
    assert stopped.results.rows == whole.results.rows
    assert stopped.results.members == whole.results.members
    left = [row.num_left for row in stopped.children]
    assert sum(left) > 0
    assert not any(row.num_left for row in whole.children)
    for row, full in zip(stopped.children, whole.children, strict=True):
        assert row.num_left or row.scores == full.scores
    for check in verify(stopped.directory.path, derive=True):
        assert check.problems == ()


def test_the_work_that_was_left_out_is_told(tmp_path):
    run = finished(tmp_path, search__stopping="exact", search__stopping_chunk=2)
    num_left = sum(row.num_left for row in run.children)
    assert run.results.costs.num_left == num_left > 0
    with Ledger(run.directory.ledger) as ledger:
        asked = sum(
            len(ledger.outcomes(row.member, Split.SEARCH, skill))
            for row in run.children
            for skill in synthetic.SKILLS
        )
    assert asked + num_left == len(run.children) * 3 * NUM_SAMPLES
    assert any("Left out: " in line for line in run.results.costs.sentences())


def test_who_was_left_in_the_middle_is_nowhere_the_best(tmp_path):
    run = finished(tmp_path, search__stopping="exact", search__stopping_chunk=1)
    left = {row.member for row in run.children if row.num_left}
    assert left
    assert not left & run.elite_ids
    assert run.frame().query("num_left > 0").is_elite.sum() == 0


def test_a_race_leaves_more_and_repeats_itself(tmp_path):
    race = {"search__stopping": "race", "search__stopping_error": 0.3}
    race |= {"search__stopping_chunk": 2}
    exact = finished(tmp_path / "exact", search__stopping="exact")
    first, second = (finished(tmp_path / n, **race) for n in ("one", "two"))
    assert first.children == second.children
    left = [sum(r.num_left for r in run.children) for run in (first, exact)]
    assert left[0] > left[1]
    for check in verify(first.directory.path, derive=True):
        assert check.problems == ()


def test_a_ledger_that_lacks_samples_of_a_whole_child_is_refused(tmp_path):
    import sqlite3

    run = finished(tmp_path, search__stopping="exact", search__stopping_chunk=2)
    child = next(row for row in run.children if row.num_left)
    with sqlite3.connect(run.directory.ledger) as db:
        db.execute("UPDATE children SET num_left = 0 WHERE idx = ?", (child.index,))
    problems = [p for check in verify(run.directory.path) for p in check.problems]
    assert any(child.member in p and "other samples" in p for p in problems)
