"""What the database skill adds to the laws of all skills."""

import asyncio
import random
import sqlite3

import pytest

from lora_qd.records import Completion, Sample
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.tiny.database import DatabaseTask, bare_line

ROWS = [["cat", 3, 30], ["dog", 5, 20], ["owl", 9, 10]]


def sample(*, answer=(), state=ROWS, is_ordered=False):
    case = {"rows": ROWS, "answer": list(answer), "state": state}
    checks = {
        "schema": "CREATE TABLE pets (name TEXT, age INTEGER, size INTEGER)",
        "table": "pets",
        "is_ordered": is_ordered,
        "cases": [case],
    }
    return Sample(id="pets", prompt="a question", target="", checks=checks)


OLD = sample(answer=[["dog"], ["owl"]])
OLD_IN_ORDER = sample(answer=[["owl"], ["dog"]], is_ordered=True)
WITHOUT_CAT = sample(state=ROWS[1:])


def score(asked, answer):
    async def run():
        async with Sandbox(1) as sandbox:

            async def generate(requests):
                return [Completion(answer, 7, 5, True) for _ in requests]

            return await DatabaseTask(sandbox).run(asked, generate)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (OLD, "SELECT name FROM pets WHERE age > 3"),
        (OLD, "select name from pets where not age <= 3;"),
        (OLD, "SELECT name FROM pets WHERE age > 3 ORDER BY age DESC"),
        (OLD_IN_ORDER, "SELECT name FROM pets WHERE age > 3 ORDER BY age DESC"),
        (WITHOUT_CAT, "DELETE FROM pets WHERE name = 'cat'"),
        (WITHOUT_CAT, "DELETE FROM pets WHERE age < 5"),
    ],
)
def test_any_statement_with_the_right_effect_scores_1(asked, answer):
    assert score(asked, answer).value == 1.0


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (OLD, "SELECT name FROM pets WHERE age >= 3"),
        (OLD, "SELECT age FROM pets WHERE age > 3"),
        (OLD_IN_ORDER, "SELECT name FROM pets WHERE age > 3 ORDER BY age"),
        (WITHOUT_CAT, "SELECT 1 WHERE 0"),
        (WITHOUT_CAT, "DELETE FROM pets"),
    ],
)
def test_a_statement_with_another_effect_scores_0(asked, answer):
    result = score(asked, answer)
    assert result.value == 0.0
    assert result.reason
    assert "\n" not in result.reason


def test_a_question_must_not_change_the_table():
    answer = "DELETE FROM pets WHERE age > 3 RETURNING name"
    result = score(OLD, answer)
    assert result.value == 0.0
    assert "table is not as it should be" in result.reason


@pytest.mark.parametrize(
    "answer",
    [
        "not SQL",
        "SELECT name FROM pets WHERE age > 3; SELECT 1",
        "DROP TABLE pets",
        "SELECT '\x00'",
        "SELECT x'ff'",
        "SELECT '\udc80'",
    ],
)
def test_what_cannot_run_or_be_read_scores_0(answer):
    result = score(OLD, answer)
    assert result.value == 0.0
    assert result.reason


def test_an_endless_statement_scores_0():
    answer = "WITH RECURSIVE t(x) AS (VALUES(1) UNION ALL SELECT x FROM t) " + (
        "SELECT COUNT(*) FROM t"
    )
    result = score(OLD, answer)
    assert result.value == 0.0
    assert result.reason


def test_a_score_keeps_the_answer_and_its_cost():
    answer = "SELECT name FROM pets WHERE age > 3"
    result = score(OLD, answer)
    assert (result.answer, result.reason) == (answer, "")
    assert (result.num_prompt_tokens, result.num_tokens) == (7, 5)
    assert result.seconds > 0


def test_bare_lines_are_statements_that_sqlite_can_parse():
    rng = random.Random("bare")
    lines = [bare_line(rng) for _ in range(200)]
    assert len(set(lines)) > 190
    for line in lines:
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            sqlite3.connect(":memory:").execute(line)
