"""How well evaluation feeds its engine.

Run: ``python benchmarks/evaluation.py`` for the tiny base on the processor, or
``python benchmarks/evaluation.py --model llama3-8b --random-weights --quantization nf4
--minutes 10`` on a GPU. All cases of a table share one server and one run, in turns;
the figures are medians. Without a GPU the large model is not measured.

Engines in this process, several nodes, and children that are left in the middle have
benchmarks of their own: ``in_process.py``, ``cluster.py`` and ``stopping.py``.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from random_llama import TOKENIZER, save_random_experts, save_random_llama
from sandbox import machine
from waiting import loop_against_naive

from lora_qd.engines import Engine
from lora_qd.evaluation import Evaluator
from lora_qd.factors import CoreSpace, weighted_sum
from lora_qd.records import Cores, Member, Message, Proposal, Request, Split
from lora_qd.runs.config import RunConfig, load_config, parse_config
from lora_qd.runs.engines import engine_settings, open_engines
from lora_qd.runs.experts import load_experts
from lora_qd.runs.loop import Budget, run_search
from lora_qd.runs.members import adapter_writer
from lora_qd.search import CycleQD
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.tiny import tiny_tasks

IN_FLIGHT = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """What all cases share."""

    config: RunConfig
    engines: Sequence[Engine]
    experts: dict[str, Cores]
    rng: np.random.Generator

    def members(self, num: int) -> list[Member]:
        """Return mixes of the experts that nobody has seen."""
        cores = list(self.experts.values())
        mixes = [
            weighted_sum(cores, list(self.rng.uniform(0.3, 0.9, len(cores))))
            for _ in range(num)
        ]
        return [Member(f"mix-{self.rng.integers(1 << 60)}", mix) for mix in mixes]

    @asynccontextmanager
    async def evaluator(self, in_flight: int, ahead: int) -> AsyncIterator[Evaluator]:
        """Yield an evaluator with a sandbox of its own, which remembers nothing yet."""
        async with Sandbox(
            self.config.sandbox_workers, num_remembered=100_000
        ) as sandbox:
            yield Evaluator(
                self.engines,
                tiny_tasks(sandbox),
                in_flight=in_flight,
                ahead=ahead,
                num_samples=self.config.samples.by_split(),
            )


async def candidates_per_minute(
    bench: Bench, in_flight: int, num: int
) -> tuple[float, float]:
    """Return candidates a minute, and the share of time without a request."""
    members = bench.members(num)
    async with bench.evaluator(in_flight, bench.config.engine.ahead) as evaluator:
        skills = bench.config.skills
        jobs = [evaluator.evaluate(m, Split.SEARCH, skills) for m in members]
        await asyncio.gather(*jobs)
        usage = evaluator.usage
    idle = 1 - usage.busy_s / (usage.seconds * usage.num_engines)
    return 60 * num / usage.seconds, idle


async def naive_per_minute(bench: Bench, num: int) -> float:
    """Return candidates a minute, one at a time: load, generate, score, unload."""
    members = bench.members(num)
    async with bench.evaluator(1, 0) as evaluator:
        start = time.perf_counter()
        for member in members:
            await evaluator.evaluate(member, Split.SEARCH, bench.config.skills)
        return 60 * num / (time.perf_counter() - start)


async def tokens_per_second(
    bench: Bench, members: Sequence[Member | None], num_requests: int
) -> float:
    """Return generated tokens a second of one engine, requests shared out evenly."""
    engine = bench.engines[0]
    requests = [
        Request((Message("user", f"Write {n} words on number {n}."),), 96)
        for n in range(num_requests // len(members))
    ]
    adapters = [member for member in members if member is not None]
    for member in adapters:
        await engine.add(member)
    start = time.perf_counter()
    answers = await asyncio.gather(*(engine.generate(m, requests) for m in members))
    seconds = time.perf_counter() - start
    for member in adapters:
        await engine.remove(member)
    return sum(c.num_tokens for batch in answers for c in batch) / seconds


async def swap_ms(bench: Bench) -> float:
    """Return the time from the written file to the first token, in milliseconds."""
    engine = bench.engines[0]
    [member] = bench.members(1)
    swap = await engine.add(member)
    start = time.perf_counter()
    await engine.generate(member, [Request((Message("user", "Hello"),), 1)])
    seconds = time.perf_counter() - start + swap.load_s
    await engine.remove(member)
    return 1000 * seconds


async def evolve(bench: Bench, minutes: float) -> tuple[int, float]:
    """Breed for so long; return the children scored and the engines' busy share."""
    config = bench.config
    settings = config.search.settings(config.merge_gains)
    searcher = CycleQD(bench.experts, settings, seed=1)
    deadline = time.monotonic() + 60 * minutes
    num = 0
    async with bench.evaluator(config.engine.max_loras, config.engine.ahead) as judge:

        async def evaluate(proposal: Proposal):  # noqa: ANN202
            return await judge.evaluate(proposal.member, Split.SEARCH, config.skills)

        def insert(proposal: Proposal, evaluation) -> None:  # noqa: ANN001
            nonlocal num
            searcher.tell(proposal, evaluation.scores)
            num += 1
            if time.monotonic() > deadline:
                raise TimeoutError

        budget = Budget(10**9, config.search.batch, config.search.lag)
        try:
            await run_search(searcher, evaluate, insert, budget)
        except TimeoutError:
            usage = judge.usage
    return num, usage.busy_s / (usage.seconds * usage.num_engines)


async def measure(bench: Bench, options: argparse.Namespace) -> None:
    """Print every table."""
    await candidates_per_minute(bench, 4, 4)  # not counted
    rates: dict[int, list[float]] = {n: [] for n in IN_FLIGHT}
    idles: dict[int, list[float]] = {n: [] for n in IN_FLIGHT}
    naive: list[float] = []
    for _ in range(options.repeats):
        naive.append(await naive_per_minute(bench, options.candidates))
        for n in IN_FLIGHT:
            rate, idle = await candidates_per_minute(bench, n, options.candidates)
            rates[n].append(rate)
            idles[n].append(idle)
    print(f"| naive | {shown(naive)} | |")
    for n in IN_FLIGHT:
        ratio = statistics.median(rates[n]) / statistics.median(naive)
        idle = statistics.median(idles[n])
        print(f"| {n} in flight | {shown(rates[n])} ({ratio:.2f}x) | {idle:.1%} idle |")
    base, mixed = [], []
    for _ in range(options.repeats):
        base.append(await tokens_per_second(bench, [None], options.requests))
        mixed.append(await tokens_per_second(bench, bench.members(8), options.requests))
    share = statistics.median(mixed) / statistics.median(base)
    print(f"base {shown(base)} tok/s, 8 adapters {shown(mixed)} tok/s: {share:.0%}")
    swaps = [await swap_ms(bench) for _ in range(options.swaps)]
    print(f"swap: {shown(swaps)} ms from written file to first token")
    if options.minutes:
        num, busy = await evolve(bench, options.minutes)
        print(f"evolve: {num} members in {options.minutes:g} minutes, busy {busy:.1%}")


def shown(values: Sequence[float]) -> str:
    """Return the median with its quartiles."""
    if len(values) < 2:
        return f"{values[0]:.1f}"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.1f} ({low:.1f}-{high:.1f})"


def tiny_config(options: argparse.Namespace) -> RunConfig:
    """Return the demo's config with the shipped experts."""
    overrides = ["experts_dir=adapters/tiny-experts", "engine.max_loras=8"]
    return load_config(
        Path("configs/tiny.yaml"),
        [*overrides, f"samples.search={options.samples}", *options.override],
    )


def llama_config(options: argparse.Namespace, root: Path) -> RunConfig:
    """Make a random Llama-3-8B with three experts; return a config for them."""
    base, experts = root / "llama3-8b-random", root / "experts"
    save_random_llama(base, num_layers=options.layers, num_tokens=options.vocabulary)
    save_random_experts(experts, base, num_layers=options.layers, rank=16)
    engine = {"max_loras": 8, "quantization": options.quantization}
    engine |= {"max_model_len": 1024, "max_num_seqs": 256}
    raw = {
        "base": str(base),
        "experts_dir": str(experts),
        "run": str(root / "run"),
        "skills": ["code", "database", "shell"],
        "search": {"children": 1, "batch": 16},
        "samples": {"search": options.samples},
        "engine": engine | {"max_num_batched_tokens": 8192},
    }
    return parse_config(raw, source="the benchmark")


async def main(options: argparse.Namespace, root: Path) -> None:
    """Print the machine, then the tables."""
    print(machine())
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name())
    if options.model == "tiny":
        config = tiny_config(options)
        for line in await loop_against_naive(config):
            print(line)
    elif not torch.cuda.is_available() and options.layers > 4:
        print("not measured: a Llama-3-8B needs a CUDA device, and there is none here")
        return
    else:
        config = llama_config(options, root)
    adapters = load_experts(config)
    space = CoreSpace.of([a.task_vector for a in adapters.values()])
    experts = {s: space.project(a.task_vector) for s, a in adapters.items()}
    settings, write = (
        engine_settings(config, space.bases),
        adapter_writer(space, config),
    )
    start = time.perf_counter()
    async with open_engines(config, settings, write, root / "vllm.log") as engines:
        print(f"server up in {time.perf_counter() - start:.0f} s")
        await measure(
            Bench(config, engines, experts, np.random.default_rng(1)), options
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="how well evaluation feeds its engine")
    parser.add_argument("--model", choices=("tiny", "llama3-8b"), default="tiny")
    parser.add_argument("--random-weights", action="store_true", required=False)
    parser.add_argument("--quantization", choices=("none", "nf4"), default="none")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--vocabulary", type=int, default=128_256)
    parser.add_argument("--samples", type=int, default=64, help="per skill")
    parser.add_argument("--candidates", type=int, default=16, help="of one repeat")
    parser.add_argument("--requests", type=int, default=256, help="of one throughput")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=0, help="of an evolve")
    parser.add_argument("override", nargs="*", help="config values, like a.b=1")
    chosen = parser.parse_args()
    if chosen.model != "tiny" and not chosen.random_weights:
        parser.error(f"say --random-weights: {chosen.model} is made, not downloaded")
    if not TOKENIZER.is_dir():
        parser.error("run it in the repository's root")
    with tempfile.TemporaryDirectory(prefix="loraqd-bench-") as directory:
        asyncio.run(main(chosen, Path(directory)))
