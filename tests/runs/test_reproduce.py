"""Two runs are compared bit by bit; a real one is repeated from its manifest."""

import shutil
import subprocess
import sys

import pytest

from lora_qd.errors import InputError
from lora_qd.runs.reproduce import (
    NUM_SHOWN,
    compare,
    other_versions,
    require_reproducible,
)
from lora_qd.runs.run import Run
from tests.runs import synthetic
from tests.runs.audited import rewrite, run_and_stop
from tests.runs.small import ROOT


@pytest.fixture(autouse=True)
def experts_at_hand(monkeypatch):
    """The synthetic experts are on no disk."""
    made = synthetic.adapters()
    monkeypatch.setattr("lora_qd.runs.reproduce.load_experts", lambda _: made)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A finished run."""
    config = synthetic.config(tmp_path_factory.mktemp("runs"))
    synthetic.run(config)
    return config.run


@pytest.fixture
def second(first, tmp_path):
    """Its copy, to be altered."""
    return shutil.copytree(first, tmp_path / "second")


def differences(first, second):
    return compare(Run.open(first), Run.open(second)).differences


def test_a_run_and_its_repetition_are_identical(first, tmp_path):
    config = synthetic.config(tmp_path)
    synthetic.run(config)
    found = compare(Run.open(first), Run.open(config.run))
    assert (found.num_differences, found.differences) == (0, ())
    assert found.num_children == 17
    assert found.num_outcomes > 17 * 3 * synthetic.NUM_SAMPLES
    assert found.num_elites > 3


def test_a_run_with_another_seed_is_another_run(first, tmp_path):
    config = synthetic.config(tmp_path, seed=2)
    synthetic.run(config)
    found = compare(Run.open(first), Run.open(config.run))
    assert found.num_differences > NUM_SHOWN == len(found.differences)
    assert found.differences[0].startswith("child 5: member 00005-")


def test_an_extended_run_is_compared_with_a_long_one(first, tmp_path):
    for children in (4, 12):
        config = synthetic.config(tmp_path, search__children=children)
        synthetic.run(config)
    assert differences(config.run, first) == ()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "UPDATE children SET recipe = json_set(recipe, '$.gain', 2.0) "
            "WHERE idx = 9",
            "child 9: recipe gain: 2.0 instead of ",
        ),
        (
            "UPDATE children SET genome = 'abc' WHERE idx = 9",
            "child 9: genome abc instead of ",
        ),
        (
            "UPDATE outcomes SET answer = 'x' WHERE member = 'expert-code' AND "
            "split = 'search' AND task = 'shell' AND sample = 'search-0'",
            "expert-code on search shell/search-0: another answer with the same score",
        ),
        (
            "UPDATE outcomes SET value = 1.0 WHERE member = 'base' AND "
            "task = 'shell' AND sample = 'test-1'",
            "base on test shell/test-1: 1 instead of 0.5",
        ),
        (
            "DELETE FROM outcomes WHERE member = 'merge-0.5' AND split = 'search' "
            "AND task = 'shell' AND sample = 'search-0'",
            "merge-0.5 on search shell/search-0: not asked again",
        ),
        (
            "UPDATE outcomes SET sample = 'other' WHERE member = 'base' AND "
            "task = 'shell' AND sample = 'test-0'",
            "base on test shell/other: not asked before",
        ),
        (
            "UPDATE manifest SET value = '\"x\"' WHERE key = 'space'",
            "manifest: another space",
        ),
    ],
)
def test_one_difference_is_named(first, second, statement, said):
    rewrite(second, statement)
    (line,) = differences(first, second)
    assert line.startswith(said)


def test_another_score_moves_an_archive(first, second):
    run = Run.open(first)
    row = next(r for r in run.children if r.member not in run.elite_ids)
    rewrite(
        second,
        "UPDATE children SET scores = json_set(scores, '$.code', 1.0) "
        f"WHERE idx = {row.index}",
    )
    score, *moved = differences(first, second)
    before = row.scores["code"]
    assert score == f"child {row.index}: scores code: 1.0 instead of {before}"
    assert any(f"]: {row.member} instead of " in line for line in moved)


def test_a_shorter_run_is_another_run(first, second):
    member = Run.open(first).children[-1].member
    rewrite(
        second,
        "DELETE FROM children WHERE idx = 16",
        f"DELETE FROM outcomes WHERE member = '{member}'",
    )
    assert differences(first, second)[0] == "16 children instead of 17"


def test_package_versions_that_differ_are_named(second):
    rewrite(
        second,
        "UPDATE manifest SET value = json_set(value, '$.torch', '1.0', '$.gone', '2') "
        "WHERE key = 'versions'",
    )
    torch, *rest = other_versions(Run.open(second))[::-1]
    assert torch.startswith("torch ")
    assert torch.endswith(" instead of 1.0")
    assert rest == ["gone missing instead of 2"]


def test_only_a_finished_run_is_repeated(tmp_path):
    config = synthetic.config(tmp_path)
    run_and_stop(config, 7)
    with pytest.raises(InputError, match="but it is interrupted; finish it: loraqd re"):
        require_reproducible(Run.open(config.run))


def test_another_base_is_refused(first, second):
    assert require_reproducible(Run.open(first))
    rewrite(second, "UPDATE manifest SET value = '\"x\"' WHERE key = 'base'")
    with pytest.raises(InputError, match="expected the base that the run began with"):
        require_reproducible(Run.open(second))


def test_another_expert_is_refused(first, monkeypatch):
    others = synthetic.adapters(seed=1)
    monkeypatch.setattr("lora_qd.runs.reproduce.load_experts", lambda _: others)
    with pytest.raises(InputError, match="expected the expert of code that the run"):
        require_reproducible(Run.open(first))


@pytest.mark.slow
def test_a_real_run_is_reproduced_bit_by_bit(finished_run, tmp_path):
    out = tmp_path / "again"
    command = [sys.executable, "cli.py", "reproduce", str(finished_run[0])]
    done = subprocess.run(
        [*command, "--run", str(out)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical: 11 children" in done.stdout
