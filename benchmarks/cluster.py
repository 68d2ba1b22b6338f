"""What a Ray cluster brings: two nodes against one, and what a child costs the driver.

Run: ``python benchmarks/cluster.py``; two minutes. Both nodes are on this machine, with
engines that wait as for a GPU, so that only what Ray and the driver cost is measured.
Members have cores of Llama-3-8B's shapes, 2 MB, and are asked 384 samples.
"""

import asyncio
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from ledger import made_up, outcomes_of
from sandbox import machine
from shapes import module_shapes, random_expert

sys.path.insert(0, str(Path(__file__).parents[1]))  # the machines of the tests
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # and of the nodes

from lora_qd.engines import FakeEngine
from lora_qd.engines.ray_cluster import RayCluster
from lora_qd.engines.ray_engine import RayEngine
from lora_qd.evaluation import Evaluator
from lora_qd.factors import CoreSpace
from lora_qd.factors.cores import scaled
from lora_qd.records import (
    Completion,
    Cores,
    Member,
    Message,
    Request,
    Sample,
    Score,
    Scored,
    Split,
    StageSeconds,
)
from lora_qd.runs.search_config import SearchConfig
from lora_qd.search import CycleQD
from lora_qd.store.genomes import save_genome
from lora_qd.store.ledger import Ledger
from lora_qd.store.run_directory import RunDirectory
from tests.ray_machines import ray_machines

GENERATE_S = 1.0
SAMPLES = 384
NUM_CANDIDATES = 12
NUM_LAYERS = 32


class WaitingEngine(FakeEngine):
    """Answers late, and all that is asked meanwhile together, as a GPU does."""

    def __init__(self) -> None:
        super().__init__({})
        self._round: asyncio.Task[None] | None = None

    async def generate(
        self,
        member: Member | None,  # noqa: ARG002
        requests: Sequence[Request],
    ) -> list[Completion]:
        """Wait for the end of the round."""
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(asyncio.sleep(GENERATE_S))
        await asyncio.shield(self._round)
        return [Completion("yes", 40, 20, is_complete=True) for _ in requests]


class OpenWaiting:
    """Opens such an engine on a node."""

    @asynccontextmanager
    async def __call__(self, space: CoreSpace):  # noqa: ANN204, ARG002
        """Yield the engine."""
        yield WaitingEngine()


class ManySamples:
    """A task of one turn whose answers are all right."""

    name = "task"

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the samples."""
        return [Sample(f"{split}-{n}", "?", "yes") for n in range(SAMPLES)]

    async def run(self, sample: Sample, generate) -> Score:  # noqa: ANN001
        """Ask once."""
        await generate([Request((Message("user", sample.prompt),), 128)])
        return Score(1.0, num_prompt_tokens=40, num_tokens=20)


async def rate(engines: Sequence[RayEngine], cores: Cores) -> tuple[float, float]:
    """Return candidates a second, and the driver's seconds for each."""
    evaluator = Evaluator(engines, {"task": ManySamples()}, in_flight=1, ahead=1)
    members = [Member(f"m{n}", cores) for n in range(NUM_CANDIDATES)]
    start, busy = time.perf_counter(), time.process_time()
    jobs = [evaluator.evaluate(m, Split.SEARCH, ["task"]) for m in members]
    await asyncio.gather(*jobs)
    seconds = time.perf_counter() - start
    return NUM_CANDIDATES / seconds, (time.process_time() - busy) / NUM_CANDIDATES


async def two_against_one(cores: Cores) -> tuple[str, float]:
    """Return a line, and the driver's seconds to have one candidate evaluated."""
    with ray_machines() as machines:
        machines.add()
        machines.add()
        settings = machines.settings(start_timeout_s=120)
        space = CoreSpace({})
        opened = RayCluster(settings, space, OpenWaiting(), print)
        async with opened as cluster:
            one, two, talk = [], [], []
            for _ in range(3):
                one.append((await rate(cluster.engines[:1], cores))[0])
                both, seconds = await rate(cluster.engines, cores)
                two.append(both)
                talk.append(seconds)
    ratios = [b / a for a, b in zip(one, two, strict=True)]
    line = (
        f"two nodes against one, {GENERATE_S:g} s a round: "
        f"{statistics.median(two):.2f} against {statistics.median(one):.2f} "
        f"candidates a second, {statistics.median(ratios):.2f}x "
        f"({min(ratios):.2f}-{max(ratios):.2f})"
    )
    return line, statistics.median(talk)


def breeding_s(experts: dict[str, Cores]) -> float:
    """Return the seconds to breed one child, and to take in its scores."""
    searcher = CycleQD(experts, SearchConfig().settings((0.5,)), seed=1)
    rng = np.random.default_rng(0)
    seconds = []
    for _ in range(12):
        start = time.perf_counter()
        proposals = searcher.ask(1)
        for proposal in proposals:
            searcher.tell(proposal, {s: float(rng.uniform(0.2, 0.9)) for s in experts})
        seconds.append((time.perf_counter() - start) / len(proposals))
    return statistics.median(seconds[1:])


def keeping_s(cores: Cores) -> float:
    """Return the seconds to keep one child: its genome and its ledger's rows."""
    rng = np.random.default_rng(0)
    seconds = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        directory = RunDirectory(Path(scratch) / "run")
        directory.members.mkdir(parents=True)
        with directory.lock(), Ledger(directory.ledger, is_writer=True) as ledger:
            for index in range(20):
                proposal, scores = made_up(index, rng)
                outcomes = outcomes_of(scores, rng)
                changed = scaled(cores, 1 + index / 100)
                start = time.perf_counter()
                genome = save_genome(changed, directory)
                scored = Scored(outcomes, StageSeconds())
                ledger.commit(proposal, genome, scores, scored)
                seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    """Print what was measured."""
    print(machine())
    logging.disable(logging.WARNING)
    shapes = module_shapes(NUM_LAYERS)
    vectors = {f"skill-{n}": random_expert(shapes, 16, n) for n in range(3)}
    space = CoreSpace.of(list(vectors.values()))
    experts = {skill: space.project(vector) for skill, vector in vectors.items()}
    cores = experts["skill-0"]
    size = sum(core.nbytes for core in cores.values())
    line, talk = asyncio.run(two_against_one(cores))
    print(line)
    print(
        f"the driver's milliseconds a child ({size / 1e6:.1f} MB of cores, {SAMPLES} "
        f"samples): breed {1000 * breeding_s(experts):.0f}, send and ask "
        f"{1000 * talk:.0f}, keep {1000 * keeping_s(cores):.0f}"
    )


if __name__ == "__main__":
    main()
