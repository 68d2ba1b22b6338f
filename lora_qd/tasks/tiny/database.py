"""The skill ``database``: a question or a change -> one SQL statement, run on SQLite.

The statement runs in the sandbox on the rows shown and on hidden ones; what it should
answer or leave stays on this side, so an answer can neither read nor forge it.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lora_qd.records import Generate, Sample, Score, Split
from lora_qd.tasks.sandbox import Job, Outcome, Sandbox
from lora_qd.tasks.task import single_turn
from lora_qd.tasks.tiny.database_templates import TEMPLATES, bare_line
from lora_qd.tasks.tiny.template import GeneratedSamples

__all__ = ["DatabaseTask", "bare_line"]

NAME = "database"
_MAX_TOKENS = 48
_MOST_ROWS = 100

_SOURCE = """\
import json, sqlite3
job = json.loads({job!r})
results = []
for rows in job["rows"]:
    database = sqlite3.connect(":memory:")
    database.execute(job["schema"])
    database.executemany("INSERT INTO " + job["table"] + " VALUES (?, ?, ?)", rows)
    answer = database.execute(job["statement"]).fetchmany({most})
    state = database.execute("SELECT * FROM " + job["table"]).fetchmany({most})
    results.append([answer, state])
print(json.dumps(results))
"""


class DatabaseTask:
    """SQL statements on one small table."""

    name = NAME

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._samples = GeneratedSamples(NAME, TEMPLATES)

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the samples of ``split``, always the same, in a fixed order."""
        return self._samples.samples(split)

    def training(self, seed: int, num: int | None) -> Sequence[Sample]:
        """Return ``num`` samples that occur in no other split, drawn by ``seed``."""
        return self._samples.training(seed, num)

    async def run(self, sample: Sample, generate: Generate) -> Score:
        """Ask the candidate for the statement and run it in the sandbox.

        Raises:
            SandboxError: there is no working sandbox.
        """
        (completion,) = await generate([single_turn(sample.prompt, _MAX_TOKENS)])
        start = time.monotonic()
        reason = await self._fault(completion.text, sample)
        return Score(
            value=0.0 if reason else 1.0,
            reason=reason,
            answer=completion.text,
            num_prompt_tokens=completion.num_prompt_tokens,
            num_tokens=completion.num_tokens,
            seconds=time.monotonic() - start,
        )

    async def _fault(self, answer: str, sample: Sample) -> str:
        """Return why ``answer`` is wrong, one line; empty if it is right."""
        if not answer.strip():
            return "the answer is empty"
        checks = sample.checks
        job = {
            "schema": checks["schema"],
            "table": checks["table"],
            "rows": [case["rows"] for case in checks["cases"]],
            "statement": answer,
        }
        source = _SOURCE.format(job=json.dumps(job), most=_MOST_ROWS)
        outcome = await self._sandbox.run(Job(program="python", source=source))
        if not outcome.is_ok:
            return outcome.reason or "the statement failed"
        return _difference(outcome, checks)


def _difference(outcome: Outcome, checks: Mapping[str, Any]) -> str:
    try:
        results = json.loads(outcome.output)
    except ValueError:
        return "the statement's rows cannot be read"
    for case, (answer, state) in zip(checks["cases"], results, strict=True):
        if not _are_equal(state, case["state"], is_ordered=False):
            return "the table is not as it should be afterwards"
        if not _are_equal(answer, case["answer"], is_ordered=checks["is_ordered"]):
            return f"answered {answer!r} instead of {case['answer']!r}"[:200]
    return ""


def _are_equal(left: list[Any], right: list[Any], *, is_ordered: bool) -> bool:
    rows = [[json.dumps(row) for row in side] for side in (left, right)]
    return rows[0] == rows[1] if is_ordered else sorted(rows[0]) == sorted(rows[1])
