"""How entries of the published format become samples, and which are refused."""

import pytest

from lora_qd.errors import InputError
from lora_qd.tasks.agentbench import SystemSkillSettings, SystemTask
from tests.tasks.agentbench.fake_systems import (
    EXAMPLE,
    INIT,
    FakeSystems,
    entry,
    task_of,
)

STOCK = entry(create={"init": {"file": "init/stock.sh"}})


def checks_of(directory, fields, **settings):
    (sample,) = task_of(directory, [fields], **settings).all_samples
    return sample.checks


def evaluation(**fields):
    return entry(evaluation=fields)


def test_an_entry_becomes_plain_data(tmp_path):
    assert checks_of(tmp_path, entry(start="sleep 9 &")) == {
        "image": "default",
        "init": [["bash", INIT]],
        "start": ["bash", "sleep 9 &"],
        "match": None,
        "check": [["example", ""], ["named", "integer-match"]],
        "example": ["bash", EXAMPLE],
    }


@pytest.mark.parametrize(
    ("init", "scripts"),
    [
        ("a", [["bash", "a"]]),
        ({"code": "a"}, [["bash", "a"]]),
        ({"language": "python", "code": "a"}, [["python", "a"]]),
        (["a", {"code": "b"}], [["bash", "a"], ["bash", "b"]]),
        (None, []),
    ],
)
def test_init_has_several_forms(tmp_path, init, scripts):
    assert checks_of(tmp_path, entry(create={"init": init}))["init"] == scripts


@pytest.mark.parametrize("create", [None, [None, {"file": "check/x.py"}]])
def test_what_creates_nothing_gives_the_default_image(tmp_path, create):
    checks = checks_of(tmp_path, entry(create=create))
    assert (checks["image"], checks["init"]) == ("default", [])


def test_the_id_is_the_hash_of_the_entry_and_its_scripts(tmp_path):
    script = tmp_path / "init" / "stock.sh"
    script.parent.mkdir()
    ids = []
    for text in ("echo 1", "echo 2", "echo 1"):
        script.write_text(text)
        (sample,) = task_of(tmp_path, [STOCK], scripts=str(tmp_path)).all_samples
        ids.append(sample.id)
    assert ids[0] == ids[2] != ids[1]


def test_equal_entries_are_refused_with_both_places(tmp_path):
    with pytest.raises(InputError, match=r"entry 1.*entry 2|entry 2.*entry 1"):
        task_of(tmp_path, [entry(), entry()])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (entry(description=""), "expected text in 'description', but got an empty"),
        (entry(description=3), "expected text in 'description', but got int"),
        (entry(create="default"), "expected an object in 'create', but got str"),
        (entry(create={"init": 3}), "with 'code' or 'file' .* but got '3'"),
        (entry(start={"x": 1}), "with 'code' or 'file'"),
        (entry(create={"init": {"language": "perl", "code": "x"}}), "a language out"),
        (entry(evaluation=[]), "expected an object in 'evaluation', but got list"),
        (evaluation(), "expected 'match' or 'check' in 'evaluation', but it has no"),
        (evaluation(check=[]), "expected checks in 'check', but there are none"),
        (evaluation(match=4), "expected an object in 'match', but got int"),
        (evaluation(match={"answer": 4}), "expected a text in 'answer' or 'regex'"),
        (evaluation(match={"regex": "("}), "expected a regular expression in"),
        (evaluation(check=[None]), "expected 'example' for the check that is null"),
        (evaluation(check={"file": "../x.sh"}), "expected a script below"),
        (evaluation(check={"file": "/x.sh"}), "expected a script below"),
    ],
)
def test_a_wrong_entry_is_refused_by_its_place(tmp_path, fields, reason):
    with pytest.raises(InputError, match=f"problems.json, entry 2: .*{reason}.*"):
        task_of(tmp_path, [entry(), fields], scripts=str(tmp_path))


def test_broken_json_is_refused_by_its_line(tmp_path):
    path = tmp_path / "problems.json"
    path.write_text('[\n{"description": }\n]', encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        SystemTask(SystemSkillSettings(path=(str(path),)), FakeSystems())


def test_without_scripts_samples_that_need_some_are_left_out_with_a_reason(tmp_path):
    task = task_of(tmp_path, [entry(), STOCK])
    assert len(task.all_samples) == 1
    assert task.left_out == {
        f"{tmp_path / 'problems.json'}, entry 2": (
            "needs the script init/stock.sh: set scripts"
        )
    }


def test_with_scripts_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"entry 1: expected the script init/stock"):
        task_of(tmp_path, [STOCK], scripts=str(tmp_path))


@pytest.mark.parametrize("folder", [".", "problems", "data"])
def test_scripts_are_found_by_the_name_of_folder_or_file(tmp_path, folder):
    directory, data = tmp_path / "scripts" / folder, tmp_path / "data"
    (directory / "init").mkdir(parents=True)
    data.mkdir()
    (directory / "init/stock.sh").write_text("echo stock", encoding="utf-8")
    checks = checks_of(data, STOCK, scripts=str(tmp_path / "scripts"))
    assert checks["init"] == [["bash", "echo stock"]]
