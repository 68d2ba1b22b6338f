"""A user's skill: what it makes of its rows, and what it says of wrong ones."""

import asyncio
import json

import pytest
import yaml

from lora_qd.errors import InputError, JudgeError
from lora_qd.records import Completion, Message, Split
from lora_qd.tasks.own import OwnTask, load_skill
from lora_qd.tasks.sandbox import Sandbox
from tests.engines.played_server import playing

ROWS = [{"n": n, "q": f"question {n}", "a": f"answer {n}"} for n in range(200)]
SKILL = {
    "data": {"path": "rows.jsonl"},
    "id": "n",
    "prompt": "{{ q }}?",
    "answer": "{{ a }}",
    "scorer": {"kind": "exact"},
}


def write(path, rows=ROWS, **changes):
    """Write a skill and its rows; ``None`` takes a key away. Return its file."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    skill = {key: v for key, v in (SKILL | changes).items() if v is not None}
    (path / "skill.yaml").write_text(yaml.safe_dump(skill, sort_keys=False))
    return path / "skill.yaml"


def open_task(path, rows=ROWS, **changes):
    return OwnTask("mine", load_skill(write(path, rows, **changes)), Sandbox())


def run(task, sample, text, *, is_complete=True):
    async def generate(requests):
        generate.requests = requests
        return [Completion(text, 3, 2, is_complete=is_complete)]

    async def main():
        try:
            return await task.run(sample, generate)
        finally:
            await task.close()

    return asyncio.run(main()), generate


def test_every_row_is_in_one_split_by_its_id_alone(tmp_path):
    task = open_task(tmp_path)
    splits = {split: {s.id for s in task.samples(split)} for split in Split}
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == 200
    shares = {split: len(ids) / 200 for split, ids in splits.items()}
    wanted = {"train": 0.5, "search": 0.2, "validation": 0.1, "test": 0.2}
    assert shares == pytest.approx(wanted, abs=0.1)
    other = open_task(tmp_path, rows=ROWS[::-1], prompt="Other: {{ q }}")
    assert {split: {s.id for s in other.samples(split)} for split in Split} == splits


def test_without_an_id_the_whole_row_decides(tmp_path):
    ids = {s.id for s in open_task(tmp_path, id=None).all_samples}
    changed = [ROWS[0] | {"a": "other"}, *ROWS[1:]]
    others = {s.id for s in open_task(tmp_path, rows=changed, id=None).all_samples}
    assert len(ids & others) == 199


def test_training_takes_the_training_share_in_an_order_by_the_seed(tmp_path):
    task = open_task(tmp_path)
    everything = {s.id for s in task.samples(Split.TRAIN)}
    drawn = task.training(seed=3, num=None)
    assert {s.id for s in drawn} == everything
    assert task.training(3, 10) == drawn[:10]
    assert task.training(4, None) != drawn
    with pytest.raises(InputError, match="expected 500 rows of 'mine' for training"):
        task.training(3, 500)


def test_conversations_and_examples_come_before_the_question(tmp_path):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "{{ q }}"},
    ]
    task = open_task(tmp_path, prompt=None, messages=turns, few_shot=2)
    sample = task.samples(Split.TEST)[0]
    _, generate = run(task, sample, "x")
    roles = [turn.role for turn in generate.requests[0].messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert task.opening(sample)[-1] == Message("user", sample.prompt)
    own = task.training(1, None)[0]
    assert own.prompt not in [turn.content for turn in own.before]


def test_an_answer_that_was_cut_says_so(tmp_path):
    task = open_task(tmp_path, max_tokens=7)
    score, generate = run(task, task.all_samples[0], "answ", is_complete=False)
    assert score.reason.endswith("(cut at 7 tokens)")
    assert generate.requests[0].max_tokens == 7


def test_a_new_prompt_or_scorer_is_another_skill(tmp_path):
    first = open_task(tmp_path).sha256
    assert open_task(tmp_path).sha256 == first
    assert open_task(tmp_path, prompt="Say {{ q }}").sha256 != first
    assert open_task(tmp_path, scorer={"kind": "normalised"}).sha256 != first
    assert open_task(tmp_path, rows=ROWS[:-1]).sha256 != first


@pytest.mark.parametrize(
    ("rows", "changes", "words"),
    [
        ([{"n": 1, "q": "x"}], {}, r"rows.jsonl, line 1: .*'a' is undefined; the row"),
        ([*ROWS[:2], '{"n": '], {}, r"rows.jsonl, line 3: expected one JSON object"),
        ([*ROWS[:2], "[1]"], {}, r"line 3: expected one JSON object, but got list"),
        (
            [ROWS[0], ROWS[1], ROWS[0]],
            {},
            r"line 3: expected an id of its own, but",
        ),
        ([], {}, "expected samples in .*rows.jsonl, but there are none"),
        ([ROWS[0] | {"a": " "}], {}, "line 1: expected text from answer, but it is"),
        ([ROWS[0] | {"n": None}], {}, "line 1: expected a text or a whole number in"),
        (ROWS, {"id": "key"}, "line 1: expected a field 'key', but the fields are a,"),
        (ROWS, {"aliases": "q"}, "line 1: expected a list of texts in 'q', but got"),
        (ROWS, {"few_shot": 999}, "expected 999 rows of 'mine' for few_shot"),
        (
            ROWS,
            {"scorer": {"kind": "numeric"}},
            "rows.jsonl, line 1: expected a",
        ),
        (ROWS, {"scorer": {"kind": "choice"}}, "rows.jsonl, line 1: expected"),
        (ROWS, {"prompt": "{{ q.x.y }}"}, "line 1: expected the fields that prompt"),
        (
            ROWS,
            {"prompt": "{{ q / 2 }}"},
            "line 1: expected to fill in prompt, but",
        ),
        (ROWS, {"prompt": "{{ ''.__class__.mro() }}"}, "line 1: expected .*prompt"),
    ],
)
def test_wrong_rows_are_named_by_file_and_line(tmp_path, rows, changes, words):
    with pytest.raises(InputError, match=words) as caught:
        open_task(tmp_path, rows=rows, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {path: x}\nprompt: p\nanswer: a\nscorer: {kind: exakt}\n",
         r"skill.yaml, line 4: scorer.kind: expected one of exact, .*got 'exakt'"),
        ("data: {path: x}\nprompt: p\nanswer: a\nscorer:\n  kind: exact\n  foo: 1\n",
         r"line 6: scorer.foo: unknown key"),
        ("data: {path: x}\nprompt: p\nanswer: a\nscorer:\n  kind: numeric\n"
         "  tolerance: wide\n", r"line 6: scorer.tolerance: .*number"),
        ("data: {path: x}\nprompt: '{{ q }'\nanswer: a\nscorer: {kind: exact}\n",
         r"line 2: prompt: expected a Jinja template"),
        ("data: {path: x}\nprompt: p\nscorer: {kind: exact}\n",
         r"line 1: answer: Field required"),
        ("data: {path: x}\nanswer: a\nscorer: {kind: exact}\n",
         r"name either prompt or messages"),
        ("data: {path: x}\nprompt: p\nanswer: a\nscorer: {kind: exact}\nwarp: 9\n",
         r"line 5: warp: unknown key"),
        ("data: {}\nprompt: p\nanswer: a\nscorer: {kind: exact}\n",
         r"line 1: data: name either path \(files\) or hub"),
        ("data: {path: x}\nprompt: p\nanswer: a\n"
         "scorer: {kind: judge, model: m, url: 'ftp://h'}\n",
         r"line 4: scorer.url: expected the URL of an API"),
        ("data: {path: x}\nprompt: p\nanswer: a\n"
         "scorer: {kind: exact, extract: '(('}\n", r"line 4: scorer.extract: .*\(\("),
        ("prompt: p\n", r"expected one of the keys data, lm-eval or inspect"),
        ("a: [1\n", r"skill.yaml, line 2: expected YAML"),
        ("- 1\n", r"expected keys such as data, .*but got list"),
        ("", r"but got NoneType"),
        ("lm-eval: {tusk: x}\n", r"line 1: lm-eval.task: Field required"),
    ],
)  # fmt: skip
def test_wrong_skill_files_are_named_by_line_and_key(tmp_path, text, words):
    path = tmp_path / "skill.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        load_skill(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_skill_file_or_data_file_is_named(tmp_path):
    with pytest.raises(InputError, match="skill's YAML file at .*none.yaml, but got"):
        load_skill(tmp_path / "none.yaml")
    path = write(tmp_path, data={"path": "gone.jsonl"})
    with pytest.raises(InputError, match="at .*gone.jsonl, but got: No such file"):
        OwnTask("mine", load_skill(path), Sandbox())


FUNCTIONS = """
def fine(answer, row):
    return (row["n"] % 2, "odd ones count")

def failing(answer, row):
    raise KeyError("spread")

def unbounded(answer, row):
    return 7

def nothing(answer, row):
    return None
"""


def with_function(path, name):
    (path / f"scorers_{path.name}.py").write_text(FUNCTIONS)
    function = f"scorers_{path.name}:{name}"
    return open_task(path, scorer={"kind": "function", "function": function})


def test_a_function_beside_the_skill_scores(tmp_path):
    task = with_function(tmp_path, "fine")
    scores = [run(task, sample, "x")[0] for sample in task.all_samples[:2]]
    assert [(s.value, s.reason) for s in scores] == [(0.0, "odd ones count"), (1.0, "")]


def test_functions_of_one_name_in_two_places_are_two(tmp_path):
    values = []
    for value in (0.25, 0.75):
        place = tmp_path / str(value)
        place.mkdir()
        (place / "mine.py").write_text(f"def score(answer, row): return {value}\n")
        scorer = {"kind": "function", "function": "mine:score"}
        task = open_task(place, scorer=scorer)
        values.append(run(task, task.all_samples[0], "x")[0].value)
    assert values == [0.25, 0.75]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("failing", "rows.jsonl, line 1, but got KeyError"),
        ("unbounded", r"a score in \[0, 1\], or a pair .* but got 7 for"),
        ("nothing", "but got None for"),
        ("absent", "expected to import .*absent'"),
    ],
)
def test_a_function_that_fails_is_an_error_and_no_score(tmp_path, name, words):
    task = with_function(tmp_path, name)
    with pytest.raises(InputError, match=words):
        run(task, task.all_samples[0], "x")


def judging(path, url, **more):
    scorer = {"kind": "judge", "url": url, "model": "m", "timeout_s": 2}
    return open_task(path, scorer=scorer | more)


def test_a_judge_that_is_out_of_reach_is_an_error_and_no_score(tmp_path, monkeypatch):
    monkeypatch.setattr("lora_qd.tasks.own.scorers.judge._MAX_RETRIES", 0)
    task = judging(tmp_path, "http://127.0.0.1:9/v1")
    with pytest.raises(JudgeError, match="judge 'm' at http://127.0.0.1:9/v1 to"):
        run(task, task.all_samples[0], "x")


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_judge_that_refuses_is_an_error_and_its_key_stays_secret(
    tmp_path, monkeypatch, status
):
    monkeypatch.setattr("lora_qd.tasks.own.scorers.judge._MAX_RETRIES", 0)
    monkeypatch.setenv("A_JUDGES_KEY", "sk-secret")
    with playing(lambda _: (status, {"error": {"message": "not sk-secret"}})) as server:
        task = judging(tmp_path, server.url, api_key_env="A_JUDGES_KEY")
        with pytest.raises(JudgeError, match=r"not \[key\]") as caught:
            run(task, task.all_samples[0], "x")
    assert "sk-secret" not in str(caught.value)


def test_a_judge_without_its_key_is_not_asked(tmp_path):
    task = judging(tmp_path, "http://127.0.0.1:9/v1", api_key_env="NOT_SET_AT_ALL")
    with pytest.raises(InputError, match="in NOT_SET_AT_ALL, but that variable is not"):
        run(task, task.all_samples[0], "x")


def test_equal_answers_are_judged_once(tmp_path):
    reply = {"choices": [{"message": {"content": "SCORE: 5"}}]}
    with playing(lambda _: (200, reply)) as server:
        task = judging(tmp_path, server.url)
        sample = task.all_samples[0]
        values = [run(task, sample, "x")[0].value for _ in range(3)]
        run(task, sample, "y")
    assert values == [0.5] * 3
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        ({"kind": "python", "tests": "x = 1", "defines": "f"}, "at least one assert"),
        ({"kind": "python", "tests": "assert (", "defines": "f"}, "Python statements"),
        ({"kind": "python", "tests": "assert 1", "defines": "1f"}, "the name of a"),
        ({"kind": "sql", "setup": "CREATE TABL x"}, "the gold statement to run"),
        ({"kind": "shell", "files_field": "q"}, "expected text by path in 'q'"),
        ({"kind": "shell", "files": {"../x": ""}}, "paths below the scratch"),
        ({"kind": "shell"}, "the gold command to run, but got"),
    ],
)
def test_rows_that_cannot_be_executed_are_nobodys_wrong_answer(tmp_path, scorer, words):
    task = open_task(tmp_path, scorer=scorer)

    async def generate(requests):
        return [Completion("def f(): pass", 1, 1, is_complete=True)]

    async def main():
        async with Sandbox() as sandbox:
            task._sandbox = sandbox
            await task.run(task.all_samples[0], generate)

    with pytest.raises(InputError, match=words):
        asyncio.run(main())
