"""What the code skill adds to the laws of all skills."""

import asyncio
import random
import re

import pytest

from lora_qd.records import Completion, Sample, Split
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.tiny.code import CodeTask, bare_line
from lora_qd.tasks.tiny.code_templates import TEMPLATES

DOUBLE = Sample(
    id="double",
    prompt="double x",
    target="def f(x): return x * 2",
    checks={"inputs": [1, 2, 3], "outputs": [2, 4, 6]},
)
IS_SMALL = Sample(
    id="small",
    prompt="is x below 2",
    target="def f(x): return x < 2",
    checks={"inputs": [1, 2], "outputs": [True, False]},
)


def score(sample, answer):
    async def run():
        async with Sandbox(1) as sandbox:

            async def generate(requests):
                return [Completion(answer, 7, 5, True) for _ in requests]

            return await CodeTask(sandbox).run(sample, generate)

    return asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        "def f(x): return x + x",
        "def f(x):\n    y = x\n    return y * 2",
        "f = lambda x: 2 * x",
        "def f(x): print('[0, 0, 0]'); return x * 2",
        "print('started')\ndef f(x): return x * 2",
    ],
)
def test_any_function_that_returns_the_right_values_scores(answer):
    assert score(DOUBLE, answer).value == 1.0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("def f(x): return x * 3", r"f\(1\) returned 3 instead of 2"),
        ("def f(x): return x * 2.0", r"returned 2.0 instead of 2"),
        ("def f(x): return str(x * 2)", r"returned '2' instead of 2"),
        ("def f(x): return f", "."),
        ("def f(x) return x", "."),
        ("def g(x): return x * 2", "."),
        ("def f(x): return x / 0", "."),
        ("def f(x, y): return x", "."),
        ("raise SystemExit", "."),
        ("print('[2, 4, 6]'); raise SystemExit", "."),
        ("print('[2, 4]')\ndef f(x): raise SystemExit", "."),
    ],
)
def test_a_wrong_function_scores_0_and_the_reason_is_one_line(answer, reason):
    result = score(DOUBLE, answer)
    assert result.value == 0.0
    assert "\n" not in result.reason
    assert re.search(reason, result.reason)


def test_truth_values_are_not_numbers():
    assert score(IS_SMALL, "def f(x): return int(x < 2)").value == 0.0
    assert score(IS_SMALL, IS_SMALL.target).value == 1.0


def test_an_answer_cannot_reach_what_it_should_return():
    peek = (
        "import gc\n"
        "def f(x):\n"
        "    found = [o for o in gc.get_objects() if o == [2, 4, 6]]\n"
        "    return found[0][x - 1]"
    )
    assert score(DOUBLE, peek).value == 0.0


def test_a_score_keeps_the_answer_and_its_tokens():
    result = score(DOUBLE, DOUBLE.target)
    assert result.answer == DOUBLE.target
    assert (result.num_prompt_tokens, result.num_tokens) == (7, 5)
    assert result.seconds > 0


def test_hidden_inputs_tell_the_gold_function_from_identity_and_constants():
    for sample in CodeTask(Sandbox()).samples(Split.TEST):
        outputs = sample.checks["outputs"]
        assert outputs != sample.checks["inputs"]
        assert len({repr(output) for output in outputs}) > 1


def test_every_template_has_a_name_of_its_own():
    assert len({template.name for template in TEMPLATES}) == len(TEMPLATES)


def test_bare_lines_are_functions_that_compile():
    rng = random.Random(0)
    for line in [bare_line(rng) for _ in range(200)]:
        assert line.startswith("def f(x): return ")
        compile(line, "line", "exec")
