"""Python answers, held against the user's assertions in the sandbox."""

import ast
from typing import Literal

from pydantic import Field, field_validator

from lora_qd.errors import InputError
from lora_qd.tasks.coding.extraction import code_of
from lora_qd.tasks.coding.judges import assertion_judge, has_passed
from lora_qd.tasks.own.scorers.question import Question
from lora_qd.tasks.own.templates import check_template, render
from lora_qd.tasks.published import Verdict
from lora_qd.tasks.published.source import Strict
from lora_qd.tasks.sandbox import Job, Sandbox
from lora_qd.tasks.sandbox.job import Limits

_WALL_PER_CPU_S = 3


class Python(Strict):
    """Python code, called by assertions.

    Code and assertions run in a process each: the answer can neither read nor forge
    what decides over it.
    """

    kind: Literal["python"]
    """This scorer."""
    tests: str = "{{ tests }}"
    """Jinja template of the statements that must hold: Python with `assert`."""
    defines: str = "{{ entry_point }}"
    """Jinja template of what the answer must define: a name, or several with commas."""
    setup: str = ""
    """Jinja template of code that runs before the assertions, on their side."""
    cpu_s: int = Field(default=5, ge=1)
    """Seconds of processor time for answer and assertions, each."""

    _check = field_validator("tests", "defines", "setup")(check_template)

    async def grade(self, sandbox: Sandbox, answer: str, question: Question) -> Verdict:
        """Have the assertions call what the answer defines.

        Raises:
            InputError: the assertions are no Python.
            SandboxError: there is no working sandbox.
        """
        names = self._names(question)
        code = code_of(answer, names[0])
        judge = assertion_judge(
            [render(self.setup, question.row, what="scorer.setup")],
            self._assertions(question),
            names,
        )
        limits = Limits(cpu_s=2 * self.cpu_s, wall_s=_WALL_PER_CPU_S * self.cpu_s)
        outcome = await sandbox.run(Job("python", code, judge=judge), limits)
        if outcome.is_ok and has_passed(outcome.output):
            return Verdict(1.0)
        reason = outcome.reason or "the assertions did not come to their end"
        return Verdict(0.0, reason)

    def _names(self, question: Question) -> list[str]:
        text = render(self.defines, question.row, what="scorer.defines")
        names = [name.strip() for name in text.split(",") if name.strip()]
        if not names or not all(name.isidentifier() for name in names):
            raise InputError(
                f"{question.row.where}: expected the name of a function or class from "
                f"scorer.defines, but got {text!r}; repair the row or the template"
            )
        return names

    def _assertions(self, question: Question) -> list[str]:
        text = render(self.tests, question.row, what="scorer.tests")
        try:
            statements = ast.parse(text).body
        except (SyntaxError, ValueError) as error:
            raise InputError(
                f"{question.row.where}: expected Python statements from scorer.tests, "
                f"but got {error}; repair the row or the template"
            ) from error
        if not any(isinstance(each, ast.Assert) for each in statements):
            raise InputError(
                f"{question.row.where}: expected at least one assert from "
                f"scorer.tests, but got {text[:80]!r}; repair the row or the template"
            )
        return [ast.unparse(each) for each in statements]
