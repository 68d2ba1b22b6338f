"""Skills of one's own on the command line: check, consent, training data."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from lora_qd.errors import InputError
from lora_qd.runs.config import load_config
from lora_qd.runs.consent import needs_consent, require_consent
from tests.cli.test_main import ROOT, TINY, loraqd, refusal, write_config

EXAMPLES = ROOT / "configs" / "examples"


def own(name, **changes):
    """Return what the file of an example says, changed, with whole paths."""
    skill = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    skill["data"]["path"] = str(EXAMPLES / skill["data"]["path"])
    return skill | changes


def config_with(path, name, **more):
    skills = {"skills": [name, "shell"], "own_skills": {name: own(name)}}
    return write_config(path, **(skills | more))


def test_a_file_is_checked_by_itself():
    done = loraqd("skills", "check", EXAMPLES / "capitals.yaml")
    assert done.returncode == 0, done.stderr
    assert "prompt 3" in done.stdout
    assert "user: What is the capital of France?" in done.stdout
    assert "gold answers score 1 on 20 of 20" in done.stdout
    assert "warning: few samples: " in done.stdout
    assert "\n  sound" in done.stdout


def test_a_skill_whose_gold_answers_are_wrong_is_not_sound(tmp_path):
    skill = own("sums", answer="{{ result }} or {{ result + 1 }}")
    skill["scorer"] = {"kind": "regex", "pattern": "^[0-9]+$"}
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(skill))
    line = refusal("skills", "check", path)
    assert "sums.jsonl, line 1: expected a target that" in line


def test_checks_are_read_by_programs(tmp_path):
    done = loraqd("skills", "check", EXAMPLES / "exam.yaml", "--json")
    [check] = json.loads(done.stdout)
    assert check["is_sound"] is True
    assert [turn["role"] for turn in check["prompts"][0]] == ["system", "user"]
    assert check["num_samples"] == 8


def test_a_config_finds_the_files_of_its_skills_and_reads_back_the_same(tmp_path):
    shutil.copytree(EXAMPLES, tmp_path / "mine")
    path = write_config(
        tmp_path,
        skills=["capitals", "invoices", "lm-eval:gsm8k"],
        own_skills={
            "capitals": str(tmp_path / "mine" / "capitals.yaml"),
            "invoices": str(tmp_path / "mine" / "invoices.yaml"),
            "sums": {"lm-eval": {"task": "gsm8k", "chat": True}},
            "toys": {"inspect": {"task": "toys.py@toy", "args": {"n": 1}}},
        },
    )
    config = load_config(path)
    skill = config.own_skills["capitals"]
    assert skill.data.path == (str(tmp_path / "mine" / "capitals.jsonl"),)
    dumped = config.model_dump(mode="json")
    assert type(config).model_validate(json.loads(json.dumps(dumped))) == config
    assert config.own_skill("lm-eval:gsm8k").lm_eval.shares.search == 0.4


def test_a_set_of_retention_skills_stands_for_its_members(tmp_path):
    config = load_config(write_config(tmp_path, retention=["general", "language"]))
    assert config.retention[:2] == ("general", "lm-eval:mmlu")
    assert "humaneval+" in config.retention
    own_skill = config.own_skill("lm-eval:gsm8k")
    assert own_skill.lm_eval.shares.test == 1  # nothing is chosen by it


DEEDS = {
    "rhymes": "runs the Python of rhymes:score of ",
    "letters": "sends questions and answers to http://127.0.0.1:8000/v1",
}
VERBS = (
    ("skills", "check"),
    ("train-experts",),
    ("evolve",),
    ("evolve", "--dry-run"),
    ("evaluate", "base"),
)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_asks_before_it_runs_python_or_sends_data(tmp_path, verb):
    skills = {name: str(EXAMPLES / f"{name}.yaml") for name in DEEDS}
    config = write_config(tmp_path, skills=[*skills], own_skills=skills)
    line = refusal(*verb, "--config", config, cwd=tmp_path)
    for name, deed in DEEDS.items():
        assert f"{name} {deed}" in line
    assert line.endswith("look at it, then repeat with --allow")


def test_a_run_that_came_from_elsewhere_asks_when_it_goes_on(tmp_path, monkeypatch):
    from lora_qd.cli import evolving
    from lora_qd.runs.skills import load_skills

    skills = {name: str(EXAMPLES / f"{name}.yaml") for name in DEEDS}
    path = write_config(tmp_path, skills=[*skills], own_skills=skills)
    config = load_config(path)
    monkeypatch.setattr(evolving, "require_run", lambda _: None)
    monkeypatch.setattr(evolving, "recorded_config", lambda _: config)
    monkeypatch.setattr(evolving, "require_same_search", lambda *_: None)
    monkeypatch.setattr(evolving, "_require_unfinished", lambda *_: None)
    with pytest.raises(InputError, match="expected your consent"):
        evolving.go_on(tmp_path / "run", children=None)
    with pytest.raises(InputError, match="expected samples of rhymes in every split"):
        load_skills(config, allow=True)


def test_what_needs_no_consent_is_not_asked_about(tmp_path):
    skills = {n: str(EXAMPLES / f"{n}.yaml") for n in ("capitals", "functions")}
    config = load_config(
        write_config(tmp_path, skills=[*skills, "lm-eval:gsm8k"], own_skills=skills)
    )
    assert needs_consent(config) == []
    require_consent(config, is_given=False)


def test_bridged_tasks_of_ones_own_need_consent(tmp_path):
    bridged = {
        "mine": {"lm-eval": {"task": "t", "include": "tasks"}},
        "yours": {"inspect": {"task": "toys.py@toy"}},
    }
    config = load_config(write_config(tmp_path, skills=[*bridged], own_skills=bridged))
    assert needs_consent(config) == [
        "mine may run Python that tasks in tasks name",
        "yours runs the Python of toys.py@toy",
    ]


def test_training_data_with_samples_of_the_test_split_are_refused(tmp_path):
    rows = [
        {"prompt": f"Order: {json.loads(line)['note']}", "completion": "1: tea"}
        for line in (EXAMPLES / "orders.jsonl").read_text().splitlines()[:400]
    ]
    (tmp_path / "leaked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    experts = [{"name": "orders", "data": {"file": str(tmp_path / "leaked.jsonl")}}]
    config = config_with(tmp_path, "orders", experts=experts, training={"max_steps": 1})
    line = refusal("train-experts", "--config", config)
    assert "samples occur in them (" in line
    assert " of orders)" in line
    assert "--allow-overlap" in line
    assert not Path(tmp_path / "experts").exists()


def test_the_training_share_of_a_skill_overlaps_with_nothing(tmp_path):
    from lora_qd.runs.skills import load_skills
    from lora_qd.runs.training import load_training, overlaps_of

    experts = [{"name": "orders", "data": {"skill": "orders"}}]
    config = load_config(config_with(tmp_path, "orders", experts=experts))
    examples = load_training(config)
    assert len(examples["orders"]) > 1500
    assert overlaps_of(examples, load_skills(config)) == []
    assert TINY.is_dir()
