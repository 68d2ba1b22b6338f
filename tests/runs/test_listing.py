"""A list of runs says how far each is, and of a damaged one that it is."""

import os
import shutil

import pytest

from lora_qd.errors import InputError
from lora_qd.runs.listing import list_runs
from lora_qd.store.ledger import Ledger, best_first, mean
from lora_qd.store.run_directory import RunDirectory
from tests.runs import synthetic
from tests.runs.audited import rewrite, run_and_stop


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = synthetic.config(
        tmp_path_factory.mktemp("runs"), engine__price_per_hour=3600.0
    )
    synthetic.run(config)
    return config.run


def only_one_of(directory):
    (listed,) = list_runs(directory)
    return listed


def test_a_finished_run_shows_its_children_best_time_and_money(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "deep" / "down" / "run")
    listed = only_one_of(tmp_path)
    assert listed.path == tmp_path / "deep" / "down" / "run"
    assert (listed.status, listed.problem) == ("finished", "")
    assert (listed.num_bred, listed.num_children) == (12, 12)
    with Ledger(finished / "ledger.sqlite") as ledger:
        assert listed.best == mean(best_first(ledger.children())[0].scores)
        seconds = sum(usage.seconds for usage in ledger.sessions())
    assert listed.minutes == pytest.approx(seconds / 60)
    assert listed.money == pytest.approx(seconds)


def test_a_run_without_a_price_has_no_money(tmp_path):
    config = synthetic.config(tmp_path)
    run_and_stop(config, 7)
    listed = only_one_of(tmp_path)
    assert (listed.status, listed.num_bred, listed.money) == ("interrupted", 2, None)


def test_a_run_under_way_is_running(tmp_path):
    seen = []
    config = synthetic.config(tmp_path)
    run_and_stop(config, 3, lambda _: seen.append(only_one_of(tmp_path).status))
    assert seen == ["running"] * 3


def test_a_run_that_never_began_is_new(tmp_path):
    with Ledger(RunDirectory(tmp_path).ledger, is_writer=True):
        pass
    assert only_one_of(tmp_path).status == "new"


def test_the_run_that_was_written_last_comes_first(finished, tmp_path):
    for name, age in (("old", 300), ("new", 100), ("mid", 200)):
        ledger = shutil.copytree(finished, tmp_path / name) / "ledger.sqlite"
        for file in (ledger, *ledger.parent.glob("ledger.sqlite-*")):
            os.utime(file, (10**9 - age, 10**9 - age))
    listed = list_runs(tmp_path)
    assert [run.path.name for run in listed] == ["new", "mid", "old"]
    assert listed[0].changed.startswith("2001-09-")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE children SET scores = '{'", "expected whole children in"),
        ("UPDATE children SET recipe = ''", "expected whole children in"),
        ("UPDATE children SET scores = '[]'", "has the scores []"),
        ("UPDATE children SET scores = '{}'", "has the scores {}"),
        ("PRAGMA user_version = 99", "but got 99; use the loraqd that"),
        ("DROP TABLE children", "no such table"),
        (b"no database" * 99, "file is not a database"),
    ],
)
def test_a_damaged_run_is_a_line_that_says_so(finished, tmp_path, damage, said):
    shutil.copytree(finished, tmp_path / "sound")
    damaged = shutil.copytree(finished, tmp_path / "damaged")
    if isinstance(damage, str):
        rewrite(damaged, damage)
    else:
        (damaged / "ledger.sqlite").write_bytes(damage)
    status = {run.path.name: run.status for run in list_runs(tmp_path)}
    assert status == {"sound": "finished", "damaged": "damaged"}
    (broken,) = [run for run in list_runs(tmp_path) if run.status == "damaged"]
    assert said in broken.problem
    assert "\n" not in broken.problem


def test_damaged_results_are_a_line_that_says_so(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "results.json").write_text("{")
    assert "expected the results of a run in" in only_one_of(tmp_path).problem


def test_no_runs_are_no_error_but_no_directory_is(tmp_path):
    assert list_runs(tmp_path) == []
    with pytest.raises(InputError, match="a directory of runs in .*name it: loraqd"):
        list_runs(tmp_path / "none")
