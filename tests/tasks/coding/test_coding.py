"""HumanEval, MBPP and EvalPlus: formats, gold, empty and wrong answers, bad files."""

import asyncio
import gzip
import json
import os
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lora_qd.errors import InputError
from lora_qd.records import Completion, Split
from lora_qd.tasks.coding import CodingSettings, coding_task
from lora_qd.tasks.coding.extraction import code_of
from lora_qd.tasks.coding.pass_at_k import pass_at_k
from lora_qd.tasks.sandbox import Sandbox
from tests.tasks.coding.problems import (
    HUMANEVAL,
    HUMANEVAL_PLUS,
    MBPP,
    MBPP_CLASS,
    MBPP_PLUS,
    MBPP_SANITIZED,
    PLUS_ON_THE_HUB,
    replay_all,
    score,
    settings,
    write,
)

FORMATS = {
    "humaneval": [HUMANEVAL, HUMANEVAL_PLUS | {"task_id": "Own/1"}],
    "humaneval+": [HUMANEVAL_PLUS],
    "mbpp": [MBPP, MBPP_CLASS, MBPP_SANITIZED, MBPP_PLUS, PLUS_ON_THE_HUB],
    "mbpp+": [MBPP_PLUS, PLUS_ON_THE_HUB],
}


@pytest.fixture(params=FORMATS)
def own(request, tmp_path):
    return request.param, write(tmp_path / "own.jsonl", *FORMATS[request.param])


def test_gold_answers_score_one(own):
    _, scores = replay_all(*own, lambda task, sample: task.gold(sample))
    assert [(s.value, s.reason) for s in scores] == [(1.0, "")] * len(scores)


@pytest.mark.parametrize("answer", ["", "  \n", "I do not know.", "```python\n```"])
def test_empty_answers_score_nothing(own, answer):
    _, scores = replay_all(*own, lambda task, sample: [answer])
    assert [s.value for s in scores] == [0.0] * len(scores)
    assert all(s.reason for s in scores)


def test_wrong_answers_score_nothing(own):
    def wrong(task, sample):
        return [f"def {sample.checks['entry_point']}(*a):\n    return 77"]

    _, scores = replay_all(*own, wrong)
    assert [s.value for s in scores] == [0.0] * len(scores)


@pytest.mark.skipif(
    "LORAQD_TEST_DATA" not in os.environ, reason="LORAQD_TEST_DATA names no data"
)
def test_all_real_samples_hold():
    data = Path(os.environ["LORAQD_TEST_DATA"])
    path = data / "humaneval" / "HumanEval_first82.jsonl"
    samples, gold = replay_all("humaneval", path, lambda t, s: t.gold(s))
    assert len(samples) == 82
    assert {
        s.id: g.reason for s, g in zip(samples, gold, strict=True) if g.reason
    } == {}
    _, again = replay_all("humaneval", path, lambda t, s: t.gold(s))
    assert [g.value for g in again] == [g.value for g in gold]
    _, empty = replay_all("humaneval", path, lambda t, s: [""])
    _, wrong = replay_all("humaneval", path, lambda t, s: [s.prompt])
    assert {s.value for s in (*empty, *wrong)} == {0.0}
    continued = replay_all(
        "humaneval", path, lambda t, s: [s.target.removeprefix(s.checks["stub"])]
    )
    assert {s.value for s in continued[1]} == {1.0}


def test_only_the_plus_skill_runs_the_plus_tests(tmp_path):
    path = write(tmp_path / "own.jsonl", HUMANEVAL_PLUS)
    answer = "def halves(xs):\n    return [x // 2 for x in xs]"
    (base,) = score("humaneval", path, answer)
    (plus,) = score("humaneval+", path, answer)
    assert (base.value, plus.value) == (1.0, 0.0)
    assert "halves([1, 3]) is [0, 1], not [0.5, 1.5]" in plus.reason


def test_floats_may_differ_in_the_last_bits(tmp_path):
    path = write(tmp_path / "own.jsonl", HUMANEVAL_PLUS)
    near, far = score(
        "humaneval+",
        path,
        "def halves(xs): return [x / 2 + 1e-9 for x in xs]",
        "def halves(xs): return [x / 2 + 1e-4 for x in xs]",
    )
    assert (near.value, far.value) == (1.0, 0.0)


def test_a_slow_answer_fails_by_its_processor_time(tmp_path):
    path = write(tmp_path / "own.jsonl", HUMANEVAL)
    (slow,) = score("humaneval", path, "def halves(xs):\n  while 1: pass", cpu_s=1)
    assert (slow.value, slow.reason) == (0.0, "took more than 2 s of CPU")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Sure:\n```python\ndef f(x):\n    return x\n```\nDone.", "def f(x):\n    re"),
        ("```py\ndef f(): 1\n```\n```\nf()\n```", "def f(): 1\n"),
        ("```python\ndef g(): 1\n```\n```python\ndef f(): 2\n```", "def f(): 2\n"),
        ("```python\ndef f(): 3", "def f(): 3"),
        ("Here is it\nimport re\ndef f(): 4", "import re\ndef f(): 4"),
        ("    return 5\n\nprint(f())", "def f():\n    return 5\n"),
        ("f = lambda: 6", "f = lambda: 6"),
    ],
)
def test_the_code_is_found_in_a_completion(text, code):
    assert code_of(text, "f", stub="def f():\n").startswith(code)


@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_share_of_choices_with_a_right_one(num, data):
    right = data.draw(st.integers(0, num))
    k = data.draw(st.integers(1, num))
    choices = list(combinations([True] * right + [False] * (num - right), k))
    share = sum(map(any, choices)) / len(choices)
    assert pass_at_k(num, right, k) == pytest.approx(share)


@pytest.mark.parametrize("bad", [(1, 2, 1), (2, 1, 3), (2, 1, 0), (2, -1, 1)])
def test_pass_at_k_refuses_impossible_counts(bad):
    with pytest.raises(ValueError, match="expected 0 <= num_right <= num"):
        pass_at_k(*bad)


def test_several_completions_are_sampled_and_scored_together(tmp_path):
    path = write(tmp_path / "own.jsonl", MBPP)
    asked = []

    async def generate(requests):
        asked.extend(requests)
        texts = ["def add(a, b): return a + b", "", "def add(a, b): return 0", ""]
        return [Completion(t, 5, 3, True) for t in texts]

    async def main():
        async with Sandbox(1) as sandbox:
            chosen = settings(path, completions=4, k=2, temperature=0.8)
            task = coding_task("mbpp", chosen, sandbox)
            return await task.run(task.all_samples[0], generate)

    result = asyncio.run(main())
    assert [(r.seed, r.temperature) for r in asked] == [(s, 0.8) for s in range(4)]
    assert result.value == pytest.approx(0.5)
    assert (result.num_tokens, result.num_prompt_tokens) == (12, 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 2}, "pass@2 needs at least 2 completions, not 1"),
        ({"completions": 2}, "several completions need a temperature above 0"),
        ({"hub": "a/b"}, "name either path"),
        ({"sha256": "abc"}, "sha256"),
        ({"shares": {"search": 0.9, "test": 0.9}}, "shares add up to 2"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        CodingSettings(path="x", **options)


def without(row, field):
    return {key: value for key, value in row.items() if key != field}


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("humaneval", [HUMANEVAL, "{"], "own.jsonl, line 2: expected one JSON object"),
        ("humaneval", [HUMANEVAL] * 2, "line 2: expected an id of its own, but 'Own/0"),
        ("humaneval", [without(HUMANEVAL, "test")], "line 1: expected a field 'test'"),
        (
            "humaneval",
            [HUMANEVAL | {"entry_point": "f"}],
            "a solution that defines 'f'",
        ),
        (
            "humaneval",
            [HUMANEVAL | {"prompt": "def ("}],
            "line 1: expected Python, but",
        ),
        ("humaneval", [HUMANEVAL | {"task_id": None}], "text or number in 'task_id'"),
        (
            "humaneval+",
            [HUMANEVAL],
            "line 1: expected EvalPlus's tests in 'plus_input'",
        ),
        (
            "humaneval+",
            [HUMANEVAL_PLUS | {"plus_input": [1]}],
            "a list of argument lists in 'plus_input'",
        ),
        ("humaneval+", [HUMANEVAL_PLUS | {"atol": "x"}], "a number in 'atol'"),
        ("mbpp", [MBPP | {"test_list": "assert"}], "a list of texts in 'test_list'"),
        ("mbpp", [MBPP | {"code": "x = 1"}], "tests that call what the code defines"),
        ("mbpp+", [MBPP], "name EvalPlus's file, or the skill without"),
        ("mbpp", [], "expected samples in"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_line(tmp_path, name, rows, message):
    path = write(tmp_path / "own.jsonl", *rows)
    with pytest.raises(InputError, match=message):
        coding_task(name, settings(path), Sandbox())


def test_a_file_that_is_not_there_names_its_path(tmp_path):
    with pytest.raises(InputError, match="own.jsonl, but got: No such file"):
        coding_task("mbpp", settings(tmp_path / "own.jsonl"), Sandbox())
    with pytest.raises(InputError, match="files that match .*, but there are none"):
        coding_task("mbpp", settings(tmp_path / "*.jsonl"), Sandbox())


def test_a_damaged_archive_is_an_error(tmp_path):
    path = tmp_path / "own.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(MBPP).encode())[:-9])
    with pytest.raises(InputError, match="own.jsonl.gz, but got: .*; fetch the file"):
        coding_task("mbpp", settings(path), Sandbox())


def test_the_checksum_is_that_of_the_file(tmp_path):
    path = write(tmp_path / "own.jsonl", MBPP)
    task = coding_task("mbpp", settings(path), Sandbox())
    assert coding_task("mbpp", settings(path, sha256=task.sha256), Sandbox())
    with pytest.raises(InputError, match="with sha256 0000.*, but it has"):
        coding_task("mbpp", settings(path, sha256="0" * 64), Sandbox())


def test_a_data_set_directory_loads_as_one_from_the_hub_would(tmp_path):
    write(tmp_path / "test.jsonl", MBPP, MBPP_CLASS)
    chosen = CodingSettings(hub=str(tmp_path))
    task = coding_task("mbpp", chosen, Sandbox())
    assert [sample.id for sample in task.all_samples] == ["7", "8"]


def test_samples_are_dealt_out_by_the_hash_of_their_id(tmp_path):
    rows = [MBPP | {"task_id": n} for n in range(400)]
    path = write(tmp_path / "own.jsonl", *rows)
    shares = {"search": 0.5, "validation": 0.25, "test": 0.25}
    chosen = CodingSettings(path=str(path), shares=shares)
    task = coding_task("mbpp", chosen, Sandbox())
    parts = {split: {s.id for s in task.samples(split)} for split in Split}
    assert set.union(*parts.values()) == {str(n) for n in range(400)}
    assert sum(map(len, parts.values())) == 400
    assert not parts[Split.TRAIN]
    for split, share in shares.items():
        assert len(parts[Split(split)]) == pytest.approx(400 * share, abs=40)
