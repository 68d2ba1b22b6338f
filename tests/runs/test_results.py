"""The final table: written, read back, printed."""

import json
from dataclasses import replace

import pytest

from lora_qd.errors import StoreError
from lora_qd.records import StageSeconds
from lora_qd.runs.costs import Costs
from lora_qd.runs.results import Results, load_results, markdown, row, save_results


def results():
    values = {"code": [1.0, 0.0], "shell": [1.0, 1.0], "general": [0.0, 0.0]}
    rows = (row("base", "base", values, ("code", "shell")),)
    return Results(
        skills=("code", "shell"),
        retention=("general",),
        rows=rows,
        members={"aggregate": "aggregate"},
        num_samples={"code": 2, "shell": 2, "general": 2},
        costs=Costs(
            num_evaluations=4,
            num_prompt_tokens=100,
            num_tokens=50,
            stages=StageSeconds(1, 2, 3, 4, 2),
            engine_s=60.0,
            busy_share=0.9,
            num_restarts=2,
            money=0.25,
        ),
        notes={"seed": "1"},
    )


def test_the_costs_are_told_in_plain_words():
    text = markdown(results())
    assert "- 4 evaluations: 100 prompt tokens, 50 generated" in text
    assert "wait 0.25 s, materialise 0.50 s, load 0.75 s, generate 1.00 s" in text
    assert "busy 90% of 1.0 minutes, 2 restarts" in text
    assert "- Money: 0.25" in text


def test_retention_is_told_as_a_share_of_the_base():
    skills = ("code", "shell")
    before = {"code": [1.0], "shell": [1.0], "general": [1.0, 1.0, 1.0, 1.0]}
    after = before | {"general": [1.0, 1.0, 1.0, 0.0]}
    rows = (row("base", "base", before, skills), row("best", "m-1", after, skills))
    whole = replace(results(), rows=rows)
    assert whole.retained(rows[1]) == ["0.75 [0.30, 0.95] (75%)"]
    assert "(75%)" in markdown(whole)
    assert replace(whole, rows=rows[1:]).retained(rows[1]) == ["0.75 [0.30, 0.95]"]


def test_a_base_that_knew_nothing_has_nothing_to_lose():
    assert results().retained(results().rows[0]) == ["0.00 [0.00, 0.66]"]


def test_the_mean_leaves_out_what_is_only_retained():
    assert results().rows[0].mean.mean == 0.75


def test_results_read_back_as_they_were(tmp_path):
    save_results(results(), tmp_path / "results.json")
    assert load_results(tmp_path / "results.json") == results()


def test_results_of_a_version_without_costs_are_read(tmp_path):
    path = tmp_path / "results.json"
    save_results(results(), path)
    old = json.loads(path.read_text())
    del old["costs"]
    path.write_text(json.dumps(old))
    assert load_results(path).costs is None
    assert "| base |" in markdown(load_results(path))


def test_the_markdown_table_shows_every_skill_with_its_interval():
    text = markdown(results())
    header, _, first = text.splitlines()[:3]
    assert header == "|  | code | shell | **mean** | general | energy dropped |"
    assert first.startswith("| base | 0.50 [0.09, 0.91] | 1.00 [0.34, 1.00] | **0.75 [")
    assert "Test samples: 2 code, 2 shell, 2 general. seed: 1." in text


@pytest.mark.parametrize("text", ["{", "{}", '{"rows": 3}'])
def test_damaged_results_are_refused(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(StoreError, match="the results of a run in"):
        load_results(path)


def test_results_of_the_first_versions_are_read_without_costs(tmp_path):
    path = tmp_path / "results.json"
    save_results(results(), path)
    raw = json.loads(path.read_text())
    del raw["costs"]
    path.write_text(json.dumps(raw))
    old = load_results(path)
    assert old.costs is None
    assert "Test samples: 2 code" in markdown(old)
