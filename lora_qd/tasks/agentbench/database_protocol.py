"""What a candidate says in DBBench, and what is right.

The protocol is that of AgentBench 0.2; the prose is ours. A little looser: blanks and
carriage returns around markers do not matter. Stricter: a final answer is never
evaluated as Python, only read as a literal.
"""

import ast
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

INSTRUCTION = """\
You operate a MySQL database by SQL to answer my question about it.
First explain the problem and your plan. Then, in every turn, either operate or answer.
To operate, write:
Action: Operation
```sql
SELECT * FROM table WHERE condition;
```
The statement stands on one line, one statement a turn, nothing else within the marks.
I execute it and reply with the raw output of MySQL.
To answer, once you are sure, write:
Action: Answer
Final Answer: ["ANSWER1", "ANSWER2", ...]
The answer must be exact. If the task is to change the database, change it first; the
final answer may then be anything. A turn in any other form counts as a failure."""
AGREEMENT = "Ok."
_ACTION = re.compile(r"^.*?Action:[ \t]*(\w+)[ \t\r]*$", re.M)
_SQL = re.compile(r"```sql[ \t]*\r?\n(.*?)\r?\n?```", re.S | re.I)
_ANSWER = re.compile(r"^Final Answer:(.*)$", re.M)
_MOST_REPLY = 800
_CONCAT_BYTES = 1024
"""What MySQL's group_concat is cut to, by default and in the published hashes."""


@dataclass(frozen=True, slots=True)
class Action:
    """One turn of the candidate: a statement, final answers, or neither."""

    statement: str | None = None
    answers: tuple[str, ...] | None = None
    fault: str = ""
    """Why it is neither, one line."""


def action_of(text: str) -> Action:
    """Return what a candidate wants to do."""
    found = _ACTION.search(text)
    if not found:
        return Action(fault="no 'Action: Operation' or 'Action: Answer'")
    if found[1] == "Operation":
        block = _SQL.search(text)
        if not block or not block[1].strip():
            return Action(fault="an operation without a ```sql block")
        return Action(statement=" ".join(block[1].split("\n")).strip())
    answer = _ANSWER.search(text)
    if found[1] != "Answer" or not answer:
        return Action(fault=f"'Action: {found[1]}' without 'Final Answer:'"[:100])
    return Action(answers=_answers(answer[1].strip()))


def reply_of(rows: Sequence[Sequence[object]]) -> str:
    """Return how the benchmark shows a statement's rows."""
    return cut(str([tuple(row) for row in rows]))


def cut(reply: str) -> str:
    """Return a reply, cut as the benchmark cuts it."""
    return reply if len(reply) <= _MOST_REPLY else f"{reply[:_MOST_REPLY]}[TRUNCATED]"


def are_right(answers: Sequence[str], gold: Sequence[str]) -> bool:
    """Return whether final answers are the gold ones.

    One of each: equal numbers, or else equal texts. Several: equal sets of texts.
    """
    if len(answers) == len(gold) == 1:
        left, right = _number(answers[0]), _number(gold[0])
        if left is None or right is None:
            return answers[0] == gold[0]
        return left == right
    return set(answers) == set(gold)


def state_hash(rows: Sequence[Sequence[str | None]]) -> str:
    """Return the benchmark's MD5 over a table's rows, as MySQL's connector shows it.

    ``md5(group_concat(h order by h))`` over the first five digits ``h`` of the MD5 of
    each row's values, joined by commas; NULLs are left out.
    """
    if not rows:
        return "[(None,)]"
    texts = (",".join(v for v in row if v is not None) for row in rows)
    hashes = sorted(hashlib.md5(t.encode()).hexdigest()[:5] for t in texts)
    joined = ",".join(hashes).encode()[:_CONCAT_BYTES]
    return f"[('{hashlib.md5(joined).hexdigest()}',)]"


def _answers(text: str) -> tuple[str, ...]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return (text,)
    if isinstance(value, list | tuple | set):
        return tuple(str(each) for each in value)
    return (str(value),)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
