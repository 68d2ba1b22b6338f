"""Many members in one in-process batch, against one after the other.

Run: ``python benchmarks/in_process.py``; ten minutes. The shipped tiny base in float32
and mixes of its experts, 32 new tokens at most. Every case is run in turns, three
times; figures are medians, and all texts are compared: with those in sequence, and in
one case with PEFT's, one adapter and one request at a time.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sandbox import machine

from lora_qd.engines import Engine, LocalSettings, PeftEngine, TransformersEngine
from lora_qd.factors import CoreSpace, weighted_sum
from lora_qd.records import Member, Message, Request
from lora_qd.runs.config import RunConfig, load_config
from lora_qd.runs.experts import load_experts
from lora_qd.runs.members import adapter_writer

CANDIDATES = (2, 4, 8, 16)
SAMPLES = (1, 4, 16, 64)
ROWS = (8, 16, 32, 64, 128, 256)
REPEATS = 3
Texts = list[list[str]]


def questions(num: int) -> list[Request]:
    """Return requests of several lengths."""
    words = "Say it in other words. "
    return [
        Request((Message("user", words * (n % 5) + f"Count to {n}."),), 32)
        for n in range(num)
    ]


async def together(
    engine: Engine, members: Sequence[Member], num: int
) -> tuple[float, Texts]:
    """Return the seconds that all members take at once, and their texts."""
    start = time.perf_counter()
    answers = await asyncio.gather(
        *(engine.generate(member, questions(num)) for member in members)
    )
    seconds = time.perf_counter() - start
    return seconds, [[answer.text for answer in own] for own in answers]


async def in_turn(
    engine: Engine, members: Sequence[Member], num: int
) -> tuple[float, Texts]:
    """Return the same where each member waits for the one before it."""
    seconds, texts = 0.0, []
    for member in members:
        own_seconds, own = await together(engine, [member], num)
        seconds, texts = seconds + own_seconds, texts + own
    return seconds, texts


class Bench:
    """The base, its experts, and mixes of them."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        adapters = load_experts(config)
        self.space = CoreSpace.of([a.task_vector for a in adapters.values()])
        experts = [self.space.project(a.task_vector) for a in adapters.values()]
        rng = np.random.default_rng(1)
        self.members = [
            Member(
                f"mix-{n}",
                weighted_sum(experts, list(rng.uniform(0.3, 0.9, len(experts)))),
            )
            for n in range(max(CANDIDATES))
        ]

    def engine(self, max_rows: int) -> TransformersEngine:
        """Return an engine that decodes so many sequences at once."""
        settings = LocalSettings(
            model=self.config.base,
            rank=self.config.engine.serve_rank,
            dtype="float32",
            max_rows=max_rows,
        )
        return TransformersEngine(settings, self.space)

    async def curve(self) -> None:
        """Print the ratio by candidates and samples."""
        print("| candidates | " + " | ".join(f"{n} samples" for n in SAMPLES) + " |")
        print("|---|" + "---|" * len(SAMPLES))
        async with self.engine(max(CANDIDATES) * max(SAMPLES)) as engine:
            for member in self.members:
                await engine.add(member)
            await together(engine, self.members, 4)  # not counted
            for num in CANDIDATES:
                cells = [await self._cell(engine, num, samples) for samples in SAMPLES]
                print(f"| {num} | " + " | ".join(cells) + " |", flush=True)

    async def _cell(self, engine: Engine, num: int, samples: int) -> str:
        members, ratios, seconds = self.members[:num], [], []
        for _ in range(REPEATS):
            batched, texts = await together(engine, members, samples)
            alone, same = await in_turn(engine, members, samples)
            if texts != same:
                raise SystemExit("a batch changed what somebody wrote")
            ratios.append(alone / batched)
            seconds.append(batched)
        return f"{statistics.median(ratios):.1f}x ({statistics.median(seconds):.2f} s)"

    async def rows(self) -> None:
        """Print what the largest case takes by the most rows at once."""
        for max_rows in ROWS:
            async with self.engine(max_rows) as engine:
                for member in self.members:
                    await engine.add(member)
                await together(engine, self.members, 1)  # not counted
                found = [
                    (await together(engine, self.members, max(SAMPLES)))[0]
                    for _ in range(REPEATS)
                ]
                print(f"{max_rows} rows: {statistics.median(found):.2f} s", flush=True)

    async def peer(self) -> None:
        """Print the ratio to PEFT, one request at a time, with the same texts."""
        num, samples = 4, 16
        peft = PeftEngine(
            self.config.base, adapter_writer(self.space, self.config), dtype="float32"
        )
        async with peft, self.engine(256) as engine:
            for member in self.members[:num]:
                await peft.add(member)
                await engine.add(member)
            ratios = []
            for _ in range(REPEATS):
                ours, texts = await together(engine, self.members[:num], samples)
                theirs, same = await in_turn(peft, self.members[:num], samples)
                ratios.append(theirs / ours)
        equal = sum(
            a == b
            for x, y in zip(texts, same, strict=True)
            for a, b in zip(x, y, strict=True)
        )
        print(
            f"{num} candidates, {samples} samples, against PEFT one by one: "
            f"{statistics.median(ratios):.1f}x, {equal} of {num * samples} texts equal"
        )


async def main(overrides: Sequence[str]) -> None:
    """Print the machine, then the tables."""
    print(machine())
    fixed = ["experts_dir=adapters/tiny-experts", "engine.dtype=float32"]
    bench = Bench(load_config(Path("configs/tiny.yaml"), [*fixed, *overrides]))
    await bench.peer()
    await bench.curve()
    await bench.rows()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="many members in one batch")
    parser.add_argument("override", nargs="*", help="config values, like a.b=1")
    asyncio.run(main(parser.parse_args().override))
