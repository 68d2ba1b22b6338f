"""Rows of HumanEval, MBPP and EvalPlus as samples.

``Sample.checks`` holds ``entry_point``, ``stub`` (the unfinished function, for answers
that continue it), ``preamble`` (what stands before every answer) and ``judge``.
"""

import ast
import builtins
from collections.abc import Sequence
from typing import Any

from lora_qd.errors import InputError
from lora_qd.records import Sample
from lora_qd.tasks.coding.judges import assertion_judge, check_judge, oracle_judge
from lora_qd.tasks.rows import Row

_ORACLE = ("base_input", "canonical_solution")
_HELPERS = "assertion("
"""Occurs in the tests of EvalPlus's data sets on the Hub, and in no original test."""


def humaneval_sample(row: Row, *, is_plus: bool) -> Sample:
    """Return the sample of a row of HumanEval, or of HumanEval+.

    Raises:
        InputError: a field is missing or wrong.
    """
    prompt, entry_point = row.text("prompt"), row.text("entry_point")
    solution = prompt + row.text("canonical_solution")
    _require_code(row, solution, entry_point)
    if is_plus:
        _require_plus(row)
    if all(field in row.fields for field in _ORACLE):
        judge = _oracle(row, solution, entry_point, "humaneval", is_plus=is_plus)
    else:
        judge = check_judge(prompt, row.text("test"), entry_point)
    return Sample(
        id=_id(row),
        prompt=f"Complete this Python function:\n\n```python\n{prompt.strip()}\n```",
        target=solution,
        checks={
            "entry_point": entry_point,
            "stub": prompt,
            "preamble": _preamble(prompt, entry_point),
            "judge": judge,
        },
    )


def mbpp_sample(row: Row, *, is_plus: bool) -> Sample:
    """Return the sample of a row of MBPP, sanitized or not, or of MBPP+.

    Raises:
        InputError: a field is missing or wrong.
    """
    if is_plus:
        _require_plus(row)
    if all(field in row.fields for field in _ORACLE):
        return _mbpp_by_oracle(row, is_plus=is_plus)
    tests = _texts(row, "test_list")
    solution = row.text("code")
    imports = _texts(row, "test_imports") if "test_imports" in row.fields else []
    setup = row.fields.get("test_setup_code") or ""
    names = _defined(row, solution)
    code = "\n".join([*imports, setup, *tests])
    used = [name for name in names if name in _loaded(row, code)]
    if not used:
        raise InputError(
            f"{row.where}: expected tests that call what the code defines "
            f"({', '.join(names) or 'nothing'}), but they do not; repair the row"
        )
    hub_test = row.fields.get("test")
    if is_plus and isinstance(hub_test, str):
        judge = assertion_judge(imports, [hub_test], used)
    else:
        judge = assertion_judge([*imports, setup], tests, used)
    text = row.text("text" if "text" in row.fields else "prompt")
    return _mbpp(row, _question(text, tests), solution, used[0], judge)


def _mbpp_by_oracle(row: Row, *, is_plus: bool) -> Sample:
    prompt, entry_point = row.text("prompt"), row.text("entry_point")
    solution = row.text("canonical_solution")
    _require_code(row, solution, entry_point)
    judge = _oracle(row, solution, entry_point, "mbpp", is_plus=is_plus)
    question = f"Write the Python function that this describes:\n\n{prompt.strip()}"
    return _mbpp(row, question, solution, entry_point, judge)


def _mbpp(row: Row, question: str, solution: str, entry: str, judge: str) -> Sample:
    checks = {"entry_point": entry, "stub": "", "preamble": "", "judge": judge}
    return Sample(id=_id(row), prompt=question, target=solution, checks=checks)


def _question(text: str, tests: Sequence[str]) -> str:
    shown = "\n".join(tests)
    return f"{text.strip()}\nThe code must pass these tests:\n\n```python\n{shown}\n```"


def _oracle(
    row: Row, solution: str, entry_point: str, benchmark: str, *, is_plus: bool
) -> str:
    calls = _calls(row, "base_input") + (_calls(row, "plus_input") if is_plus else [])
    atol = row.fields.get("atol", 0)
    if not isinstance(atol, int | float) or isinstance(atol, bool) or atol < 0:
        raise InputError(f"{row.where}: expected a number in 'atol', but got {atol!r}")
    last = _id(row).rpartition("/")[2]
    is_numbered = benchmark == "mbpp" and last.isdecimal()
    options = {"atol": atol, "mbpp_number": int(last) if is_numbered else -1}
    return oracle_judge(solution, entry_point, calls, options)


def _require_plus(row: Row) -> None:
    has_tests = _HELPERS in str(row.fields.get("test"))
    if "plus_input" not in row.fields and not has_tests:
        raise InputError(
            f"{row.where}: expected EvalPlus's tests in 'plus_input', but the fields "
            f"are {', '.join(sorted(row.fields))}; name EvalPlus's file, or the skill "
            "without +"
        )


def _id(row: Row) -> str:
    value = row.value("task_id")
    if not isinstance(value, int | str) or isinstance(value, bool) or value == "":
        raise InputError(
            f"{row.where}: expected a text or number in 'task_id', but got {value!r}"
        )
    return str(value)


def _texts(row: Row, field: str) -> list[str]:
    value = row.value(field)
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise InputError(
            f"{row.where}: expected a list of texts in {field!r}, but got "
            f"{str(value)[:60]!r}; repair the row"
        )
    return value


def _calls(row: Row, field: str) -> list[Any]:
    value = row.value(field)
    if not isinstance(value, list) or not all(isinstance(v, list) for v in value):
        raise InputError(
            f"{row.where}: expected a list of argument lists in {field!r}, but got "
            f"{str(value)[:60]!r}; repair the row"
        )
    return value


def _require_code(row: Row, code: str, name: str) -> None:
    if name not in _defined(row, code):
        raise InputError(
            f"{row.where}: expected a solution that defines {name!r}, but it does not; "
            "repair the row"
        )


def _tree(row: Row, code: str) -> ast.Module:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise InputError(
            f"{row.where}: expected Python, but got: {error}; repair the row"
        ) from error


def _defined(row: Row, code: str) -> list[str]:
    """Return the functions and classes of the top level that are no built-ins."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    names = [n.name for n in _tree(row, code).body if isinstance(n, kinds)]
    return [name for name in dict.fromkeys(names) if not hasattr(builtins, name)]


def _loaded(row: Row, code: str) -> set[str]:
    nodes = ast.walk(_tree(row, code))
    return {node.id for node in nodes if isinstance(node, ast.Name)}


def _preamble(prompt: str, entry_point: str) -> str:
    """Return what stands before the function: imports and helpers."""
    start = prompt.rfind(f"def {entry_point}")
    return prompt[:start] if start > 0 else ""
