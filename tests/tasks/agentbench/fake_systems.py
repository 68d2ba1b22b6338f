"""Systems that answer from tables, and a task on entries written by the test."""

import asyncio
import json
from contextlib import asynccontextmanager

from lora_qd.errors import SandboxError
from lora_qd.tasks.agentbench import SystemSkillSettings, SystemTask
from lora_qd.tasks.published import replay
from lora_qd.tasks.sandbox.job import Outcome

EXAMPLE = "ls /srv | wc -l"
INIT = "touch /srv/a"


def outcome(output="", *, reason="", limit=""):
    return Outcome(not reason, output, reason, {}, limit)


class FakeSystems:
    """Systems, `num_systems` at once; what no table holds is an error."""

    def __init__(self, *, ran=(), typed=(), tampered="", faults=(), num_systems=1):
        self.ran = {INIT: ""} | dict(ran)
        """By code: output, an Outcome, or what makes one from the system's number."""
        self.typed = {EXAMPLE: "7\n", "ls": "a", "true": ""} | dict(typed)
        self.tampered = tampered
        self.faults = list(faults)
        """What the next systems raise when they are opened."""
        self.changing = set()
        """Texts that leave files behind."""
        self.log = []
        self.num_opened = 0
        self.num_systems = num_systems

    @asynccontextmanager
    async def open(self, image="default"):
        if self.faults:
            raise self.faults.pop(0)
        self.num_opened += 1
        self.log.append(("open", image))
        async with asyncio.timeout(5), self._places:
            yield _FakeSystem(self, self.num_opened)

    @property
    def _places(self):
        if not hasattr(self, "_semaphore"):
            self._semaphore = asyncio.Semaphore(self.num_systems)
        return self._semaphore


class _FakeSystem:
    def __init__(self, systems, number):
        self.systems = systems
        self.number = number
        self.num_changes = 0

    async def run(self, script, arguments=()):
        if "find / " in script.code:
            return outcome(str(self.num_changes))
        self.systems.log.append(("run", script.code, *arguments))
        return await self._outcome(self.systems.ran, script.code)

    async def type(self, text):
        code = text.removeprefix("{\n").partition("\n} 2>/dev/null")[0]
        self.systems.log.append(("type", code))
        return await self._outcome(self.systems.typed, code)

    async def tampered(self):
        return self.systems.tampered

    async def _outcome(self, table, code):
        await asyncio.sleep(0)
        self.num_changes += code in self.systems.changing
        result = table[code]
        result = result(self.number) if callable(result) else result
        return outcome(result) if isinstance(result, str) else result


def entry(**fields):
    """Return an entry in the published format; by default one about a number."""
    check = [None, {"language": "python", "file": "check/integer-match.py"}]
    return {
        "description": "How many files are in /srv?",
        "create": {"local": "default", "init": {"code": INIT}},
        "evaluation": {"check": check, "example": {"code": EXAMPLE}},
        "labels": ["file"],
        **fields,
    }


def task_of(directory, entries, systems=None, **settings):
    path = directory / "problems.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return SystemTask(
        SystemSkillSettings(path=(str(path),), **settings), systems or FakeSystems()
    )


def score_of(task, *answers, sample=None):
    """Return the score of a candidate that says ``answers``."""
    return asyncio.run(replay(task, sample or task.all_samples[0], answers))


def broken(reason="it died"):
    return SandboxError(f"expected a system, but {reason}; check the kernel's log")
