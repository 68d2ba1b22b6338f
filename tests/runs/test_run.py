"""A run from Python: archives, members and a frame, of finished and other runs."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

import lora_qd
from lora_qd.errors import InputError, LoraQDError, StoreError
from lora_qd.factors import content_hash
from lora_qd.runs.run import Run, Status
from lora_qd.store.ledger import Ledger, mean
from lora_qd.store.run_directory import RunDirectory
from tests.runs import synthetic
from tests.runs.audited import rewrite, run_and_stop


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs")
    config = synthetic.config(path, search__children=30)
    synthetic.run(config)
    return config.run


def test_the_package_exports_it_without_importing_anything_heavy():
    code = (
        "import sys, lora_qd\n"
        "heavy = [m for m in ('numpy', 'torch', 'pydantic') if m in sys.modules]\n"
        "print(heavy, lora_qd.Run.__name__)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[] Run\n"
    with pytest.raises(AttributeError, match="no attribute 'Walk'"):
        _ = lora_qd.Walk


def test_the_best_child_has_the_highest_mean(finished):
    run = Run.open(finished)
    best = run.best()
    assert mean(best.scores) == max(mean(row.scores) for row in run.children)


@pytest.mark.parametrize("skill", synthetic.SKILLS)
def test_the_best_of_an_archive_has_the_highest_score(finished, skill):
    run = Run.open(finished)
    best = run.best(skill)
    assert best.scores[skill] == max(row.scores[skill] for row in run.children)
    assert best.member == run.results.members[skill]
    assert best.member == run.archives[skill].best.id


def test_every_member_is_read_or_bred_again(finished):
    run = Run.open(finished)
    for row in run.children:
        assert content_hash(run.member(row.member).cores) == row.genome
    assert run.member("aggregate").id == run.results.members["aggregate"]


def test_an_exact_task_vector_is_the_experts_own_delta(finished):
    run = Run.open(finished)
    update = run.materialise("expert-code")
    for module, expert in synthetic.adapters()["code"].task_vector.items():
        np.testing.assert_allclose(dense(update[module]), dense(expert), atol=1e-5)


def dense(update):
    return update.scaling * update.B @ update.A


def test_a_truncated_task_vector_has_the_rank_asked_for(finished):
    update = Run.open(finished).materialise("balanced", rank=1)
    assert {factors.rank for factors in update.values()} == {1}


def test_a_member_is_exported_once(finished, tmp_path):
    run = Run.open(finished)
    assert 0 <= run.export("balanced", tmp_path / "out") < 1
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    with pytest.raises(InputError, match="not to exist, but it does"):
        run.export("balanced", tmp_path / "out")


def test_a_frame_has_a_line_for_every_child(finished):
    pytest.importorskip("pandas")
    run = Run.open(finished)
    frame = run.frame()
    assert list(frame.member) == [row.member for row in run.children]
    assert set(frame[frame.is_elite].member) == run.elite_ids
    assert frame["mean"].max() == mean(run.best().scores)


def test_a_frame_without_pandas_is_refused_in_one_line(finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(LoraQDError, match=r"it is not installed; run: pip install pan"):
        Run.open(finished).frame()


def test_a_copied_run_is_read_without_base_and_experts(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    rewrite(
        tmp_path / "copy",
        "UPDATE sessions SET about = replace(about, '/run', '/gone')",
    )
    run = Run.open(tmp_path / "copy")
    assert run.status is Status.FINISHED
    run.export(run.best().member, tmp_path / "out")
    assert content_hash(run.member("balanced").cores)


def test_a_run_under_way_is_read_while_its_writer_works(tmp_path):
    config = synthetic.config(tmp_path)
    seen = []

    def look(progress):
        run = Run.open(config.run)
        seen.append((len(run.children), run.status))

    run_and_stop(config, 9, look)
    assert seen == [(n, Status.RUNNING) for n in range(1, 10)]
    run = Run.open(config.run)
    assert run.status is Status.INTERRUPTED
    assert run.num_bred == 4
    assert run.results is None


def test_before_the_experts_are_scored_there_is_no_best(tmp_path):
    config = synthetic.config(tmp_path)
    run_and_stop(config, 2)
    with pytest.raises(InputError, match="its experts are not scored yet; wait"):
        Run.open(config.run).best()


@pytest.mark.parametrize("name", ["nobody", "", "../ledger", "base"])
def test_an_unknown_member_is_named_with_those_that_exist(finished, name):
    with pytest.raises(InputError, match=r"expected a member of .*aggregate, balanced"):
        Run.open(finished).member(name)


def test_the_aggregate_is_nobodys_child(finished):
    with pytest.raises(InputError, match="'aggregate', which was made after the sea"):
        Run.open(finished).child("aggregate")


def test_an_unknown_skill_is_named_with_those_that_exist(finished):
    with pytest.raises(InputError, match="a skill out of code, database.*'knitting'"):
        Run.open(finished).best("knitting")


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a run in .* there is none; start"):
        Run.open(tmp_path)


def test_a_run_that_never_began_is_refused(tmp_path):
    with Ledger(RunDirectory(tmp_path).ledger, is_writer=True):
        pass
    with pytest.raises(InputError, match="stopped before it began; start it with"):
        Run.open(tmp_path)


def test_a_ledger_of_a_newer_version_is_refused(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    rewrite(tmp_path / "copy", "PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"or older at .*but got 99; use the loraqd"):
        Run.open(tmp_path / "copy")
