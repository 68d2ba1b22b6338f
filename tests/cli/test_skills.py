"""``loraqd skills check``: whether a skill measures what it should."""

import json
from pathlib import Path

import pytest

from lora_qd.cli.skills import CheckOptions, check
from lora_qd.errors import InputError
from lora_qd.runs.config import load_config
from tests.cli.test_main import loraqd, refusal, write_config
from tests.tasks.agentbench.tables import ROWS, change, write
from tests.tasks.coding.problems import HUMANEVAL

WRONG = change("Wrong", "INSERT", "DELETE FROM `my pets`", [["x", "y", "z"]])


def of_config(path, **options):
    """Return the options of a check of all skills of a config."""
    plain = {"files": (), "base": None, "overrides": (), "allow": False}
    return CheckOptions(config=Path(path), as_json=False, **(plain | options))


def config_of(tmp_path, rows, **more):
    data = write(tmp_path / "pets.jsonl", *rows)
    benchmarks = {"agentbench-db": {"path": str(data)}}
    return write_config(
        tmp_path,
        **({"skills": ["agentbench-db", "code"], "benchmarks": benchmarks} | more),
    )


def test_a_sound_skill_is_said_to_be_sound(tmp_path):
    done = loraqd("skills", "check", "--config", config_of(tmp_path, ROWS))
    assert done.returncode == 0, done.stderr
    assert f"agentbench-db: {len(ROWS)} samples (" in done.stdout
    assert f"gold answers score 1 on {len(ROWS)} of {len(ROWS)}" in done.stdout
    assert f"empty answers score 0 on {len(ROWS)} of {len(ROWS)}" in done.stdout
    assert "\n  sound" in done.stdout


def test_gold_answers_that_fail_are_listed_and_end_with_1(tmp_path):
    config = config_of(tmp_path, [*ROWS, WRONG])
    done = loraqd("skills", "check", "--config", config)
    assert done.returncode == 1
    assert "NOT sound" in done.stdout
    (checked,) = json.loads(
        loraqd("skills", "check", "--config", config, "--json").stdout
    )
    assert checked["is_sound"] is False
    assert list(checked["gold_failures"].values()) != [""]
    assert len(checked["gold_failures"]) == 1


def test_built_in_skills_need_no_check(tmp_path):
    config = write_config(tmp_path)
    with pytest.raises(InputError, match="a skill that is not generated in"):
        check(of_config(config))


@pytest.mark.parametrize(
    ("benchmarks", "message"),
    [
        ({}, "expected benchmarks.agentbench-db in the config"),
        ({"agentbench-db": {}}, "name either path .files. or hub"),
        ({"knitting": {}}, "benchmarks.knitting: unknown key"),
        ({"agentbench-db": {"path": "/no.jsonl"}}, "at /no.jsonl, but got: No such"),
        ({"agentbench-db": {"path": "x", "shares": {"search": 2}}}, "shares.search"),
    ],
)
def test_wrong_benchmarks_are_one_line(tmp_path, benchmarks, message):
    config = config_of(tmp_path, ROWS, benchmarks=benchmarks)
    with pytest.raises(InputError, match=message):
        check(of_config(config))


def test_a_damaged_line_is_named(tmp_path):
    config = config_of(tmp_path, [*ROWS, '{"description": '])
    with pytest.raises(InputError, match=f"pets.jsonl, line {len(ROWS) + 1}: "):
        check(of_config(config))


def test_a_source_with_another_hash_is_refused(tmp_path):
    path = write(tmp_path / "pets.jsonl", *ROWS)
    settings = {"agentbench-db": {"path": str(path), "sha256": "0" * 64}}
    line = refusal(
        *("evolve", "--dry-run", "--config"),
        config_of(tmp_path, ROWS, benchmarks=settings),
    )
    assert f"expected {path} with sha256 {'0' * 64}" in line


def test_an_empty_split_is_refused_before_anything_starts(tmp_path):
    line = refusal("evolve", "--dry-run", "--config", config_of(tmp_path, ROWS[:1]))
    assert "expected samples of agentbench-db in every split, but " in line
    assert "change benchmarks.agentbench-db.shares" in line


def test_a_dry_run_counts_instructions_of_published_skills(tmp_path):
    rows = [
        r | {"description": f"{r['description']} {n}"} for n in range(4) for r in ROWS
    ]
    data = write(tmp_path / "pets.jsonl", *rows)
    problems = [HUMANEVAL | {"task_id": f"Own/{n}"} for n in range(20)]
    benchmarks = {
        "agentbench-db": {"path": str(data)},
        "humaneval": {"path": str(write(tmp_path / "problems.jsonl", *problems))},
    }
    config = write_config(tmp_path, skills=list(benchmarks), benchmarks=benchmarks)
    planning = ("evolve", "--dry-run", "--json", "--device=cpu", "--config")
    done = loraqd(*planning, config)
    assert done.returncode == 0, done.stderr
    search = json.loads(done.stdout)["passes"][0]
    mean = search["num_prompt_tokens"] / search["num_samples"]
    assert mean > 100  # the question alone has a dozen


def test_names_with_a_sign_are_read_and_written_back(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps(HUMANEVAL))
    config = load_config(
        write_config(
            tmp_path,
            skills=["humaneval+", "code"],
            benchmarks={"humaneval+": {"path": str(path), "k": 1}},
        )
    )
    dumped = config.model_dump(mode="json")
    assert dumped["benchmarks"]["humaneval+"]["path"] == [str(path)]
    assert type(config).model_validate(dumped) == config
