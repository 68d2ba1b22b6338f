"""A run that was packed and unpacked is the run that it was, without its places."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lora_qd.errors import InputError, StoreError
from lora_qd.hub.packing import pack, run_id, shared_config
from lora_qd.hub.unpacking import unpack
from lora_qd.records import Split
from lora_qd.runs.config import RunConfig
from lora_qd.runs.experts import load_experts
from lora_qd.runs.run import Run
from lora_qd.runs.verify import verify
from lora_qd.store.ledger import Ledger
from tests.hub import shared
from tests.runs import synthetic


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return shared.finished(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def download(original, tmp_path_factory):
    """A directory as a pull would leave it, and its manifest; not to be changed."""
    return shared.packed(original, tmp_path_factory.mktemp("download") / "snapshot")


@pytest.fixture
def copy(download, tmp_path):
    """The same, to be changed."""
    directory, manifest = download
    return shutil.copytree(directory, tmp_path / "copy"), manifest


def unpacked(download, out, base):
    directory, manifest = download
    return unpack(directory, manifest, out, base=str(base), source="someone/run")


def go_on(run, children):
    search = run.config.search.model_copy(update={"children": children})
    config = run.config.model_copy(update={"search": search})
    synthetic.run(config, experts=load_experts(config))
    return Run.open(config.run)


def test_an_unpacked_run_has_the_same_ledger_but_for_the_answers(
    original, download, tmp_path
):
    run = unpacked(download, tmp_path / "run", original.config.base)
    assert synthetic.footprint(run.directory.path) == synthetic.footprint(
        original.directory.path
    )
    assert run.results == original.results
    assert run.status == original.status == "finished"
    with (
        Ledger(run.directory.ledger) as ours,
        Ledger(original.directory.ledger) as theirs,
    ):
        assert ours.costs() == theirs.costs()
        assert ours.sessions() == theirs.sessions()
        member = run.children[0].member
        scores = ours.outcomes(member, Split.SEARCH, "code")
        assert {score.answer for score in scores.values()} == {""}


def test_children_that_were_left_in_the_middle_arrive_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "NUM_SAMPLES", 24)
    changes = {"search__cells": 3, "search__children": 60}
    changes |= {"search__stopping": "exact", "search__stopping_chunk": 2}
    original = shared.finished(tmp_path / "original", **changes)
    download = shared.packed(original, tmp_path / "snapshot")
    run = unpacked(download, tmp_path / "run", original.config.base)
    assert any(row.num_left for row in run.children)
    assert run.children == original.children
    assert all(check.problems == () for check in verify(run.directory.path))


def test_it_passes_every_check_and_derives_every_child(original, download, tmp_path):
    run = unpacked(download, tmp_path / "run", original.config.base)
    checks = list(verify(run.directory.path, derive=True))
    assert len(checks) == 9
    assert [check.problems for check in checks] == [()] * 9


def test_it_goes_on_as_the_original_does(original, download, tmp_path):
    pulled = unpacked(download, tmp_path / "elsewhere" / "run", original.config.base)
    shutil.copytree(original.directory.path, tmp_path / "home")
    config = original.config.model_copy(update={"run": tmp_path / "home"})
    at_home = Run(original.directory, config, original.children, original.others, None)
    ours, theirs = go_on(pulled, 24), go_on(at_home, 24)
    assert ours.num_bred == theirs.num_bred == 24
    footprints = [synthetic.footprint(r.directory.path) for r in (ours, theirs)]
    assert footprints[0] == footprints[1]


def test_a_run_keeps_its_id_wherever_and_however_far_it_goes(
    original, download, tmp_path
):
    pulled = unpacked(download, tmp_path / "run", original.config.base)
    assert run_id(pulled) == run_id(original)
    assert run_id(go_on(pulled, 15)) == run_id(original)
    other = shared.finished(tmp_path / "other", seed=2)
    assert run_id(other) != run_id(original)


def test_packing_twice_gives_the_same_bytes(original, download, tmp_path):
    again, manifest = shared.packed(original, tmp_path / "again")
    assert manifest.files == download[1].files
    assert {file.path.split("/")[0] for file in manifest.files} == {"run", "experts"}
    assert (again / "run/run.json").is_file()


def test_nothing_packed_names_a_place(original, download):
    directory, _ = download
    place = str(original.directory.path.parent).encode()
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if place in path.read_bytes()]


def test_a_shared_config_keeps_prompts_and_drops_places(tmp_path):
    skill = {
        "data": {"path": ["/home/me/data/rows.jsonl", "rows/more.jsonl"]},
        "directory": "/home/me/skills",
        "prompt": "/no_think {{ question }}",
        "answer": "{{ answer }}",
        "scorer": {"kind": "exact"},
    }
    config = RunConfig.model_validate(
        {
            "base": "/models/llama",
            "run": "/home/me/runs/x",
            "experts_dir": "/home/me/experts",
            "skills": ["mine", "code"],
            "own_skills": {"mine": skill},
            "engine": {"urls": ["http://127.0.0.1:1"], "arguments": ["--seed=1"]},
            "report_to": [],
        }
    )
    raw = shared_config(config, "someone/a-base")
    assert "/home" not in json.dumps(raw)
    assert raw["base"] == "someone/a-base"
    mine = raw["own_skills"]["mine"]
    assert mine["prompt"] == "/no_think {{ question }}"
    assert mine["data"]["path"] == ["rows.jsonl", "rows/more.jsonl"]
    assert mine["directory"] == "skills"
    assert "urls" not in raw["engine"]
    assert "arguments" not in raw["engine"]


@pytest.mark.parametrize("kind", ["ray", "transformers"])
def test_only_what_rounds_otherwise_is_told_of_the_engine(tmp_path, kind):
    engine = {"kind": kind, "address": "10.0.0.1:6379"}
    raw = shared_config(synthetic.config(tmp_path, engine=engine), "someone/a-base")
    assert raw["engine"].get("kind") == (None if kind == "ray" else kind)
    assert "10.0.0.1" not in json.dumps(raw)


def test_an_expert_that_changed_since_is_not_packed(tmp_path):
    run = shared.finished(tmp_path / "a")
    other = synthetic.adapters(seed=5)["code"].task_vector
    from lora_qd.store.adapters import save_adapter

    directory = run.config.experts_dir / "code"
    save_adapter(other, directory, base=run.config.base, replace=True)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="expert of 'code' that the run began with"):
        pack(run, tmp_path / "out", base=shared.BASE_ID)


def test_another_base_is_refused(download, tmp_path):
    other = tmp_path / "other-base"
    other.mkdir()
    (other / "config.json").write_text('{"another": 1}')
    with pytest.raises(InputError, match="is another one .* with --base"):
        unpacked(download, tmp_path / "run", other)
    assert not (tmp_path / "run").exists()


def test_an_existing_directory_stays_as_it_is(original, download, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "mine").write_text("x")
    with pytest.raises(StoreError, match="not to exist, but it does"):
        unpacked(download, out, original.config.base)
    assert [path.name for path in out.iterdir()] == ["mine"]


def change_record(directory, change):
    path = directory / "run/run.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def set_in(*keys, value):
    def change(record):
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (set_in("children", 3, "scores", "code", value=0.9), "scores: "),
        (set_in("children", 3, "scores", "code", value=7.0), "less than or equal"),
        (set_in("children", 7, "parents", value=["nobody"]), "lineage: "),
        (set_in("children", 3, "genome", value="0" * 64), "genome"),
        (set_in("children", 3, "scores", value={}), "sound run in someone/run"),
        (set_in("results", "members", value={"../../x": "base"}), "no name of a serv"),
        (set_in("experts", value={"../x": "code"}), "no skill's name"),
        (set_in("facts", "space", value="0" * 64), "another core space"),
        (set_in("facts", "base", value="another"), "another base in run.json"),
        (set_in("config", "unknown", value=1), "unknown key"),
        (set_in("config", "skills", value=["code", "law"]), "experts of"),
        (set_in("extra", value=1), "extra: "),
        (set_in("outcomes", 0, "samples", value=["x"]), "outcomes of shape"),
        (set_in("evaluations", value=[]), "was never evaluated"),
    ],
)
def test_a_run_that_contradicts_itself_is_refused_and_leaves_nothing(
    copy, original, tmp_path, change, match
):
    change_record(copy[0], change)
    with pytest.raises(InputError, match=match):
        unpacked(copy, tmp_path / "run", original.config.base)
    assert not (tmp_path / "run").exists()


def test_what_would_start_or_reach_a_server_is_not_taken_over(copy, original, tmp_path):
    engine = {"arguments": ["--middleware=evil"], "urls": ["http://127.0.0.1:9"]}
    engine |= {"kind": "ray", "address": "10.0.0.1:6379"}
    change_record(copy[0], lambda r: r["config"]["engine"].update(engine))
    run = unpacked(copy, tmp_path / "run", original.config.base)
    assert run.config.engine.arguments == ()
    assert run.config.engine.urls == ()
    assert run.config.engine.kind == "vllm"
    assert run.config.engine.address == "auto"


def test_cores_that_are_not_finite_are_refused(copy, original, tmp_path):
    path = next((copy[0] / "run/genomes").iterdir())
    cores = load_file(path)
    save_file({m: np.full_like(core, np.nan) for m, core in cores.items()}, path)
    with pytest.raises(StoreError, match="does not have that hash"):
        unpacked(copy, tmp_path / "run", original.config.base)
    assert not (tmp_path / "run").exists()


def test_outcomes_outside_the_unit_interval_are_refused(copy, original, tmp_path):
    path = copy[0] / "run/outcomes.safetensors"
    tensors = load_file(path)
    tensors["0.value"] = tensors["0.value"] + 2
    save_file(tensors, path)
    with pytest.raises(InputError, match=r"scores in \[0, 1\]"):
        unpacked(copy, tmp_path / "run", original.config.base)
