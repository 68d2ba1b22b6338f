"""A family tree has every ancestor once, as near as it is."""

import pytest

from lora_qd.errors import InputError
from lora_qd.runs.ancestry import ancestors_of
from lora_qd.runs.run import Run
from lora_qd.store.ledger import ChildRow
from lora_qd.store.run_directory import RunDirectory
from tests.runs import synthetic

SCORES = {"code": 0.5, "database": 0.25, "shell": 0.75}


def row(index, *parents, task="code"):
    recipe = {"gain": 1.0 + index} if parents else {"seed": f"m{index}"}
    return ChildRow(index, f"m{index}", task, parents, recipe, SCORES, "0" * 64)


@pytest.fixture
def family(tmp_path):
    """Return a maker of runs without files: their children are given."""
    config = synthetic.config(tmp_path)
    directory = RunDirectory(tmp_path / "none")
    return lambda rows: Run(directory, config, rows, {}, None)


def test_ancestors_come_nearest_first_with_scores_and_draws(family):
    run = family([row(0, task=""), row(1, task=""), row(2, "m0", "m1"), row(3, "m2")])
    found = ancestors_of(run, "m3", 4)
    assert [(a.member, a.generation) for a in found] == [
        *(("m3", 0), ("m2", 1), ("m0", 2), ("m1", 2)),
    ]
    assert found[1].recipe == {"gain": 3.0}
    assert found[1].scores == SCORES
    assert found[2].parents == ()
    assert not any(a.is_last for a in found)


def test_a_shared_ancestor_is_named_once_where_it_is_nearest(family):
    rows = [row(0, task=""), row(1, "m0"), row(2, "m1", "m0"), row(3, "m2", "m1", "m0")]
    found = ancestors_of(family(rows), "m3", 9)
    assert [(a.member, a.generation) for a in found] == [
        *(("m3", 0), ("m2", 1), ("m1", 1), ("m0", 1)),
    ]


def test_the_tree_ends_at_its_depth_and_says_so(family):
    run = family([row(0, task=""), *(row(i, f"m{i - 1}") for i in range(1, 10))])
    found = ancestors_of(run, "m9", 3)
    assert [a.member for a in found] == ["m9", "m8", "m7", "m6"]
    assert [a.is_last for a in found] == [False, False, False, True]
    assert ancestors_of(run, "m9", 0)[0].is_last


def test_five_thousand_generations_are_no_matter(family):
    rows = [row(0, task=""), *(row(i, f"m{i - 1}") for i in range(1, 5000))]
    assert len(ancestors_of(family(rows), "m4999", 10_000)) == 5000


def test_an_aggregate_comes_from_the_elites_that_it_sums(tmp_path):
    config = synthetic.config(tmp_path)
    synthetic.run(config)
    run = Run.open(config.run)
    first, *rest = ancestors_of(run, "aggregate", 1)
    assert first.member == run.results.members["aggregate"]
    assert first.index is None
    best = {archive.best.id for archive in run.archives.values()}
    assert {ancestor.member for ancestor in rest} == best


def test_an_unknown_member_is_refused(family):
    with pytest.raises(InputError, match="got 'm7'; it has 1 children, and those that"):
        ancestors_of(family([row(0, task="")]), "m7", 4)
