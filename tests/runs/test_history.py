"""A run goes on as if it had never stopped; every child can be bred again."""

import shutil

import pytest

from lora_qd.errors import StoreError
from lora_qd.factors import content_hash
from lora_qd.runs.history import replay_archives, whole_history
from lora_qd.runs.lineage import Lineage, open_lineage
from lora_qd.runs.run import Run
from lora_qd.search import Breeder
from lora_qd.store.ledger import ChildRow, Ledger, mean
from lora_qd.store.run_directory import RunDirectory
from lora_qd.variation import MutationForm, SelectionForm
from tests.runs import synthetic


class StoppedError(Exception):
    """The run is stopped from outside."""


def run_and_stop(config, after):
    """Run until ``after`` children are in the ledger."""

    def stop(progress):
        if progress.num_done == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        synthetic.run(config, progress=stop)


@pytest.mark.parametrize(
    ("batch", "lag", "stops"),
    [(1, 0, (7,)), (3, 1, (1, 6, 7, 8, 12)), (3, 2, (9,)), (5, 1, (5, 6, 10))],
)
def test_a_run_that_goes_on_ends_as_if_it_had_never_stopped(
    tmp_path, batch, lag, stops
):
    changes = {"search__batch": batch, "search__lag": lag}
    whole = synthetic.config(tmp_path / "whole", **changes)
    synthetic.run(whole)
    broken = synthetic.config(tmp_path / "broken", **changes)
    for stop in stops:
        run_and_stop(broken, stop)
    results = synthetic.run(broken)
    assert synthetic.footprint(broken.run) == synthetic.footprint(whole.run)
    assert results.rows == Run.open(whole.run).results.rows


def test_a_long_run_deletes_what_it_can_breed_again_and_ends_the_same(
    tmp_path, monkeypatch
):
    changes = {"search__children": 60, "search__cells": 3}
    whole = synthetic.config(tmp_path / "whole", **changes)
    synthetic.run(whole)
    monkeypatch.setattr("lora_qd.runs.evolve.CHILDREN_BETWEEN_PRUNES", 4)
    pruned = synthetic.config(tmp_path / "pruned", **changes)
    members = RunDirectory(pruned.run).members
    most = []
    for stop in (9, 17, 40, 57):
        run_and_stop(pruned, stop)
        most.append(len(list(members.iterdir())))
    synthetic.run(pruned)
    assert synthetic.footprint(pruned.run) == synthetic.footprint(whole.run)
    assert max(most) <= 40


@pytest.mark.parametrize("first", [0, 4, 6])
@pytest.mark.parametrize("lag", [0, 1])
def test_an_extended_run_ends_as_if_it_had_been_long_from_the_start(
    tmp_path, first, lag
):
    long = synthetic.config(tmp_path / "long", search__lag=lag)
    synthetic.run(long)
    extended = synthetic.config(
        tmp_path / "extended", search__lag=lag, search__children=first
    )
    synthetic.run(extended)
    again = synthetic.config(tmp_path / "extended", search__lag=lag)
    results = synthetic.run(again)
    rows, expected = (synthetic.footprint(c.run)[0] for c in (again, long))
    assert rows == expected
    assert results.rows == Run.open(long.run).results.rows


def test_what_was_recorded_is_not_scored_again(tmp_path):
    config = synthetic.config(tmp_path)
    run_and_stop(config, 9)
    seen = []
    synthetic.run(config, progress=seen.append)
    assert [(p.num_done, p.num_total) for p in seen] == [(n, 17) for n in range(10, 18)]
    with Ledger(config.run / "ledger.sqlite") as ledger:
        recorded = [mean(row.scores) for row in ledger.children()[:10]]
    assert seen[0].best_mean == max(recorded)
    with Ledger(config.run / "ledger.sqlite") as ledger:
        assert len(ledger.costs()) == len({(c.member, c.split) for c in ledger.costs()})


def test_a_run_goes_on_without_the_genomes_of_its_parents(tmp_path):
    whole = synthetic.config(tmp_path / "whole")
    synthetic.run(whole)
    config = synthetic.config(tmp_path / "bare")
    run_and_stop(config, 12)
    shutil.rmtree(config.run / "members")
    (config.run / "space.safetensors").unlink()
    synthetic.run(config)
    assert synthetic.footprint(config.run) == synthetic.footprint(whole.run)


def test_a_moved_run_goes_on_with_the_bits_that_it_began_with(tmp_path, monkeypatch):
    """Another machine may round otherwise; recorded members stay what they are."""
    config = synthetic.config(tmp_path)
    run_and_stop(config, 12)
    rows = synthetic.footprint(config.run)[0]
    original = synthetic.adapters()
    nudged = synthetic.adapters()
    for skill, expert in nudged.items():
        for update in expert.task_vector.values():
            update.B[0, 0] *= 1 + 1e-7
        object.__setattr__(expert, "weights_hash", original[skill].weights_hash)
    synthetic.run(config, experts=nudged)
    assert synthetic.footprint(config.run)[0][:12] == rows


@pytest.mark.parametrize("form", MutationForm)
@pytest.mark.parametrize("selection", [SelectionForm.PAPER, SelectionForm.UNIFORM])
def test_every_child_is_derived_bit_by_bit_from_its_parents(tmp_path, form, selection):
    config = synthetic.config(
        tmp_path,
        search__mutation=form.value,
        search__selection=selection.value,
        search__granularity="module" if form is MutationForm.MASK else "model",
        search__parents=2 if form is MutationForm.ROTATE else 3,
    )
    synthetic.run(config)
    with Ledger(config.run / "ledger.sqlite") as ledger:
        lineage = open_lineage(ledger, RunDirectory(config.run), config)
        rows = whole_history(ledger)
    assert len(rows) == 17
    for row in rows:
        assert content_hash(lineage.derive(row)) == row.genome


def test_any_member_is_read_though_only_elites_have_files(tmp_path):
    config = synthetic.config(tmp_path, search__children=40)
    synthetic.run(config)
    members = Run.open(config.run)
    with Ledger(config.run / "ledger.sqlite") as ledger:
        rows = ledger.children()
    without_file = [
        row for row in rows if not members.lineage.path(row.member).exists()
    ]
    assert without_file
    for row in without_file:
        assert content_hash(members.member(row.member).cores) == row.genome


def test_a_derived_member_with_other_bits_is_refused(tmp_path):
    config = synthetic.config(tmp_path)
    synthetic.run(config)
    with Ledger(config.run / "ledger.sqlite") as ledger:
        lineage = open_lineage(ledger, RunDirectory(config.run), config)
        row = ledger.children()[-1]
    altered = ChildRow(**{**{f: getattr(row, f) for f in row.__slots__}, "genome": "0"})
    with pytest.raises(StoreError, match="to have the hash 0, but got .*round other"):
        lineage.derive(altered)


def test_a_long_line_of_descent_is_derived_without_recursion(tmp_path):
    config = synthetic.config(tmp_path)
    synthetic.run(config)
    with Ledger(config.run / "ledger.sqlite") as ledger:
        rows = ledger.children()
    child = next(row for row in rows if row.parents)
    breeder = Breeder(
        {s: Run.open(config.run).member(f"expert-{s}").cores for s in config.skills},
        config.search.settings(config.merge_gains),
        config.seed,
    )
    line = list(rows[:5])
    for index in range(5, 2000):
        parent = line[-1].member
        line.append(
            ChildRow(index, f"m{index}", "code", (parent,), child.recipe, {}, None)
        )
    lineage = Lineage(line, {}, RunDirectory(tmp_path / "none"), breeder)
    with pytest.raises(StoreError, match="expected member m5"):
        lineage.cores("m1999")


def test_archives_follow_from_the_scores_alone(tmp_path):
    config = synthetic.config(tmp_path, search__children=30)
    synthetic.run(config)
    shutil.rmtree(config.run / "members")
    with Ledger(config.run / "ledger.sqlite") as ledger:
        rows = whole_history(ledger)
    archives = replay_archives(rows, config)
    members = {row.member for row in rows}
    assert archives.elite_ids() <= members
    for task, archive in archives.by_task.items():
        best = max(row.scores[task] for row in rows)
        assert archive.stats().best == best


def test_members_are_read_while_the_run_goes_on(tmp_path):
    config = synthetic.config(tmp_path)
    read = []

    def look(progress):
        with Ledger(config.run / "ledger.sqlite") as ledger:
            lineage = open_lineage(ledger, RunDirectory(config.run), config)
            newest = ledger.children()[-1]
        read.append(content_hash(lineage.cores(newest.member)) == newest.genome)

    synthetic.run(config, progress=look)
    assert read == [True] * 17


def test_a_gap_in_the_history_is_refused(tmp_path):
    import sqlite3

    config = synthetic.config(tmp_path)
    run_and_stop(config, 9)
    database = sqlite3.connect(config.run / "ledger.sqlite")
    database.execute("DELETE FROM children WHERE idx = 4")
    database.commit()
    database.close()
    with pytest.raises(StoreError, match="expected child 4 .*the next one is 5"):
        synthetic.run(config)
