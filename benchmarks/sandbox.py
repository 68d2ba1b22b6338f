"""How many samples the sandbox scores per second, and what it costs over running bare.

Run: ``python benchmarks/sandbox.py [--workers 2] [--jobs 600] [--rounds 3]``. All kinds
take turns, sandboxed and bare, so that other load meets them alike; a line has the
median of the rounds and the quotient. Bare is the same work in a new process of this
machine for each sample, as benchmarks themselves run it. ``system`` needs root.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from lora_qd.errors import SandboxError
from lora_qd.tasks.agentbench import DatabaseSettings, DatabaseTask
from lora_qd.tasks.coding import CodingSettings, coding_task
from lora_qd.tasks.published import PublishedTask, replay
from lora_qd.tasks.sandbox import Job, Sandbox
from lora_qd.tasks.sandbox.systems import SystemsSettings, open_systems

PROBLEM = {
    "task_id": "Own/0",
    "prompt": 'def halves(xs):\n    """Return the half of each number."""\n',
    "entry_point": "halves",
    "canonical_solution": "    return [x / 2 for x in xs]\n",
    "test": "def check(candidate):\n    assert candidate([2, 4]) == [1, 2]\n"
    "    assert candidate([]) == []\n",
}
ROWS = [[f"pet {n}", ("cat", "dog")[n % 2]] for n in range(80)]
STATEMENT = "SELECT count(*) FROM pets WHERE kind = 'cat'"
PETS = {
    "description": "How many cats are there?",
    "add_description": "The table is pets.",
    "type": ["counting"],
    "label": ["40"],
    "table": {
        "table_name": "pets",
        "table_info": {
            "columns": [{"name": name, "type": "TEXT"} for name in ("name", "kind")],
            "rows": ROWS,
        },
    },
}
LOOK = f"Action: Operation\n```sql\n{STATEMENT}\n```"
SHELL = "sort b.txt | head -n 1; grep -c a d/a.txt"
FILES = {"b.txt": "b\na\n", "d/a.txt": "a\n"}
QUERY = (
    "import sqlite3; d = sqlite3.connect(':memory:'); "
    "d.execute('CREATE TABLE pets (name, kind)'); "
    "d.executemany('INSERT INTO pets VALUES (?, ?)', {rows}); "
    'print(d.execute("{query}").fetchall())'
)

Once = Callable[[], Awaitable[None]]
"""Scores one sample."""


class Cases:
    """One sample of each kind, in the sandbox and bare."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._sandbox = sandbox
        self._code = self._published("humaneval", PROBLEM, folder)
        self._sql = self._published("agentbench-db", PETS, folder)

    def _published(self, name: str, row: object, folder: Path) -> PublishedTask:
        path = folder / f"{name}.jsonl"
        path.write_text(json.dumps(row), encoding="utf-8")
        if name == "humaneval":
            settings = CodingSettings(path=(str(path),))
            return coding_task(name, settings, self._sandbox)
        return DatabaseTask(DatabaseSettings(path=(str(path),)), self._sandbox)

    async def code(self) -> None:
        """Score a solution by its tests, in two processes."""
        await _play(self._code, PROBLEM["canonical_solution"])

    async def code_bare(self) -> None:
        """Run the same tests in a new Python."""
        program = PROBLEM["prompt"] + PROBLEM["canonical_solution"] + PROBLEM["test"]
        await _bare(sys.executable, "-c", f"{program}\ncheck(halves)")

    async def sql(self) -> None:
        """Score a statement and an answer, with the table made anew."""
        await _play(self._sql, LOOK, 'Action: Answer\nFinal Answer: ["40"]')

    async def sql_bare(self) -> None:
        """Run the same statement in a new Python."""
        program = QUERY.format(rows=ROWS, query=STATEMENT)
        await _bare(sys.executable, "-c", program)

    async def shell(self) -> None:
        """Run a script on a small tree of files."""
        job = Job("bash", SHELL, files=FILES, collect_tree=True)
        outcome = await self._sandbox.run(job)
        if not outcome.is_ok:
            raise SystemExit(outcome.reason)

    async def shell_bare(self) -> None:
        """Run the same script in a new bash."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in FILES.items():
                path = Path(folder, name)
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
            await _bare("bash", "-c", f"cd {folder}; {SHELL}")


async def _play(task: PublishedTask, *turns: str) -> None:
    (sample,) = task.all_samples
    score = await replay(task, sample, turns)
    if score.value != 1:
        raise SystemExit(f"a right answer failed: {score.reason}")


async def _bare(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE
    )
    await process.communicate()
    if process.returncode:
        raise SystemExit(f"{words[0]} ended with {process.returncode}")


@asynccontextmanager
async def system_case(num_workers: int) -> AsyncIterator[Once | None]:
    """Yield a sample of two commands in a fresh system; None without root."""
    try:
        async with open_systems(SystemsSettings(workers=num_workers)) as systems:

            async def once() -> None:
                async with systems.open() as system:
                    await system.type("cd /etc; ls | wc -l")
                    await system.type("touch /root/x")
                    await system.tampered()

            yield once
    except SandboxError as error:
        print(f"system: not measured: {error}")
        yield None


async def rate_of(once: Once, num_at_once: int, num_jobs: int) -> float:
    """Return samples per second."""
    places = asyncio.Semaphore(num_at_once)

    async def one() -> None:
        async with places:
            await once()

    await asyncio.gather(*(one() for _ in range(2 * num_at_once)))  # warm
    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(num_jobs)))
    return num_jobs / (time.perf_counter() - start)


async def measure(num_workers: int, num_jobs: int, num_rounds: int) -> None:
    """Print one line per kind of sample."""
    with tempfile.TemporaryDirectory() as folder:
        # Nothing is remembered: every sample is executed.
        async with Sandbox(num_workers) as sandbox, system_case(num_workers) as system:
            cases = Cases(sandbox, Path(folder))
            kinds: dict[str, tuple[Once, Once | None, int]] = {
                "code": (cases.code, cases.code_bare, num_jobs),
                "sql": (cases.sql, cases.sql_bare, num_jobs),
                "shell": (cases.shell, cases.shell_bare, num_jobs),
            }
            if system:
                kinds["system"] = (system, None, num_jobs // 10)
            rates: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
            for _ in range(num_rounds):
                for name, (once, bare, count) in kinds.items():
                    # Two for each worker, so that none waits for its next one.
                    safe = await rate_of(once, 2 * num_workers, count)
                    plain = await rate_of(bare, num_workers, count) if bare else 0.0
                    rates[name].append((safe, plain))
    for name, pairs in rates.items():
        _show(name, pairs)


def _show(name: str, pairs: list[tuple[float, float]]) -> None:
    safe = [pair[0] for pair in pairs]
    line = f"{name:7} {statistics.median(safe):6.0f} a second ({min(safe):.0f} to "
    line += f"{max(safe):.0f})"
    if pairs[0][1]:
        plain = statistics.median(pair[1] for pair in pairs)
        quotient = statistics.median(safe / bare for safe, bare in pairs)
        line += f", bare {plain:.0f}: {quotient:.2f} times as many in the sandbox"
    print(line)


def machine() -> str:
    """Return the processor, the kernel and how busy the machine is."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    name = names[0] if names else platform.machine()
    return (
        f"{os.cpu_count()} x {name}, Linux {platform.release()}, "
        f"load {os.getloadavg()[0]:.1f} at the start"
    )


def main() -> None:
    """Print one line per kind of sample."""
    parser = argparse.ArgumentParser(description="samples per second of the sandbox")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    asyncio.run(measure(options.workers, options.jobs, options.rounds))


if __name__ == "__main__":
    main()
