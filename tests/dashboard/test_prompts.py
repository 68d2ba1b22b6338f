"""The questions behind answers, from the skills themselves."""

from lora_qd.dashboard.prompts import Prompts
from lora_qd.records import Split
from lora_qd.runs.skills import built_in_skills
from tests.runs import synthetic


def test_a_built_in_skill_tells_its_questions(tmp_path):
    config = synthetic.config(tmp_path)
    told, note = Prompts().of(config, "shell", Split.SEARCH)
    samples = built_in_skills()["shell"].samples(Split.SEARCH)
    assert note == ""
    assert told == {sample.id: sample.prompt for sample in samples}


def test_a_skill_that_cannot_be_read_is_said(tmp_path):
    config = synthetic.config(tmp_path, skills=["code", "humaneval"])
    told, note = Prompts().of(config, "code", Split.SEARCH)
    assert told == {}
    assert "The questions cannot be shown: expected benchmarks.humaneval" in note


def test_what_executes_code_is_not_loaded_without_consent(tmp_path):
    skill = tmp_path / "skill"
    skill.mkdir()
    (skill / "score.py").write_text("raise SystemExit('executed')")
    (skill / "rows.jsonl").write_text('{"q": "a"}\n')
    own = {
        "data": {"path": str(skill / "rows.jsonl")},
        "prompt": "{{ q }}",
        "answer": "{{ q }}",
        "scorer": {"kind": "function", "function": "score:score"},
    }
    config = synthetic.config(
        tmp_path, skills=["code", "mine"], own_skills={"mine": own}
    )
    told, note = Prompts().of(config, "mine", Split.SEARCH)
    assert told == {}
    assert "expected your consent, because mine runs the Python of score:score" in note
