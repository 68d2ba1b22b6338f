"""What the shell skill adds to the laws of all skills."""

import asyncio
import random
import shlex

import pytest

from lora_qd.records import Completion, Sample
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.tiny.shell import ShellTask, bare_line

FILES = {"cat.txt": "red\ntea\n", "sea": None}


def sample(*, output="", after=FILES):
    case = {"files": FILES, "output": output, "after": after}
    return Sample(
        id="tree", prompt="an instruction", target="", checks={"cases": [case]}
    )


LINES_WITH_RED = sample(output="red\n")
RENAMED = sample(after={"dog.txt": "red\ntea\n", "sea": None})
COPIED = sample(after={**FILES, "sea/cat.txt": "red\ntea\n"})


def score(asked, answer):
    async def run():
        async with Sandbox(1) as sandbox:

            async def generate(requests):
                return [Completion(answer, 7, 5, True) for _ in requests]

            return await ShellTask(sandbox).run(asked, generate)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (LINES_WITH_RED, "grep red cat.txt"),
        (LINES_WITH_RED, "sed -n /red/p < cat.txt\n"),
        (RENAMED, "mv cat.txt dog.txt"),
        (RENAMED, "cp cat.txt dog.txt && rm cat.txt"),
        (COPIED, "cp cat.txt sea"),
    ],
)
def test_any_command_with_the_right_effect_scores_1(asked, answer):
    assert score(asked, answer).value == 1.0


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (LINES_WITH_RED, "grep tea cat.txt"),
        (LINES_WITH_RED, "grep red cat.txt | tee new.txt"),
        (LINES_WITH_RED, "grep -c red cat.txt"),
        (RENAMED, "cp cat.txt dog.txt"),
        (RENAMED, "mv cat.txt dog.txt; echo moved"),
        (COPIED, "mv cat.txt sea"),
        (COPIED, "true"),
    ],
)
def test_a_command_with_another_effect_scores_0(asked, answer):
    result = score(asked, answer)
    assert result.value == 0.0
    assert result.reason
    assert "\n" not in result.reason


@pytest.mark.parametrize(
    "answer",
    ["no-such-command", "grep 'red cat.txt", "exit 3", "echo \x00", "kill -9 $$"],
)
def test_a_command_that_fails_scores_0(answer):
    result = score(LINES_WITH_RED, answer)
    assert result.value == 0.0
    assert result.reason


def test_an_endless_command_scores_0():
    result = score(LINES_WITH_RED, "while :; do :; done")
    assert result.value == 0.0
    assert result.reason


def test_every_hidden_case_counts():
    twice = {
        "files": {"cat.txt": "red\n"},
        "output": "2\n",
        "after": {"cat.txt": "red\n"},
    }
    cases = [*LINES_WITH_RED.checks["cases"], twice]
    asked = Sample(id="two", prompt="", target="", checks={"cases": cases})
    assert score(asked, "grep red cat.txt").value == 0.0


def test_a_score_keeps_the_answer_and_its_cost():
    result = score(LINES_WITH_RED, "grep red cat.txt")
    assert (result.answer, result.reason) == ("grep red cat.txt", "")
    assert (result.num_prompt_tokens, result.num_tokens) == (7, 5)
    assert result.seconds > 0


def test_bare_lines_are_commands_of_a_few_words():
    rng = random.Random("bare")
    lines = [bare_line(rng) for _ in range(200)]
    assert len(set(lines)) > 180
    assert all(2 <= len(shlex.split(line)) <= 10 for line in lines)
