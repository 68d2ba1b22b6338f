"""How many small jobs the sandbox runs per second.

Run: ``python benchmarks/sandbox.py [--workers 2] [--jobs 600]``. One figure per kind of
job, and the machine; a busy machine lowers it.
"""

import argparse
import asyncio
import os
import platform
import time
from pathlib import Path

from lora_qd.tasks.sandbox import Job, Sandbox

DATABASE = """
import json, sqlite3
database = sqlite3.connect(":memory:")
database.execute("CREATE TABLE pets (name, kind, age)")
database.executemany("INSERT INTO pets VALUES (?, ?, ?)", [("a", "cat", 3)] * 6)
print(json.dumps(database.execute("SELECT sum(age) FROM pets").fetchall()))
"""
JOBS = {
    "code": Job("python", "def f(x):\n    return sorted(x)\nprint(f([3, 1, 2]))"),
    "database": Job("python", DATABASE),
    "shell": Job(
        "bash",
        "sort b.txt | head -n 1; grep -c a d/a.txt",
        files={"b.txt": "b\na\n", "d/a.txt": "a\n"},
        collect_tree=True,
    ),
}


async def rate_of(job: Job, num_workers: int, num_jobs: int) -> float:
    """Return jobs per second in ``num_workers`` warm workers."""
    async with Sandbox(num_workers) as sandbox:
        await asyncio.gather(*(sandbox.run(job) for _ in range(2 * num_workers)))
        start = time.perf_counter()
        outcomes = await asyncio.gather(*(sandbox.run(job) for _ in range(num_jobs)))
        seconds = time.perf_counter() - start
    failed = [outcome.reason for outcome in outcomes if not outcome.is_ok]
    if failed:
        raise SystemExit(f"{len(failed)} jobs failed, the first because: {failed[0]}")
    return num_jobs / seconds


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
    """Print one line per kind of job."""
    parser = argparse.ArgumentParser(description="jobs per second of the sandbox")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=600)
    options = parser.parse_args()
    print(machine())
    for name, job in JOBS.items():
        rate = asyncio.run(rate_of(job, options.workers, options.jobs))
        print(f"{name:10} {rate:6.0f} jobs a second, {options.workers} workers")


if __name__ == "__main__":
    main()
