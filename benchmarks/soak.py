"""Thousands of candidates on one server: does anything grow, does anything stay?

Run: ``python benchmarks/soak.py [--candidates 2000]``. Prints the memory of driver and
server over the candidates, its slope by a straight line, and what is left at the end.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from sandbox import machine

from lora_qd.evaluation import Evaluator
from lora_qd.factors import CoreSpace, weighted_sum
from lora_qd.records import Member, Split
from lora_qd.runs.config import load_config
from lora_qd.runs.engines import engine_settings, open_engines
from lora_qd.runs.experts import load_experts
from lora_qd.runs.members import adapter_writer
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.tiny import tiny_tasks


def memory_mib(pids: set[int]) -> float:
    """Return the proportional memory of processes, shared pages shared out."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        lines = [line.split() for line in text.splitlines()]
        total += sum(int(words[1]) for words in lines if words[0] == "Pss:")
    return total / 1024


def below(pid: int) -> set[int]:
    """Return the processes that descend from ``pid``."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for path in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            try:
                children = {int(child) for child in path.read_text().split()}
            except OSError:
                continue
            waiting += children - found
            found |= children
    return found


def open_files() -> int:
    """Return the number of our open file descriptors, sockets among them."""
    return len(os.listdir("/proc/self/fd"))


def slope(rows: list[tuple[int, float, float]], column: int) -> float:
    """Return MiB per 1,000 candidates by least squares, the first quarter left out."""
    settled = np.array(rows[len(rows) // 4 :])
    return float(np.polyfit(settled[:, 0], settled[:, column], 1)[0] * 1000)


async def soak(options: argparse.Namespace, directory: Path) -> None:
    """Score candidates, a line every so many of them."""
    config = load_config(
        Path("configs/tiny.yaml"),
        ["experts_dir=adapters/tiny-experts", *options.override],
    )
    adapters = load_experts(config)
    space = CoreSpace.of([a.task_vector for a in adapters.values()])
    experts = [space.project(a.task_vector) for a in adapters.values()]
    rng = np.random.default_rng(1)
    rows: list[tuple[int, float, float]] = []
    before, directories = open_files(), set(temporary())
    settings, write = (
        engine_settings(config, space.bases),
        adapter_writer(space, config),
    )
    async with (
        Sandbox(config.sandbox_workers, num_remembered=100_000) as sandbox,
        open_engines(config, settings, write, directory / "vllm.log") as [engine],
    ):
        evaluator = Evaluator(
            [engine],
            tiny_tasks(sandbox),
            in_flight=config.engine.max_loras,
            ahead=config.engine.ahead,
            num_samples={Split.SEARCH: options.samples},
        )
        start = time.perf_counter()
        for first in range(0, options.candidates, options.every):
            mixes = [
                weighted_sum(experts, list(rng.uniform(0.3, 0.9, len(experts))))
                for _ in range(options.every)
            ]
            members = [Member(f"m{first + n}", mix) for n, mix in enumerate(mixes)]
            jobs = [evaluator.evaluate(m, Split.SEARCH, config.skills) for m in members]
            await asyncio.gather(*jobs)
            driver = os.getpid()
            memory = memory_mib({driver}), memory_mib(below(driver))
            rows.append((first + options.every, *memory))
            print("{:>6}  driver {:7.1f} MiB  servers {:7.1f} MiB".format(*rows[-1]))
        minutes = (time.perf_counter() - start) / 60
        restarts = engine.num_restarts
    await asyncio.sleep(0.5)  # what was closed is gone a turn of the loop later
    print(
        f"{options.candidates} candidates in {minutes:.1f} minutes, {restarts} "
        f"restarts; MiB per 1,000 candidates: driver {slope(rows, 1):+.2f}, server and "
        f"sandbox {slope(rows, 2):+.2f}"
    )
    print(
        f"left: {len(below(os.getpid()))} processes, {open_files() - before} files or "
        f"sockets of ours open, {len(set(temporary()) - directories)} directories"
    )


def temporary() -> list[Path]:
    """Return the directories of adapters and sockets, whosever they are."""
    return [p for root in ("/dev/shm", "/tmp") for p in Path(root).glob("loraqd-*")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="does anything grow or stay?")
    parser.add_argument("--candidates", type=int, default=2000)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--samples", type=int, default=2, help="per skill")
    parser.add_argument("override", nargs="*", help="config values, like a.b=1")
    chosen = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="loraqd-bench-") as scratch:
        asyncio.run(soak(chosen, Path(scratch)))
