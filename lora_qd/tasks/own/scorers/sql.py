"""SQL answers, run on SQLite in the sandbox beside the gold statement."""

import json
from typing import Any, Literal

from pydantic import Field, field_validator

from lora_qd.errors import InputError
from lora_qd.tasks.own.scorers.code_block import code_in
from lora_qd.tasks.own.scorers.question import Question
from lora_qd.tasks.own.templates import check_template, render
from lora_qd.tasks.published import Verdict
from lora_qd.tasks.published.source import Strict
from lora_qd.tasks.sandbox import Job, Outcome, Sandbox
from lora_qd.tasks.sandbox.job import Limits

_SOURCE = """\
import hashlib, json, sqlite3
job = json.loads({job!r})
database = sqlite3.connect(":memory:")
database.executescript(job["setup"])
def plain(row):
    return json.dumps([v.hex() if isinstance(v, bytes) else v for v in row])
def digest(lines):
    return hashlib.sha256("\\n".join(lines).encode()).hexdigest()
cursor = database.execute(job["statement"])
rows = [plain(row) for row in cursor] if cursor.description else []
shown = rows[:3]
if not job["is_ordered"]:
    rows.sort()
names = [n for n, in database.execute(
    "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
state = []
for name in names:
    quoted = '"' + name.replace('"', '""') + '"'
    state.append(name)
    state += sorted(plain(row) for row in database.execute("SELECT * FROM " + quoted))
print(json.dumps({{"rows": digest(rows), "state": digest(state), "shown": shown}}))
"""


class Sql(Strict):
    """An SQL statement, whose rows and tables must be those of the gold answer.

    Each answer gets a fresh SQLite database.
    """

    kind: Literal["sql"]
    """This scorer."""
    setup: str
    """Jinja template of the SQL that makes the tables and fills them."""
    ordered: bool = False
    """Whether the order of the rows counts."""
    cpu_s: int = Field(default=2, ge=1)
    """Seconds of processor time for one statement."""

    _check = field_validator("setup")(check_template)

    async def grade(self, sandbox: Sandbox, answer: str, question: Question) -> Verdict:
        """Run the answer and each target; the rows of one of them must be equal.

        Raises:
            InputError: the gold statement does not run.
            SandboxError: there is no working sandbox.
        """
        setup = render(self.setup, question.row, what="scorer.setup")
        # The gold answers first: a setup that fails is nobody's wrong answer.
        golden = [
            await self._gold(sandbox, setup, question, t) for t in question.targets
        ]
        said = await self._run(sandbox, setup, answer)
        if not said.is_ok:
            return Verdict(0.0, said.reason or "the statement failed")
        found = _result(said)
        if found is None:
            return Verdict(0.0, "the statement's rows cannot be read")
        verdicts = [_compare(found, wanted) for wanted in golden]
        return max(verdicts, key=lambda verdict: verdict.value)

    async def _gold(
        self, sandbox: Sandbox, setup: str, question: Question, target: str
    ) -> dict[str, Any]:
        outcome = await self._run(sandbox, setup, target)
        result = _result(outcome) if outcome.is_ok else None
        if result is None:
            raise InputError(
                f"{question.row.where}: expected the gold statement to run, but got: "
                f"{outcome.reason}; repair the answer or scorer.setup"
            )
        return result

    async def _run(self, sandbox: Sandbox, setup: str, statement: str) -> Outcome:
        job = {
            "setup": setup,
            "statement": code_in(statement, ("sql", "sqlite")),
            "is_ordered": self.ordered,
        }
        source = _SOURCE.format(job=json.dumps(job))
        limits = Limits(cpu_s=self.cpu_s, wall_s=3 * self.cpu_s)
        return await sandbox.run(Job("python", source), limits)


def _result(outcome: Outcome) -> dict[str, Any] | None:
    try:
        result = json.loads(outcome.output)
    except ValueError:
        return None
    return result if isinstance(result, dict) else None


def _compare(found: dict[str, Any], wanted: dict[str, Any]) -> Verdict:
    if found["state"] != wanted["state"]:
        return Verdict(0.0, "the tables are not as they should be afterwards")
    if found["rows"] != wanted["rows"]:
        said, gold = (", ".join(each["shown"]) or "nothing" for each in (found, wanted))
        return Verdict(0.0, f"returned {said} instead of {gold}"[:200])
    return Verdict(1.0)
