"""The programs that decide over an answer; they run beside it, never with it.

`sandbox.Job.judge` tells what a judge can do: it calls what the answer defines and gets
plain data back.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_PASSED = "passed"
_SUPPORT = """\
import json, sys
from lora_qd.tasks.sandbox.inside.judging import Numbers, bind, compare, run_assertion
"""


def check_judge(prompt: str, test: str, entry_point: str) -> str:
    """Return the judge by HumanEval's ``check(candidate)``.

    Args:
        prompt: the imports and helpers that ``test`` may use, and the unfinished
            function.
        test: defines ``check``.
        entry_point: the function that is asked for.
    """
    return "\n".join(
        (
            _SUPPORT,
            "sys.modules['numpy'] = Numbers",
            prompt,
            f"{entry_point} = answer[{entry_point!r}]",
            test,
            f"check({entry_point})",
            f"print({_PASSED!r})",
        )
    )


def assertion_judge(
    setup: Sequence[str], assertions: Sequence[str], names: Sequence[str]
) -> str:
    """Return the judge by MBPP's assertions.

    Args:
        setup: code that runs before the assertions.
        assertions: one statement each.
        names: what the answer defines for them.
    """
    return "\n".join(
        (
            _SUPPORT,
            "sys.modules['numpy'] = Numbers",
            *(f"bind(globals(), answer, {name!r})" for name in names),
            *setup,
            f"for statement in {list(assertions)!r}:",
            "    run_assertion(statement, globals())",
            f"print({_PASSED!r})",
        )
    )


def oracle_judge(
    reference: str, entry_point: str, inputs: Sequence[Any], options: Mapping[str, Any]
) -> str:
    """Return the judge by EvalPlus's inputs: as the reference answers, so it must.

    Args:
        reference: code that defines ``entry_point``.
        entry_point: the function that is asked for.
        inputs: the arguments of each call, as JSON has them.
        options: those of `judging.compare`.
    """
    return "\n".join(
        (
            _SUPPORT,
            "space = {'__name__': 'reference'}",
            f"exec({reference!r}, space)",
            f"calls = json.loads({json.dumps(inputs)!r})",
            f"compare(answer, space[{entry_point!r}], {entry_point!r}, calls, "
            f"**{dict(options)!r})",
            f"print({_PASSED!r})",
        )
    )


def has_passed(output: str) -> bool:
    """Return whether a judge that ended well said so."""
    return output.strip().endswith(_PASSED)
