"""The skill ``shell``: an instruction about a directory tree -> one bash command.

The command runs in the sandbox on the tree shown and on a hidden one; what it should
print and leave stays on this side, so an answer can neither read nor forge it.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from lora_qd.records import Generate, Sample, Score, Split
from lora_qd.tasks.sandbox import Job, Sandbox
from lora_qd.tasks.task import single_turn
from lora_qd.tasks.tiny.shell_templates import TEMPLATES, bare_line
from lora_qd.tasks.tiny.template import GeneratedSamples

__all__ = ["ShellTask", "bare_line"]

NAME = "shell"
_MAX_TOKENS = 32


class ShellTask:
    """Bash commands on a small directory tree."""

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
        """Ask the candidate for the command and run it in the sandbox.

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
        for case in sample.checks["cases"]:
            fault = await self._fault_in(answer, case)
            if fault:
                return fault
        return ""

    async def _fault_in(self, answer: str, case: Mapping[str, Any]) -> str:
        job = Job("bash", answer, files=case["files"], collect_tree=True)
        outcome = await self._sandbox.run(job)
        if not outcome.is_ok:
            return outcome.reason or "the command failed"
        if outcome.output != case["output"]:
            return f"printed {outcome.output!r} instead of {case['output']!r}"[:200]
        if dict(outcome.files) != case["after"]:
            return "the tree is not as it should be afterwards"
        return ""
