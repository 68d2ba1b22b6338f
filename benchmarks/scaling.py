"""How a search scales: 1 to 1,000 engines, simulated from measured times.

Run: ``python benchmarks/scaling.py``; some minutes on one core. The search's own loop,
evaluator and stations run as they are, on a clock that jumps to the next event instead
of waiting. Engines, the driver's processor and the sandbox's workers are queues whose
service times come from the command line; the defaults were measured by ``cluster.py``
and ``sandbox.py``. Not simulated: what Ray's own processes and the network cost.
"""

import argparse
import asyncio
import selectors
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lora_qd.engines import FakeEngine
from lora_qd.evaluation import Evaluation, Evaluator
from lora_qd.records import (
    Completion,
    Member,
    Message,
    Proposal,
    Request,
    Sample,
    Score,
    Split,
    Swap,
)
from lora_qd.runs.loop import Budget, run_search

ENGINES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
IN_FLIGHT, AHEAD = 4, 2
ROUNDS = 5
"""Children for each place."""


class JumpingSelector(selectors.SelectSelector):
    """Lets time pass at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list:
        """Return at the next event's time."""
        self.now += timeout or 0.0
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop on that clock."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the simulated time in seconds."""
        return self._jumping.now


@dataclass(slots=True)
class Server:
    """A queue with so many workers."""

    num_workers: int
    busy_s: float = 0.0
    _free: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.num_workers)

    async def use(self, seconds: float) -> None:
        """Wait for a worker, and for its work."""
        async with self._free:
            self.busy_s += seconds
            await asyncio.sleep(seconds)


class SimulatedEngine(FakeEngine):
    """Shares its throughput among those in flight; a child's length varies."""

    def __init__(self, child_s: float, seed: int) -> None:
        super().__init__({})
        self._child_s = child_s
        self._lengths = np.random.default_rng(seed)
        self.busy_s = 0.0
        """Of all its places to generate together."""

    async def add(self, member: Member) -> Swap:
        """Load an adapter, beside the generation."""
        await asyncio.sleep(0.2)
        return await super().add(member)

    async def generate(
        self,
        member: Member | None,  # noqa: ARG002
        requests: Sequence[Request],  # noqa: ARG002
    ) -> list[Completion]:
        """Answer all samples of a child."""
        seconds = self._child_s * IN_FLIGHT * self._lengths.lognormal(-0.02, 0.2)
        self.busy_s += seconds
        await asyncio.sleep(seconds)
        return [Completion("", 1, 1, is_complete=True)]


class SimulatedTask:
    """Asks once for all samples, then has the answers executed."""

    name = "task"

    def __init__(self, sandbox: Server, score_s: float) -> None:
        self._sandbox = sandbox
        self._score_s = score_s

    def samples(self, split: Split) -> Sequence[Sample]:  # noqa: ARG002
        """Return the one sample that stands for all."""
        return [Sample("all", "?", "")]

    async def run(self, sample: Sample, generate) -> Score:  # noqa: ANN001, ARG002
        """Generate and score."""
        await generate([Request((Message("user", "?"),), 1)])
        await self._sandbox.use(self._score_s)
        return Score(1.0)


class Births:
    """A searcher that only counts."""

    def __init__(self) -> None:
        self._num = 0

    def ask(self, num: int, known: Sequence[Proposal] = ()) -> list[Proposal]:  # noqa: ARG002
        """Return children."""
        first, self._num = self._num, self._num + num
        return [
            Proposal(n, Member(f"{n}", {}), (), "") for n in range(first, self._num)
        ]

    def tell(self, proposal: Proposal, scores: object) -> None:
        """Forget a child."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one simulation showed."""

    per_hour: float
    engines_busy: float
    driver_busy: float
    sandbox_busy: float


async def simulate(num_engines: int, options: argparse.Namespace) -> Outcome:
    """Search with so many engines; the batch gives each place two children."""
    driver, sandbox = Server(1), Server(options.workers)
    engines = [SimulatedEngine(options.child_s, n) for n in range(num_engines)]
    task = SimulatedTask(sandbox, options.score_s)
    evaluator = Evaluator(engines, {"task": task}, in_flight=IN_FLIGHT, ahead=AHEAD)
    places = num_engines * (IN_FLIGHT + AHEAD)

    async def evaluate(proposal: Proposal) -> Evaluation:
        await driver.use(options.breed_s + options.talk_s)
        found = await evaluator.evaluate(proposal.member, Split.SEARCH, ["task"])
        await driver.use(options.keep_s)
        return found

    num = ROUNDS * places + 20
    start = asyncio.get_running_loop().time()
    budget = Budget(num, batch=places, lag=1)
    await run_search(Births(), evaluate, lambda *_: None, budget)  # type: ignore[arg-type]
    seconds = asyncio.get_running_loop().time() - start
    capacity = seconds * num_engines * IN_FLIGHT
    return Outcome(
        per_hour=3600 * (num + 1) / seconds,
        engines_busy=sum(engine.busy_s for engine in engines) / capacity,
        driver_busy=driver.busy_s / seconds,
        sandbox_busy=sandbox.busy_s / (seconds * options.workers),
    )


def main(options: argparse.Namespace) -> None:
    """Print a row for each number of engines."""
    print(
        f"a child: {options.child_s:g} s of an engine; driver: breed "
        f"{options.breed_s:g} s, send and ask {options.talk_s:g} s, keep "
        f"{options.keep_s:g} s; sandbox: {options.score_s:g} s, "
        f"{options.workers} workers"
    )
    print("| engines | children an hour | engines busy | driver busy | sandbox busy |")
    print("|---|---|---|---|---|")
    for num in options.engines:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            found = runner.run(simulate(num, options))
        print(
            f"| {num:,} | {found.per_hour:,.0f} | {found.engines_busy:.0%} | "
            f"{found.driver_busy:.0%} | {found.sandbox_busy:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="how a search scales")
    parser.add_argument("--child-s", type=float, default=10.0, help="of an engine")
    parser.add_argument("--breed-s", type=float, default=0.160)
    parser.add_argument("--talk-s", type=float, default=0.126)
    parser.add_argument("--keep-s", type=float, default=0.013)
    parser.add_argument("--score-s", type=float, default=3.8, help="of a worker")
    parser.add_argument("--workers", type=int, default=16, help="of the sandbox")
    parser.add_argument("--engines", type=int, nargs="*", default=ENGINES)
    main(parser.parse_args())
