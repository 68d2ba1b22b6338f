"""What a candidate says in AgentBench's OS interaction.

The protocol is that of AgentBench 0.2; the prose is ours. As there, the last action of
a turn counts, and all its bash blocks are run together.
"""

import re
from dataclasses import dataclass

from lora_qd.records import Message

_INSTRUCTION = """\
You act like a person at a terminal; I play the operating system, Linux (Ubuntu). Do
what I ask for, or answer my question. In every turn think first, then take exactly one
of three actions: "bash", "finish" or "answer".

1. To execute bash code, write:

Think: your thought.

Act: bash

```bash
# your code
```

2. When the task is done, write:

Think: your thought.

Act: finish

3. When you know the answer to my question, write:

Think: your thought.

Act: answer(the answer, within these parentheses)

I cut an output that is too long; deal with that yourself. Your code must not wait for \
input. One action in every turn, never more.

My problem is:

"""
_EXAMPLE = (
    "How many directories are directly below /var?",
    "Think: I list what is below /var and count the directories.\n\nAct: bash\n\n"
    "```bash\nfind /var -mindepth 1 -maxdepth 1 -type d | wc -l\n```",
    "The output of the OS:\n\n11\n",
    "Think: The count is the answer.\n\nAct: answer(11)",
)
_NEXT = "Now a new problem, in a new OS. My problem is:\n\n"
_MOST_OUTPUT, _CUT_TO = 800, 780
_ACT = re.compile(r"Act:[ \t]*(.+)")
_BASH = re.compile(r"```bash[ \t]*\r?\n(.*?)\r?\n```", re.S)
_TERMINAL = re.compile(
    r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\][0-9]*;[^\x07]*\x07|\x07|\x1b[()][A-Z0-9]"
)


@dataclass(frozen=True, slots=True)
class Action:
    """One turn: code, the end with or without an answer, or neither."""

    code: str | None = None
    is_end: bool = False
    answer: str | None = None
    """None where the candidate only says that it is done."""


def opening_of(question: str) -> tuple[Message, ...]:
    """Return instructions, an example and the question."""
    example = [Message("user", _INSTRUCTION + _EXAMPLE[0])]
    roles = ("assistant", "user", "assistant")
    turns = zip(roles, _EXAMPLE[1:], strict=True)
    example += [Message(role, text) for role, text in turns]
    return (*example, Message("user", _NEXT + question))


def action_of(text: str) -> Action:
    """Return what a candidate wants to do; an empty `Action` if it is unclear."""
    for act in reversed(_ACT.findall(text)):
        word = act.strip().lower()
        if word.startswith("bash"):
            return Action(code="\n\n".join(_BASH.findall(text)))
        if word.startswith("finish"):
            return Action(is_end=True)
        if word.startswith("answer") and "(" in act and ")" in act:
            return Action(is_end=True, answer=_within(act))
    return Action()


def reply_of(output: str) -> str:
    """Return how the benchmark shows what the system printed."""
    shown = _TERMINAL.sub("", output)
    if len(shown) > _MOST_OUTPUT:
        shown = shown[:_CUT_TO] + "\n[truncated because the output is too long]"
    if not shown:
        return "The output of the OS is empty."
    return f"The output of the OS:\n\n{shown}"


def printed(reply: str) -> str:
    """Return what the system printed, from the benchmark's reply."""
    return reply.partition("\n\n")[2]


def _within(act: str) -> str:
    return act[act.index("(") + 1 : act.rindex(")")]
