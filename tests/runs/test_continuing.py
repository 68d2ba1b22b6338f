"""What may change in a run that goes on, and what may not."""

import hashlib
import re

import pytest

from lora_qd.cli.evolving import with_children
from lora_qd.errors import InputError
from lora_qd.runs.beginning import fix_samples
from lora_qd.runs.config import RunConfig
from lora_qd.runs.continuing import (
    fixed_values,
    is_finished,
    recorded_config,
    require_same_search,
)
from lora_qd.runs.run import Run
from lora_qd.store.ledger import Ledger
from lora_qd.store.run_directory import RunDirectory
from tests.runs import synthetic


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the config of a finished run."""
    config = synthetic.config(tmp_path_factory.mktemp("finished"))
    synthetic.run(config)
    return config


def changed(config, **changes):
    raw = config.model_dump(mode="json")
    for key, value in changes.items():
        *sections, last = key.split("__")
        below = raw
        for section in sections:
            below = below[section]
        below[last] = value
    return RunConfig.model_validate(raw)


@pytest.mark.parametrize(
    "changes",
    [
        {"search__children": 13},
        {"finalists": 5},
        {"sandbox_workers": 3},
        {"engine__max_loras": 8},
        {"engine__max_num_seqs": 9},
        {"base": "/elsewhere/base"},
        {"experts_dir": "/elsewhere/experts"},
        {"run": "/elsewhere/run"},
        {"training__epochs": 3},
        {"report_to": ["mlflow"]},
    ],
)
def test_how_long_how_fast_and_where_may_change(finished, changes):
    require_same_search(
        RunDirectory(finished.run), finished, changed(finished, **changes)
    )
    assert changed(finished, **changes) != finished


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 2}, "seed: 2 instead of 1"),
        ({"search__batch": 4}, "search.batch: 4 instead of 3"),
        ({"search__lag": 0}, "search.lag: 0 instead of 1"),
        ({"search__w_max": 0.2}, "search.w_max: 0.2 instead of 0.1"),
        ({"search__cells": 9}, "search.cells: 9 instead of 6"),
        ({"merge_gains": [0.5]}, r"merge_gains: \[0.5\] instead of \[0.5, 0.7\]"),
        ({"samples__search": 9}, "samples.search: 9 instead of None"),
        ({"samples__test": 9}, "samples.test: 9 instead of None"),
        ({"retention": ["general"]}, r"retention: \['general'\] instead of \[\]"),
        ({"engine__serve_rank": 8}, "engine.serve_rank: 8 instead of 4"),
        ({"engine__dtype": "float32"}, "engine.dtype: 'float32' instead of 'bfloat16'"),
        ({"seed": 3, "search__lag": 0}, "search.lag: .*; seed: 3 instead of 1; choose"),
    ],
)
def test_what_scores_and_children_depend_on_may_not_change(finished, changes, message):
    run = RunDirectory(finished.run)
    with pytest.raises(InputError, match=message) as caught:
        require_same_search(run, finished, changed(finished, **changes))
    assert "\n" not in str(caught.value)


def test_a_new_field_may_not_change_until_somebody_says_so(finished):
    fixed = fixed_values(finished)
    sections = {key.split(".")[0] for key in fixed}
    free = {"base", "run", "experts_dir", "experts", "training", "finalists"}
    free |= {"sandbox_workers", "systems", "allow_other_quantization", "report_to"}
    free |= {"own_skills"}  # there are none here
    assert sections == set(RunConfig.model_fields) - free
    in_search = {f"search.{name}" for name in type(finished.search).model_fields}
    assert {k for k in fixed if k.startswith("search.")} == in_search - {
        "search.children"
    }


def test_a_skill_of_ones_own_may_not_change(finished):
    skill = {"data": {"path": "x.jsonl"}, "prompt": "p", "answer": "a"}
    scorers = [{"kind": "exact"}, {"kind": "numeric"}]
    before, after = (
        changed(finished, own_skills={"x": skill | {"scorer": scorer}})
        for scorer in scorers
    )
    run = RunDirectory(finished.run)
    with pytest.raises(InputError, match=r"own_skills\.x\.scorer\.kind"):
        require_same_search(run, before, after)


def test_a_run_is_never_made_shorter(finished):
    run = RunDirectory(finished.run)
    with pytest.raises(InputError, match="at least 12, which .* but got 11"):
        require_same_search(run, finished, changed(finished, search__children=11))


def test_a_finished_run_is_known_and_may_be_extended(finished):
    run = RunDirectory(finished.run)
    assert recorded_config(run) == finished
    assert is_finished(run, finished)
    assert not is_finished(run, changed(finished, search__children=13))


@pytest.mark.parametrize(("text", "num"), [("+200", 212), ("200", 200), ("+0", 12)])
def test_a_budget_is_given_as_more_or_as_a_whole(finished, text, num):
    assert with_children(finished, text).search.children == num


@pytest.mark.parametrize("text", ["-5", "many", "+", "1.5", ""])
def test_a_budget_that_is_no_number_is_refused(finished, text):
    with pytest.raises(InputError, match=r"like \+200 or 1400"):
        with_children(finished, text)


def test_another_base_is_refused(finished, monkeypatch):
    experts = synthetic.adapters()
    monkeypatch.setattr("lora_qd.runs.manifest.base_hash", lambda _: "0" * 64)
    with pytest.raises(InputError, match="the base that the run began .*000000000000"):
        synthetic.run(finished, experts=experts)


def test_an_expert_that_changed_on_disk_is_refused(finished):
    experts = synthetic.adapters()
    other = hashlib.sha256(b"other").hexdigest()
    object.__setattr__(experts["shell"], "weights_hash", other)
    with pytest.raises(InputError, match="the expert of shell .*restore what it was"):
        synthetic.run(finished, experts=experts)
    assert recorded_config(RunDirectory(finished.run)) == finished


def test_other_samples_are_refused(finished):
    class OtherTask(synthetic.CoresTask):
        def samples(self, split):
            return super().samples(split)[1:]

    tasks = {skill: OtherTask(skill) for skill in finished.skills}
    with (
        Ledger(finished.run / "ledger.sqlite", is_writer=True) as ledger,
        pytest.raises(InputError, match="the samples of code/search that the run"),
    ):
        fix_samples(finished, tasks, ledger)


def test_the_manifest_says_what_fixes_a_run_and_each_session_who_drove_it(finished):
    with Ledger(finished.run / "ledger.sqlite") as ledger:
        manifest, session = ledger.manifest(), ledger.last_session()
    assert manifest["config"]["search"]["children"] == 12
    assert manifest["seed"] == 1
    assert set(manifest["experts"]) == set(synthetic.SKILLS)
    assert len(manifest["splits"]) == 9
    hashes = [manifest["base"], manifest["tokenizer"], manifest["space"]]
    assert all(len(value) == 64 for value in hashes)
    for about in (manifest, session):
        assert {"loraqd", "python", "torch", "numpy"} <= set(about["versions"])
        assert about["machine"]["num_processors"] >= 1
        assert about["config"]["seed"] == 1
        assert re.fullmatch(r"[0-9a-f]{40}\+?|None", str(about["revision"]))


def test_a_copied_run_is_read_where_nothing_else_is(finished, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(finished.run, tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "copy" / "config.yaml").write_text(
        (finished.run / "config.yaml").read_text().replace(str(finished.base), "gone")
    )
    members = Run.open(tmp_path / "copy")
    for name in members.results.members:
        members.export(name, tmp_path / "out" / name)
        assert (tmp_path / "out" / name / "adapter_model.safetensors").is_file()
