"""A cell's name is the member in it, wherever members are named."""

import pytest

from lora_qd.errors import InputError
from lora_qd.runs.cells import cell_name, elite_at
from lora_qd.runs.run import Run
from tests.runs import synthetic


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = synthetic.config(tmp_path_factory.mktemp("run"), search__children=30)
    synthetic.run(config)
    return Run.open(config.run)


def test_every_occupied_cell_is_its_elite(run):
    for archive in run.archives.values():
        for elite in archive.elites:
            assert run.id_of(cell_name(archive, elite.index)) == elite.id
            assert elite_at(cell_name(archive, elite.index), run.archives) == elite.id


def test_a_cells_member_is_exported_like_any_other(run, tmp_path):
    elite = run.archives["code"].elites[0]
    by_cell = run.member(cell_name(run.archives["code"], elite.index))
    assert by_cell.id == elite.id
    run.export(cell_name(run.archives["code"], elite.index), tmp_path / "out")
    assert (tmp_path / "out/adapter_config.json").is_file()


def test_an_empty_cell_names_the_nearest(run):
    archive = run.archives["code"]
    taken = {elite.index for elite in archive.elites}
    empty = next((i, j) for i in range(6) for j in range(6) if (i, j) not in taken)
    nearest = min(
        sorted(taken), key=lambda o: abs(o[0] - empty[0]) + abs(o[1] - empty[1])
    )
    match = rf"is empty; {len(taken)} are occupied, the nearest is code\[{nearest[0]},"
    with pytest.raises(InputError, match=match):
        run.id_of(cell_name(archive, empty))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("law[0,0]", "a cell of code, database, shell"),
        ("code[0]", r"place on database \(0 to 5\) and shell \(0 to 5\)"),
        ("code[0,0,0]", "place on database"),
        ("code[6,0]", "place on database"),
        ("code[999999,0]", "place on database"),
    ],
)
def test_a_cell_that_cannot_be_is_refused(run, name, match):
    with pytest.raises(InputError, match=match):
        run.id_of(name)


@pytest.mark.parametrize(
    "name",
    [
        "code[]",
        "code[1,]",
        "code[ 1,2]",
        "code[-1,0]",
        "code[1,2",
        "[1,2]",
        "code[" + 5000 * "9" + ",1]",
        "code[\u0661,0]",
        "../../etc",
        "a/b[../c]",
    ],
)
def test_what_is_no_cell_is_no_member(run, name):
    assert elite_at(name, run.archives) is None
    with pytest.raises(InputError, match="expected a member of"):
        run.id_of(name)
