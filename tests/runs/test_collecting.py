"""Collecting frees what can be bred again, and that is all that it touches."""

import pytest

from lora_qd.errors import InputError
from lora_qd.factors import content_hash
from lora_qd.runs.collecting import collect
from lora_qd.runs.run import Run
from lora_qd.runs.verify import verify
from lora_qd.store.genomes import save_genome
from lora_qd.store.run_directory import RunDirectory
from tests.runs import synthetic
from tests.runs.audited import rewrite, run_and_stop


@pytest.fixture
def interrupted(tmp_path):
    """A run that was stopped with a file for every member, and what it leaves."""
    config = synthetic.config(tmp_path, search__children=40)
    run_and_stop(config, 40)
    return config


def files_of(path):
    return {p: p.stat().st_size for p in path.rglob("*") if p.is_file()}


def test_what_is_deleted_is_bred_again_bit_by_bit(interrupted):
    before = Run.open(interrupted.run)
    assert all(before.lineage.path(r.member).is_file() for r in before.children)
    found = collect(interrupted.run)
    assert found.num_genomes > 0
    assert found.not_bred == ()
    run = Run.open(interrupted.run)
    gone = [r for r in run.children if not run.lineage.path(r.member).is_file()]
    assert len(gone) == found.num_genomes
    assert {row.member for row in gone}.isdisjoint(run.kept())
    for row in gone:
        assert content_hash(run.member(row.member).cores) == row.genome


def test_it_says_what_it_freed_and_what_stays(interrupted):
    members = RunDirectory(interrupted.run).members
    before = files_of(members)
    found = collect(interrupted.run)
    after = files_of(members)
    assert found.num_bytes == sum(before.values()) - sum(after.values())
    assert found.num_kept == len(after)
    assert collect(interrupted.run).num_genomes == 0


def test_a_dry_run_says_the_same_and_deletes_nothing(interrupted):
    before = files_of(RunDirectory(interrupted.run).members)
    told = collect(interrupted.run, dry_run=True)
    assert files_of(RunDirectory(interrupted.run).members) == before
    assert collect(interrupted.run) == told


def test_a_run_goes_on_as_if_nothing_had_been_deleted(interrupted, tmp_path):
    whole = synthetic.config(tmp_path / "whole", search__children=40)
    synthetic.run(whole)
    collect(interrupted.run)
    synthetic.run(interrupted)
    assert synthetic.footprint(interrupted.run) == synthetic.footprint(whole.run)
    assert not any(check.problems for check in verify(interrupted.run))


def test_half_written_files_and_genomes_of_nobody_go(interrupted):
    directory = RunDirectory(interrupted.run)
    collect(interrupted.run)
    orphan = save_genome({"x": synthetic.np.ones((2, 2))}, directory)
    (directory.members / ".a.safetensors.7.tmp").write_bytes(b"12345")
    (directory.path / ".results.json.7.tmp").write_bytes(b"123")
    size = directory.genome(orphan).stat().st_size
    found = collect(interrupted.run)
    assert (found.num_genomes, found.num_leftovers) == (1, 2)
    assert found.num_bytes == size + 8


def test_files_of_others_stay(interrupted):
    directory = RunDirectory(interrupted.run)
    names = ["notes.txt", "my-favourite.safetensors"]
    for name in names:
        (directory.members / name).write_bytes(b"precious")
    collect(interrupted.run)
    for name in names:
        assert (directory.members / name).read_bytes() == b"precious"


def test_named_members_stay_in_a_finished_run(interrupted):
    synthetic.run(interrupted)
    assert collect(interrupted.run).num_genomes == 0
    run = Run.open(interrupted.run)
    assert all(run.lineage.path(m).is_file() for m in run.required())


def test_what_cannot_be_bred_again_stays(interrupted):
    run = Run.open(interrupted.run)
    spare = next(r for r in run.children[5:] if r.member not in run.kept())
    rewrite(
        interrupted.run,
        "UPDATE children SET recipe = json_set(recipe, '$.rng', 'abc') "
        f"WHERE member = '{spare.member}'",
    )
    assert collect(interrupted.run).not_bred == (spare.member,)
    assert run.lineage.path(spare.member).is_file()


def test_a_run_that_is_being_written_is_refused(interrupted):
    before = files_of(RunDirectory(interrupted.run).members)
    with (
        RunDirectory(interrupted.run).lock(),
        pytest.raises(InputError, match="another process is writing this run"),
    ):
        collect(interrupted.run)
    assert files_of(RunDirectory(interrupted.run).members) == before


def test_a_directory_without_a_run_is_refused_and_stays_empty(tmp_path):
    with pytest.raises(InputError, match="expected a run in .* there is none; start"):
        collect(tmp_path)
    assert list(tmp_path.iterdir()) == []
