"""DBBench on SQLite and on a real MariaDB: one protocol, one verdict."""

import os
from pathlib import Path

import pytest

from lora_qd.errors import InputError, SandboxError
from lora_qd.tasks.agentbench import DatabaseSettings, DatabaseTask
from lora_qd.tasks.agentbench.database_protocol import (
    action_of,
    are_right,
    cut,
    state_hash,
)
from lora_qd.tasks.agentbench.dialect import to_sqlite
from lora_qd.tasks.sandbox import Sandbox
from tests.tasks.agentbench.conftest import URL
from tests.tasks.agentbench.tables import (
    ALL,
    ANSWER,
    PETS,
    ROWS,
    change,
    operate,
    play,
    replies,
    row,
    write,
)


def gold(task, sample):
    return task.gold(sample)


def test_gold_answers_score_one(pets, database):
    _, scores = play(pets, gold, **database)
    assert [(s.value, s.reason) for s in scores] == [(1.0, "")] * len(ROWS)


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [""],
        ["It is 3."],
        [ANSWER],
        ["Action: Dance\n"],
        ["Action: Answer\nno"],
        ["Action: Operation\nSELECT 1"],
        ["Action: Operation\n```sql\n\n```"],
        operate("DELETE FROM `my pets`"),
        operate("DROP TABLE `my pets`"),
        operate("SELECT 1; DELETE FROM `my pets`"),
    ],
)
def test_other_answers_score_nothing(pets, database, answers):
    _, scores = play(pets, lambda t, s: answers, **database)
    assert [s.value for s in scores] == [0.0] * len(ROWS)
    assert all(s.reason and "\n" not in s.reason for s in scores)


@pytest.mark.parametrize(
    "database",
    ["sqlite", pytest.param("mariadb", marks=pytest.mark.slow)],
    indirect=True,
)
@pytest.mark.skipif(
    "LORAQD_TEST_DATA" not in os.environ, reason="LORAQD_TEST_DATA names no data"
)
def test_all_real_samples_hold(request, database):
    path = Path(os.environ["LORAQD_TEST_DATA"]) / "agentbench" / "dbbench_*.jsonl"
    task, scores = play(path, gold, **database)
    # One table has a column without a name, which no MySQL server takes.
    num_left_out = 1 if database else 0
    assert (len(scores), len(task.left_out)) == (210 - num_left_out, num_left_out)
    failed = {s.id: r.reason for s, r in zip(task.all_samples, scores, strict=True)}
    assert {place: reason for place, reason in failed.items() if reason} == {}
    if not database:
        _, again = play(path, gold)
        assert [s.value for s in again] == [s.value for s in scores]
        _, wrong = play(path, lambda t, s: [ANSWER])
        assert {s.value for s in wrong} == {0.0}


def test_replies_are_those_of_mysqls_connector(pets, database):
    heard, _ = replies(
        pets,
        "SELECT name, age FROM `my pets` WHERE age > 5 ORDER BY name LIMIT 0, 1",
        "SELECT COUNT(*) FROM `my pets` WHERE kind = 'CAT'",
        "INSERT INTO `my pets` VALUES ('Bo', NULL, 1)",
        "SELECT kind, age FROM `my pets` WHERE name = 'bo'",
        "SELECT concat(name, '!') FROM `my pets` WHERE name = 'Tom'",
        **database,
    )
    assert heard == [
        "[('Ida', '7')]",
        "[(2,)]",
        "[]",
        "[(None, '1')]",
        "[('Tom!',)]",
    ]


@pytest.mark.parametrize(
    "statement", ["SELECT colour FROM `my pets`", "SELEC 1", "SELECT * FROM nothing"]
)
def test_a_failing_statement_is_told_and_the_talk_goes_on(pets, database, statement):
    heard, score = replies(pets, statement, "SELECT 7", **database)
    assert heard[0]
    assert not heard[0].startswith("[")
    assert heard[1] == "[(7,)]"
    assert score.value == 0


def test_the_databases_agree_on_the_state(pets, mariadb, monkeypatch):
    statements = (
        "UPDATE `my pets` SET age = age + 1",
        "UPDATE `my pets` SET kind = NULL WHERE age BETWEEN 4 AND 8",
        "DELETE FROM `my pets` WHERE name IN ('tom', 'x')",
    )
    monkeypatch.setenv(URL, mariadb)
    heard = [
        replies(pets, *statements, "SELECT name, kind FROM `my pets` ORDER BY 1", **of)
        for of in ({}, {"mysql_url_env": URL})
    ]
    assert heard[0][0] == heard[1][0]


def test_a_long_reply_is_cut():
    assert cut("x" * 800) == "x" * 800
    assert cut("x" * 801) == "x" * 800 + "[TRUNCATED]"


def test_the_hash_is_cut_where_mysql_cuts_it():
    rows = [[str(n)] for n in range(200)]
    assert state_hash(rows) == state_hash(rows[::-1])
    assert state_hash(rows) != state_hash(rows[:100])
    assert state_hash([]) == "[(None,)]"
    assert state_hash([["a", None, "b"]]) == state_hash([["a", "b"]])


def test_more_rounds_than_allowed_score_nothing(pets):
    fine = operate(*["SELECT 1"] * 2)
    fine[-1] = 'Action: Answer\nFinal Answer: ["3"]'
    _, scores = play(pets, lambda t, s: fine, rounds=2)
    assert scores[0].value == 1
    _, scores = play(pets, lambda t, s: fine, rounds=1)
    assert (scores[0].value, scores[0].reason) == (
        0.0,
        "no final answer after 1 operations",
    )


@pytest.mark.parametrize(
    ("text", "statement", "answers"),
    [
        ("Action: Operation\n```sql\nSELECT\n1\n```", "SELECT 1", None),
        ("So.\r\nAction: Operation\r\n```sql\r\nSELECT 1\r\n```\r\n", "SELECT 1", None),
        ("Action:  Operation \n```SQL\nA\n```\n```sql\nB\n```", "A", None),
        ("Action: Answer\nFinal Answer: ['a', 2]", None, ("a", "2")),
        ('Action: Answer\nFinal Answer: ["it\'s"]', None, ("it's",)),
        ("Action: Answer\nFinal Answer: forty", None, ("forty",)),
        ("Action: Answer\nFinal Answer: 40", None, ("40",)),
        ("Action: Answer\nFinal Answer: __import__('os')", None, ("__import__('os')",)),
        ("Action: Answer\nFinal Answer: " + "[" * 9999, None, ("[" * 9999,)),
    ],
)
def test_a_turn_is_a_statement_or_an_answer(text, statement, answers):
    action = action_of(text)
    assert (action.statement, action.answers, action.fault) == (statement, answers, "")


@pytest.mark.parametrize(
    ("answers", "gold_answers", "is_right"),
    [
        (["3"], ["3.0"], True),
        (["3"], ["3.1"], False),
        (["a"], ["a"], True),
        (["a"], ["A"], False),
        (["b", "a"], ["a", "b"], True),
        (["a", "a", "b"], ["a", "b"], True),
        (["a"], ["a", "b"], False),
        ([], ["a"], False),
        (["nan"], ["nan"], False),
    ],
)
def test_answers_are_compared_as_the_benchmark_does(answers, gold_answers, is_right):
    assert are_right(answers, gold_answers) is is_right


@pytest.mark.parametrize("text", ["SELECT", "(" * 5000, "'", "a" * 99_999, "\0", ";;"])
def test_what_cannot_be_parsed_stays_as_it_is(text):
    assert to_sqlite(text) == text


def test_gold_that_only_mysql_runs_is_left_out_and_counted(tmp_path):
    only = change("x", "UPDATE", "UPDATE `my pets` SET age = soundex_2(name)", PETS)
    path = write(tmp_path / "own.jsonl", ROWS[0], only)
    task, scores = play(path, gold)
    assert len(scores) == 1
    ((place, reason),) = task.left_out.items()
    assert place.endswith("own.jsonl, line 2")
    assert "MySQL only, set mysql_url_env: no such function" in reason


def without(fields, key):
    return {k: v for k, v in fields.items() if k != key}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROWS[0], "[1"], "own.jsonl, line 2: expected one JSON object"),
        ([ROWS[0], ROWS[0]], "line 2: expected an id of its own, but '.*' is that of"),
        ([without(ROWS[0], "type")], "line 1: expected a field 'type'"),
        ([ROWS[0] | {"type": "other"}], "a list with the kind of question in 'type'"),
        ([ROWS[0] | {"label": []}], "a list of texts in 'label'"),
        (
            [without(ROWS[2], "answer_md5")],
            "the hash of the changed table in 'answer_md",
        ),
        (
            [ROWS[0] | {"table": {"table_name": "x"}}],
            "line 1: expected 'table' with tab",
        ),
        ([ROWS[0] | {"description": ""}], "text in 'description', but got an empty"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_line(tmp_path, rows, message):
    path = write(tmp_path / "own.jsonl", *rows)
    with pytest.raises(InputError, match=message):
        DatabaseTask(DatabaseSettings(path=str(path), shares=ALL), Sandbox())


def test_a_table_that_no_database_could_hold_is_left_out(tmp_path, database):
    short = row("q", "other", ["1"], rows=[PETS[0], ["a"]])
    twice = row("r", "other", ["1"])
    columns = [{"name": name, "type": "TEXT"} for name in ("a", "b", "A")]
    twice["table"]["table_info"] = {"columns": columns, "rows": []}
    path = write(tmp_path / "own.jsonl", ROWS[0], short, twice)
    settings = DatabaseSettings(path=str(path), shares=ALL, **database)
    task = DatabaseTask(settings, Sandbox())
    assert len(task.all_samples) == 1
    assert task.left_out == {
        f"{path}, line 2": "row 2 of its table has 1 of 3 values",
        f"{path}, line 3": "its table has two columns of one name",
    }


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        (None, InputError, f"environment variable {URL}, but it is not set; set it to"),
        ("postgres://a@b", InputError, "but it holds another text; set it to mysql://"),
        ("mysql://r:pa55@127.0.0.1:1", SandboxError, "server at 127.0.0.1:1, but got"),
        ("mysql://r@x/?unix_socket=/no", SandboxError, "server at /no, but got: Can't"),
    ],
)
def test_a_server_that_is_not_there_is_an_error(pets, monkeypatch, url, error, message):
    if url:
        monkeypatch.setenv(URL, url)
    with pytest.raises(error, match=message) as caught:
        play(pets, gold, mysql_url_env=URL)
    assert "pa55" not in str(caught.value)
