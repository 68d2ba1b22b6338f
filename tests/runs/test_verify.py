"""An audit finds every way in which a run was tampered with, and names it."""

import shutil
import sqlite3

import pytest

from lora_qd.errors import InputError, StoreError
from lora_qd.runs.history import bred_from
from lora_qd.runs.run import Run
from lora_qd.runs.verify import verify
from lora_qd.store.ledger import best_first
from lora_qd.store.run_directory import RunDirectory
from tests.runs import synthetic
from tests.runs.audited import rewrite, run_and_stop


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A finished run that nobody has tampered with."""
    config = synthetic.config(tmp_path_factory.mktemp("runs"), search__children=40)
    synthetic.run(config)
    return config.run


@pytest.fixture
def run(sound, tmp_path):
    """A copy to tamper with."""
    return Run.open(shutil.copytree(sound, tmp_path / "run"))


def problems_of(path, **options):
    """Return what is wrong, by check."""
    checks = list(verify(path, **options))
    return {check.name: check.problems for check in checks if check.problems}


def genome_of(run, member):
    return run.lineage.path(member)


def test_nothing_is_wrong_with_a_sound_run(sound):
    names = [check.name for check in verify(sound, derive=True)]
    assert names == [
        *("ledger", "children", "manifest", "scores", "lineage", "archives"),
        *("genomes", "files", "derive"),
    ]
    assert problems_of(sound, derive=True) == {}


@pytest.mark.parametrize("after", [0, 2, 5, 7, 9, 15])
@pytest.mark.parametrize("lag", [0, 2])
def test_nothing_is_wrong_with_a_run_that_was_stopped(tmp_path, after, lag):
    config = synthetic.config(tmp_path, search__lag=lag)
    if after:
        run_and_stop(config, after)
    else:
        run_and_stop(config, 1)
        rewrite(config.run, "DELETE FROM children", "DELETE FROM outcomes")
    assert problems_of(config.run, derive=True) == {}


def test_nothing_is_wrong_with_a_run_under_way(tmp_path):
    config = synthetic.config(tmp_path)
    found = []
    run_and_stop(config, 9, lambda _: found.append(problems_of(config.run)))
    assert found == [{}] * 9


def test_nothing_is_wrong_with_an_extended_run(tmp_path):
    for children in (4, 12):
        config = synthetic.config(tmp_path, search__children=children)
        synthetic.run(config)
    assert problems_of(config.run, derive=True) == {}


def test_every_flipped_bit_of_a_genome_is_found(run):
    member = run.best("code").member
    path = genome_of(run, member)
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[position] ^= 1 << (position % 8)
        path.write_bytes(broken)
        (problem,) = problems_of(run.directory.path)["genomes"]
        assert problem.startswith(f"{member}: expected whole cores in {path}, but got")


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_truncated_genome_is_found(run, length):
    path = genome_of(run, "expert-shell")
    path.write_bytes(path.read_bytes()[:length])
    (problem,) = problems_of(run.directory.path)["genomes"]
    assert problem.startswith("expert-shell: expected whole cores in")


@pytest.mark.parametrize("name", ["expert-code", "aggregate", "balanced", "shell"])
def test_a_deleted_genome_is_found(run, name):
    path = genome_of(run, run.id_of(name))
    path.unlink()
    (problem,) = problems_of(run.directory.path)["genomes"]
    assert problem == f"the genome of {run.id_of(name)} is missing: {path}"


def test_a_changed_score_is_found(run):
    row = run.children[10]
    rewrite(
        run.directory.path,
        "UPDATE children SET scores = json_set(scores, '$.shell', 0.999) "
        "WHERE idx = 10",
    )
    found = problems_of(run.directory.path)["scores"]
    assert found == (
        f"{row.member} has the score 0.999 on 'shell', but its outcomes give "
        f"{row.scores['shell']}",
    )


def test_a_changed_outcome_is_found(run):
    row = run.children[7]
    rewrite(
        run.directory.path,
        f"UPDATE outcomes SET value = 1 - value WHERE member = '{row.member}' AND "
        "split = 'search' AND task = 'code'",
    )
    (problem,) = problems_of(run.directory.path)["scores"]
    assert problem.startswith(f"{row.member} has the score {row.scores['code']} on 'co")


def test_a_score_that_was_changed_with_its_outcomes_is_found(run):
    """The children that came later were bred from other elites."""
    member = run.best("code").member
    rewrite(
        run.directory.path,
        "UPDATE children SET scores = json_set(scores, '$.code', 0.0) "
        f"WHERE member = '{member}'",
        f"UPDATE outcomes SET value = 0 WHERE member = '{member}' AND task = 'code'",
    )
    found = problems_of(run.directory.path)
    assert "scores" not in found
    assert found["archives"][0].startswith(f"the results name {member} as the best el")


def test_a_missing_outcome_is_found(run):
    member = run.children[6].member
    rewrite(
        run.directory.path,
        f"DELETE FROM outcomes WHERE member = '{member}' AND task = 'shell' AND "
        "sample LIKE '%-1'",
    )
    (problem,) = problems_of(run.directory.path)["scores"]
    assert problem == f"{member} was scored on other samples of 'shell'"


def change_parents(run, index, parents):
    listed = ", ".join(f"'{parent}'" for parent in parents)
    rewrite(
        run.directory.path,
        f"UPDATE children SET parents = json_array({listed}) WHERE idx = {index}",
    )


def test_a_parent_that_was_no_elite_is_found(run):
    index = 40
    elites = run.elite_ids | bred_from(run.children[:index], run.config)
    foreign = next(r.member for r in run.children[:index] if r.member not in elites)
    change_parents(run, index, [foreign, *run.children[index].parents[1:]])
    (problem,) = problems_of(run.directory.path)["lineage"]
    assert problem.startswith(f"{run.children[index].member} has the parent {foreign}")
    assert "which was no elite of" in problem


def test_parents_in_another_order_are_found(run):
    row = run.children[30]
    change_parents(run, row.index, row.parents[::-1])
    (problem,) = problems_of(run.directory.path)["lineage"]
    assert f"but its seed draws {', '.join(row.parents)}" in problem


@pytest.mark.parametrize("parent", ["nobody", "younger", "itself"])
def test_a_parent_that_is_no_older_member_is_found(run, parent):
    row = run.children[20]
    named = {"younger": run.children[21].member, "itself": row.member}.get(parent)
    change_parents(run, row.index, [named or parent, *row.parents[1:]])
    (problem,) = problems_of(run.directory.path)["lineage"]
    assert problem == f"{row.member} has {named or parent}, which is no older member"


def test_another_recipe_is_found_by_breeding_anew(run):
    row = run.children[20]
    rewrite(
        run.directory.path,
        "UPDATE children SET recipe = json_set(recipe, '$.rng', 'abc') WHERE idx = 20",
    )
    found = problems_of(run.directory.path, derive=True)
    assert found["lineage"] == (
        f"{row.member} has a recipe that its seed does not draw",
    )
    (problem,) = found["derive"]
    assert problem.startswith(f"{row.member}: expected member {row.member}, bred anew")


def test_another_hash_in_the_ledger_is_found(run):
    row = run.children[20]
    rewrite(
        run.directory.path,
        f"UPDATE children SET genome = '{'0' * 64}' WHERE idx = 20",
    )
    found = problems_of(run.directory.path)["genomes"]
    assert found[0] == f"{row.member} has the hash {'0' * 64}, which its name is not of"


@pytest.mark.parametrize(
    ("name", "check", "said"),
    [
        ("members/notes.txt", "files", "is none of the run's files"),
        (f"members/{'a' * 64}.safetensors", "genomes", "no member of the ledger has"),
        ("members/.x.safetensors.12.tmp", "files", "a killed writer left"),
        (".results.json.12.tmp", "files", "a killed writer left"),
    ],
)
def test_a_stray_file_is_found(run, name, check, said):
    source = genome_of(run, "expert-code")
    shutil.copy(source, run.directory.path / name)
    found = problems_of(run.directory.path)[check]
    assert any(said in line and name in line for line in found)


def test_a_genome_that_should_be_gone_is_found(run, tmp_path):
    row = next(r for r in run.children if r.member not in run.kept())
    from lora_qd.store.genomes import save_genome

    save_genome(run.member(row.member).cores, run.directory)
    (problem,) = problems_of(run.directory.path)["genomes"]
    assert f"the genome of {row.member}, which is neither an elite nor" in problem


@pytest.mark.parametrize("key", ["base", "experts", "space", "splits"])
def test_a_manifest_that_is_not_whole_is_found(run, key):
    rewrite(run.directory.path, f"DELETE FROM manifest WHERE key = '{key}'")
    found = problems_of(run.directory.path)["manifest"]
    assert found[0] == f"the manifest has no entry {key!r}"


def test_another_core_space_is_found(run):
    path = run.directory.space
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (problem,) = problems_of(run.directory.path)["manifest"]
    assert problem.startswith("space.safetensors has the hash")


def test_an_edited_table_is_found(run):
    text = run.directory.results.read_text()
    best = best_first(run.children)[0]
    mean = run.results.rows[0].by_skill["code"].mean
    assert str(mean) in text
    assert best
    run.directory.results.write_text(text.replace(str(mean), "0.99"))
    found = problems_of(run.directory.path)["archives"]
    assert any("the results give 'base' 0.99 on 'code'" in line for line in found)


def test_a_missing_child_is_found(run):
    rewrite(run.directory.path, "DELETE FROM children WHERE idx = 4")
    (problem,) = problems_of(run.directory.path)["children"]
    assert problem.startswith("expected child 4, but the next one is 5")


def test_a_damaged_page_of_the_ledger_ends_the_audit(run):
    content = bytearray(run.directory.ledger.read_bytes())
    content[5000:7000] = b"x" * 2000
    run.directory.ledger.write_bytes(content)
    found = problems_of(run.directory.path)
    assert list(found) == ["ledger"]
    assert found["ledger"]


def test_damaged_results_are_one_problem(run):
    run.directory.results.write_text("{")
    (problem,) = problems_of(run.directory.path)["run"]
    assert "expected the results of a run" in problem


def test_all_problems_are_listed(run):
    members = sorted(run.elite_ids)[:3]
    for member in members:
        genome_of(run, member).unlink()
    (run.directory.members / "notes.txt").write_text("")
    found = problems_of(run.directory.path)
    assert len(found["genomes"]) == 3
    assert len(found["files"]) == 1


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a run in .* there is none; start"):
        list(verify(tmp_path))


def test_a_ledger_of_a_newer_version_is_refused(run):
    rewrite(run.directory.path, "PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="but got 99; use the loraqd that wrote it"):
        list(verify(run.directory.path))


def test_an_audit_changes_nothing(run):
    path = run.directory.path
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    assert problems_of(path, derive=True) == {}
    logs = {path / "ledger.sqlite-wal", path / "ledger.sqlite-shm"}  # of any reader
    after = {
        p: p.read_bytes() for p in path.rglob("*") if p.is_file() and p not in logs
    }
    assert after == {p: c for p, c in before.items() if p not in logs}
    with sqlite3.connect(RunDirectory(path).ledger) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
