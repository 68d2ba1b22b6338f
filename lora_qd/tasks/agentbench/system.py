"""The skill ``agentbench-os``: a problem in a Linux system -> bash, in several rounds.

Checks that are known by name compare on this side. What the answer should be is found
before a candidate acts: in its own system where the benchmark's solution leaves no
trace, else in a twin, a second fresh system. Other checks run in the candidate's,
unless it changed what they are run with.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_qd.errors import InputError, SandboxError
from lora_qd.records import Generate, Message, Sample, Score, Split
from lora_qd.tasks.agentbench.system_checks import MOST_CHARACTERS, holds
from lora_qd.tasks.agentbench.system_protocol import (
    Action,
    action_of,
    opening_of,
    printed,
    reply_of,
)
from lora_qd.tasks.agentbench.system_rows import NoScriptError, system_sample
from lora_qd.tasks.agentbench.system_settings import SystemSkillSettings
from lora_qd.tasks.published.conversation import Conversation, Verdict
from lora_qd.tasks.published.samples import PublishedSamples
from lora_qd.tasks.published.source import read_source
from lora_qd.tasks.published.task import Turn
from lora_qd.tasks.sandbox.job import Outcome
from lora_qd.tasks.sandbox.system import Script, System, Systems

NAME = "agentbench-os"
_ALL_FILES = (
    "set -o pipefail; find / \\( -path /proc -o -path /sys -o -path /dev \\) -prune "
    "-o -type d -printf '%p %m %U\\n' -o -printf '%p %l %s %m %U %T@\\n' | sort | cksum"
)


class SystemTask:
    """Problems in throw-away systems."""

    name = NAME

    def __init__(self, settings: SystemSkillSettings, systems: Systems) -> None:
        """Read the samples that ``settings`` name.

        Raises:
            InputError: an entry is wrong, or a script's file is not there.
        """
        self._settings = settings
        self._systems = systems
        source = read_source(settings)
        self.sha256 = source.sha256
        scripts = Path(settings.scripts) if settings.scripts else None
        samples: dict[str, Sample] = {}
        left_out: dict[str, str] = {}
        for row in source.rows:
            try:
                samples[row.where] = system_sample(row, NAME, scripts)
            except NoScriptError as error:
                left_out[row.where] = f"needs the script {error}: set scripts"
        PublishedSamples(samples, settings.shares)  # refuses ids that occur twice
        _require_known(settings.leave_out, samples)
        for place in [p for p, s in samples.items() if s.id in settings.leave_out]:
            left_out[place] = "the config leaves it out"
            del samples[place]
        self.left_out: Mapping[str, str] = left_out
        self._samples = PublishedSamples(samples, settings.shares)
        self._solutions: dict[str, asyncio.Task[_Solution]] = {}

    @property
    def all_samples(self) -> Sequence[Sample]:
        """All samples that can be had here, of all splits."""
        return self._samples.all

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the samples of ``split``, always the same, in a fixed order."""
        return self._samples.samples(split)

    def opening(self, sample: Sample) -> Sequence[Message]:
        """Return what a candidate is asked first."""
        return opening_of(sample.prompt)

    def gold(self, sample: Sample) -> Sequence[Turn]:
        """Return the benchmark's own answer, or its solution and what it prints.

        Empty where the benchmark has neither.
        """
        checks = sample.checks
        match = checks["match"]
        if match and "answer" in match:
            return (f"Act: answer({match['answer']})",)
        if match or not checks["example"]:
            return ()
        code = f"{{\n{sample.target}\n}} 2>/dev/null"
        solution = f"Act: bash\n\n```bash\n{code}\n```"
        return (solution, lambda reply: f"Act: answer({_one_line(printed(reply))})")

    async def run(self, sample: Sample, generate: Generate) -> Score:
        """Let the candidate work in a system of its own, and judge it.

        A system that ends while a candidate has it is replaced once; the second time
        the candidate is to blame.

        Raises:
            SandboxError: no system can be had, or a sample's own preparation fails.
        """
        try:
            return await self._play(sample, generate)
        except SandboxError:
            return await self._play(sample, generate, is_last=True)

    async def _play(
        self, sample: Sample, generate: Generate, *, is_last: bool = False
    ) -> Score:
        talk = Conversation(
            self.opening(sample), generate, max_tokens=self._settings.max_tokens
        )
        # Found before this sample takes a place among the systems: a twin needs one.
        solution = await self._solution(sample)
        async with self._systems.open(sample.checks["image"]) as system:
            await _prepare(sample, system)
            expected = solution.output
            if solution.is_harmless:  # what prepares it may draw numbers at random
                expected = await _solve(sample, system)
            try:
                action, reason = await self._converse(talk, system)
                if reason:
                    return talk.score(Verdict(0.0, reason))
                verdict = await _judge(sample, action.answer, expected, system)
            except SandboxError:
                if not is_last:
                    raise
                verdict = Verdict(0.0, "the answer's system ended, twice in a row")
            return talk.score(verdict)

    async def _converse(self, talk: Conversation, system: System) -> tuple[Action, str]:
        """Return the action that ends the talk, or why there is none."""
        reply = None
        for _ in range(self._settings.rounds):
            text = await talk.ask(reply)
            if text is None:
                return Action(), "the conversation outgrew the context"
            action = action_of(text)
            if action.is_end:
                return action, ""
            if action.code is None:
                return Action(), "no 'Act: bash', 'Act: finish' or 'Act: answer(...)'"
            reply = reply_of((await system.type(action.code)).output)
        return Action(), f"not finished after {self._settings.rounds} rounds"

    async def _solution(self, sample: Sample) -> "_Solution":
        """Return what the benchmark's solution does in a twin; found once."""
        if not sample.checks["check"] or ["example", ""] not in sample.checks["check"]:
            return _Solution("", is_harmless=False)
        if sample.id not in self._solutions:
            finding = asyncio.create_task(self._in_twin(sample))
            self._solutions[sample.id] = finding
        try:
            return await asyncio.shield(self._solutions[sample.id])
        except SandboxError:
            self._solutions.pop(sample.id, None)
            raise

    async def _in_twin(self, sample: Sample) -> "_Solution":
        async with self._systems.open(sample.checks["image"]) as twin:
            await _prepare(sample, twin)
            before = await _all_files(sample, twin)
            output = await _solve(sample, twin)
            after = await _all_files(sample, twin)
            return _Solution(output, is_harmless=before == after)


@dataclass(frozen=True, slots=True)
class _Solution:
    output: str
    is_harmless: bool
    """Whether it leaves all files as they were: then it may run before a candidate."""


async def _judge(
    sample: Sample, answer: str | None, expected: str, system: System
) -> Verdict:
    match, checks = sample.checks["match"], sample.checks["check"] or ()
    needs_answer = match or any(kind == "named" for kind, _ in checks)
    if needs_answer and not (answer and answer.strip()):
        return Verdict(0.0, "finished without an answer")
    answer = str(answer)[:MOST_CHARACTERS]  # the benchmark's is "None" for none
    if match:
        return _verdict(_matches(match, answer), answer)
    arguments = [answer]
    for kind, code in checks:
        if kind == "named":
            if not holds(code, arguments[0], arguments[-1]):
                return _verdict(False, f"{answer} instead of {arguments[-1]}")
            arguments.append("")
            continue
        if kind == "example":
            arguments.append(expected)
            continue
        fault = await system.tampered()
        if fault:
            return Verdict(0.0, fault)
        outcome = await system.run(_script([kind, code]), arguments)
        if not outcome.is_ok:
            return Verdict(0.0, f"a check fails: {outcome.reason}")
        arguments.append(outcome.output)
    return Verdict(1.0)


async def _prepare(sample: Sample, system: System) -> None:
    start = sample.checks["start"]
    for each in (*sample.checks["init"], *([start] if start else [])):
        outcome = await system.run(_script(each))
        if outcome.limit:  # some of the benchmark's scripts fail, to no harm
            _require(outcome, sample, "the script that prepares it")
    await system.type("true")  # the shell is there before anyone looks around


async def _solve(sample: Sample, system: System) -> str:
    """Return what the solution prints where a candidate would try it."""
    language, code = sample.checks["example"]
    if language == "bash":  # `exit`: no variable of it is left for the candidate
        outcome = await system.type(f"{{\n{code}\n}} 2>/dev/null; exit")
    else:
        outcome = await system.run(_script([language, code]))
    if not outcome.output:
        _require(outcome, sample, "the benchmark's own solution")
    return outcome.output


async def _all_files(sample: Sample, system: System) -> str:
    """Return a number that changes with every file."""
    outcome = await system.run(Script("bash", _ALL_FILES))
    _require(outcome, sample, "find, sort and cksum")
    return outcome.output


def _require(outcome: Outcome, sample: Sample, what: str) -> None:
    if not outcome.is_ok:
        raise SandboxError(
            f"expected {what} to work for the sample {sample.id} of {NAME}, but got: "
            f"{outcome.reason}; repair it, or name the sample in leave_out"
        )


def _require_known(names: Sequence[str], samples: Mapping[str, Sample]) -> None:
    unknown = sorted({*names} - {sample.id for sample in samples.values()})
    if unknown:
        raise InputError(
            f"expected ids of samples in benchmarks.{NAME}.leave_out, but got "
            f"{', '.join(unknown)}; loraqd skills check shows them"
        )


def _script(script: Sequence[Any]) -> Script:
    return Script(*script)


def _matches(match: Mapping[str, Any], answer: str) -> bool:
    text = answer.strip() if match["strip"] else answer
    if "answer" in match:
        return bool(text == match["answer"])
    return re.search(match["regex"], text) is not None


def _verdict(is_right: bool, fact: str) -> Verdict:
    return Verdict(1.0) if is_right else Verdict(0.0, f"answered {_one_line(fact)}")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:150]
