"""The skill ``code``: an instruction -> a Python function f, scored by calling it.

The calls run in the sandbox; what they should return stays on this side, so an answer
can neither read nor forge it.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

from lora_qd.records import Generate, Sample, Score, Split
from lora_qd.tasks.sandbox import Job, Outcome, Sandbox
from lora_qd.tasks.task import single_turn
from lora_qd.tasks.tiny.code_templates import TEMPLATES, bare_line
from lora_qd.tasks.tiny.template import GeneratedSamples

__all__ = ["CodeTask", "bare_line"]

NAME = "code"
_MAX_TOKENS = 48

_SOURCE = """\
import json
space = {{}}
try:
    exec(compile({answer!r}, "answer", "exec"), space)
    outputs = [space["f"](value) for value in json.loads({inputs!r})]
except SystemExit:
    raise RuntimeError("the answer exits") from None
print()
print(json.dumps(outputs))
"""


class CodeTask:
    """Python functions of one line."""

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
        """Ask the candidate for the function and call it in the sandbox.

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
        inputs = sample.checks["inputs"]
        source = _SOURCE.format(answer=answer, inputs=json.dumps(inputs))
        outcome = await self._sandbox.run(Job(program="python", source=source))
        if not outcome.is_ok:
            return outcome.reason or "the answer failed"
        return _difference(outcome, inputs, sample.checks["outputs"])


def _difference(outcome: Outcome, inputs: list[Any], expected: list[Any]) -> str:
    lines = outcome.output.splitlines()
    try:
        outputs = json.loads(lines[-1]) if lines else None
    except ValueError:
        outputs = None
    if not isinstance(outputs, list) or len(outputs) != len(inputs):
        return "the function's results cannot be read"
    for value, wanted, output in zip(inputs, expected, outputs, strict=True):
        if json.dumps(output) != json.dumps(wanted):  # 1, 1.0 and true differ
            return f"f({value!r}) returned {output!r} instead of {wanted!r}"[:200]
    return ""
