"""The verbs that read a run: what they print, their JSON, their exit codes."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from lora_qd.cli.main import app
from lora_qd.errors import InputError, StoreError
from lora_qd.runs.run import Run
from lora_qd.store.run_directory import RunDirectory
from tests.runs import synthetic
from tests.runs.audited import rewrite, run_and_stop


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = synthetic.config(tmp_path_factory.mktemp("runs"), search__children=30)
    synthetic.run(config)
    return config.run


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def loraqd(*arguments, code=0):
    """Run a verb in this process; an error of ours is raised as it is."""
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_archive_shows_every_archive_with_its_cells(finished):
    printed = loraqd("archive", finished)
    run = Run.open(finished)
    for skill, archive in run.archives.items():
        stats = archive.stats()
        assert f"{skill}: {stats.num_elites} of 36 cells" in printed
        assert f"QD score {stats.qd_score:.2f}, best {stats.best:.3f}" in printed
    assert all(member in printed for member in run.elite_ids)


def test_archive_prints_one_archive_as_json(finished):
    told = json.loads(loraqd("archive", finished, "--skill", "shell", "--json"))
    archive = Run.open(finished).archives["shell"]
    assert list(told) == ["shell"]
    assert [tuple(e["index"]) for e in told["shell"]["elites"]] == [
        elite.index for elite in archive.elites
    ]
    assert told["shell"]["qd_score"] == archive.stats().qd_score
    assert [axis["task"] for axis in told["shell"]["axes"]] == ["code", "database"]


def test_archive_refuses_an_unknown_skill(finished):
    with pytest.raises(InputError, match="a skill out of code, database, shell, but"):
        loraqd("archive", finished, "--skill", "knitting")


def test_archive_waits_for_the_experts(tmp_path):
    config = synthetic.config(tmp_path)
    run_and_stop(config, 2)
    with pytest.raises(InputError, match="its experts are not scored yet"):
        loraqd("archive", config.run)


def test_archive_shows_a_run_under_way(tmp_path):
    config = synthetic.config(tmp_path)
    shown = []
    run_and_stop(
        config,
        9,
        lambda p: p.num_done > 2 and shown.append(loraqd("archive", config.run)),
    )
    assert len(shown) == 7
    assert "expert-code" in shown[0]


def test_runs_lists_sound_and_damaged_runs(run, tmp_path):
    shutil.copytree(run, tmp_path / "damaged")
    (tmp_path / "damaged" / "ledger.sqlite").write_bytes(b"x" * 999)
    printed = loraqd("runs", tmp_path)
    assert "30 of 30" in printed
    assert f"{tmp_path / 'damaged'}: expected to use the ledger" in printed
    told = json.loads(loraqd("runs", tmp_path, "--json"))
    assert {t["path"].split("/")[-1]: t["status"] for t in told} == {
        "run": "finished",
        "damaged": "damaged",
    }


def test_runs_says_when_there_is_none(tmp_path):
    assert f"No runs in {tmp_path}; start one" in loraqd("runs", tmp_path)


def test_lineage_shows_operators_draws_and_scores(finished):
    run = Run.open(finished)
    row = run.children[-1]
    printed = loraqd("lineage", finished, row.member)
    label = f"{row.member}  bred for {row.task}  code {row.scores['code']:.3f}"
    assert label in printed
    assert f"gain {row.recipe['gain']:.3g}; tilt {row.recipe['tilt']:.3g}" in printed
    assert "crossover linear" in printed
    assert all(parent in printed for parent in row.parents)


def test_lineage_names_a_shared_ancestor_once_and_refers_to_it(finished):
    printed = loraqd("lineage", finished, "balanced", "--depth", "50")
    run = Run.open(finished)
    told = json.loads(
        loraqd("lineage", finished, "balanced", "--depth", "50", "--json")
    )
    members = [ancestor["member"] for ancestor in told]
    assert len(set(members)) == len(members)
    labels = [line.strip("│├└─ \n") for line in printed.splitlines()]
    for member in members[1:]:
        named = [label for label in labels if label.split("  ")[0] == member]
        assert len(named) == 1
    assert " (see there)" in printed
    assert {m for m in members if "-" in m} <= {row.member for row in run.children}


def test_lineage_of_hundreds_of_generations_is_shown(tmp_path, monkeypatch):
    from lora_qd.store.ledger import ChildRow

    scores = dict.fromkeys(synthetic.SKILLS, 0.5)
    rows = [ChildRow(0, "m0", "", (), {}, scores)]
    rows += [
        ChildRow(i, f"m{i}", "code", (f"m{i - 1}",), {"gain": 1.5}, scores)
        for i in range(1, 400)
    ]
    made = Run(RunDirectory(tmp_path), synthetic.config(tmp_path), rows, {}, None)
    monkeypatch.setattr("lora_qd.cli.family.Run.open", lambda _: made)
    printed = loraqd("lineage", tmp_path, "m399", "--depth", "1000")
    assert "m0  code 0.500" in printed
    assert "with --depth 8" not in printed
    assert "see them with --depth 8" in loraqd("lineage", tmp_path, "m399").replace(
        "\n", " "
    )


def test_lineage_refuses_an_unknown_member(finished):
    with pytest.raises(InputError, match="a member of .*, but got 'nobody'; it has ag"):
        loraqd("lineage", finished, "nobody")


def test_verify_prints_a_line_for_every_check(finished):
    lines = loraqd("verify", finished, "--derive").splitlines()
    assert len(lines) == 10
    assert lines[0] == "ledger    ok: every page of the file"
    assert "derive    ok: 32 members bred anew" in lines
    assert lines[-1].endswith("nothing is wrong")


def test_verify_lists_every_problem_and_exits_with_1(run):
    opened = Run.open(run)
    gone = [opened.lineage.path(m) for m in sorted(opened.elite_ids)[:2]]
    for path in gone:
        path.unlink()
    rewrite(run, "DELETE FROM manifest WHERE key = 'splits'")
    printed = loraqd("verify", run, code=1)
    assert "manifest  1 problem:" in printed
    assert "genomes   2 problems:" in printed
    assert all(str(path) in printed for path in gone)
    assert printed.splitlines()[-1].endswith(": 3 problems")


def test_gc_says_what_it_freed(tmp_path):
    config = synthetic.config(tmp_path, search__children=40)
    run_and_stop(config, 40)
    told = loraqd("gc", config.run, "--dry-run")
    assert told.startswith("Would delete ")
    done = loraqd("gc", config.run)
    assert done == told.replace("Would delete", "Deleted")
    assert "Deleted 0 genomes and 0 half-written files: 0.0 MB." in loraqd(
        "gc", config.run
    )


@pytest.fixture
def synthetic_engine(monkeypatch):
    """``reproduce`` searches in the synthetic world."""
    made = synthetic.adapters()
    monkeypatch.setattr("lora_qd.runs.reproduce.load_experts", lambda _: made)

    def search(config, adapters, directory):
        import asyncio

        from lora_qd.runs.evolve import Watcher, evolve

        watcher = Watcher(synthetic.nobody, synthetic.nobody)
        asyncio.run(
            evolve(config, adapters, directory, watcher, synthetic.open_synthetic)
        )

    monkeypatch.setattr("lora_qd.cli.reproducing.run_until_interrupted", search)


@pytest.mark.usefixtures("synthetic_engine")
def test_reproduce_says_identical(run):
    printed = loraqd("reproduce", run)
    assert "identical: 35 children" in printed
    assert RunDirectory(run.with_name("run-reproduced")).is_run
    assert "identical: 35 children" in loraqd("reproduce", run)  # compares only


@pytest.mark.usefixtures("synthetic_engine")
def test_reproduce_lists_the_differences_and_exits_with_1(run, tmp_path):
    rewrite(
        run,
        "UPDATE children SET genome = 'abc' WHERE idx > 9",
        "UPDATE manifest SET value = json_set(value, '$.torch', '1.0') "
        "WHERE key = 'versions'",
    )
    printed = loraqd("reproduce", run, "--run", tmp_path / "out", code=1)
    assert "Another version here: torch" in printed
    assert "25 differences in 35 children" in printed
    assert printed.count("instead of abc") == 10


@pytest.mark.usefixtures("synthetic_engine")
def test_reproduce_never_writes_over_something_else(run, tmp_path):
    with pytest.raises(InputError, match="another directory than .*choose one with --"):
        loraqd("reproduce", run, "--run", run)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"but it holds thesis\.txt"):
        loraqd("reproduce", run, "--run", tmp_path / "out")


@pytest.mark.parametrize("verb", ["archive", "lineage", "verify", "reproduce", "gc"])
def test_no_run_and_a_newer_ledger_are_refused(verb, run, tmp_path):
    more = ["expert-code"] if verb == "lineage" else []
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="expected a run in .* there is none; start"):
        loraqd(verb, tmp_path / "none", *more)
    assert list((tmp_path / "none").iterdir()) == []
    rewrite(run, "PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="but got 99; use the loraqd that wrote it"):
        loraqd(verb, run, *more)
