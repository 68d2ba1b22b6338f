"""Engines on the nodes of a Ray cluster: one per accelerator, as nodes come and go."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lora_qd.engines.groups import task_group
from lora_qd.engines.ray_actor import EngineActor, OpenEngine
from lora_qd.engines.ray_engine import RayEngine
from lora_qd.engines.ray_nodes import Node, check_nodes, connect, live_nodes
from lora_qd.errors import EngineError, EngineLostError, LoraQDError

if TYPE_CHECKING:  # it brings torch
    from lora_qd.factors import CoreSpace

_POLL_S = 1.0
_CALLS_AT_ONCE = 10_000
"""To one engine; what is in flight is for the evaluator to bound."""
_MOST_FAILURES = 3
"""Of engines on one node, which is then left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Where a cluster is, and what each of its nodes is for."""

    address: str
    """``auto`` on one of its machines, or ``HOST:PORT``."""
    base: str
    """The base model, which every node must have."""
    shrink: float = 1.0
    """What quantising leaves of the weights' size on disk."""
    gpus_per_server: int = 1
    """Accelerators that share one copy of the base."""
    servers: int = 1
    """Engines on each node of a cluster without accelerators."""
    start_timeout_s: float = 600.0
    """Seconds until an engine that does not come up counts as failed."""


class RayCluster:
    """Opens an engine per accelerator; use it as an asynchronous context manager.

    A node that is lost takes its engines with it; one that joins gets some.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        space: "CoreSpace",
        open_engine: OpenEngine,
        say: Callable[[str], None],
    ) -> None:
        """Name the cluster; it is joined when the block is entered.

        Args:
            settings: where it is.
            space: sent to each node once.
            open_engine: opens an engine there.
            say: hears of nodes that come, go, or are left out.
        """
        self.engines: list[RayEngine] = []
        """Those that are up."""
        self._settings = settings
        self._space = space
        self._open_engine = open_engine
        self._say = say
        self._num_failures: Counter[str] = Counter()
        self._num_coming: Counter[str] = Counter()
        """Engines under way; they become engines, or failures."""
        self._disconnect: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        """Join the cluster and open an engine on each of its places.

        Raises:
            MissingExtraError: Ray is not installed.
            InputError: the cluster cannot be reached.
            EngineError: a node lacks something, or no engine comes up.
        """
        self._disconnect = connect(self._settings.address)
        try:
            import ray

            self._shared = ray.put(self._space)
            nodes = await asyncio.to_thread(live_nodes)
            places = await self._check(self._places(nodes))
            if not places:
                raise EngineError(
                    f"expected accelerators or processors in the Ray cluster at "
                    f"{self._settings.address}, but its {len(nodes)} nodes offer none; "
                    "add nodes to it: ray start --address HOST:PORT"
                )
            await self._open_first(places)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the engines and leave the cluster."""
        await self.close()

    async def close(self) -> None:
        """End the engines and leave the cluster."""
        try:
            await asyncio.gather(*(engine.close() for engine in self.engines))
        finally:
            self.engines.clear()
            self._disconnect()

    async def watch(self, join: Callable[[RayEngine], Awaitable[None]]) -> None:
        """Open engines where there is room, and hand them to ``join``; endless.

        A node that fails to have one is told of and left out; the others go on.
        """
        async with task_group() as group:
            while True:
                await asyncio.sleep(_POLL_S)
                for engine in [each for each in self.engines if each.is_lost]:
                    self.engines.remove(engine)
                    self._say(f"Lost an engine on node {engine.node}; others go on")
                    await engine.close()
                for node in self._missing(await asyncio.to_thread(live_nodes)):
                    self._num_coming[node.id] += 1
                    group.create_task(self._join(node, join))

    async def _join(
        self, node: Node, join: Callable[[RayEngine], Awaitable[None]]
    ) -> None:
        engine = None
        try:
            if await self._check([node]):
                engine = await self._open(node)
                await join(engine)
                self._say(f"Node {node} joined")
        except LoraQDError as error:
            self._num_failures[node.id] += 1
            self._say(f"Note: node {node} is left out: {str(error).splitlines()[0]}")
            if engine in self.engines:  # else it is lost, and told of
                self.engines.remove(engine)
                await engine.close()
        finally:
            self._num_coming[node.id] -= 1

    async def _check(self, places: Sequence[Node]) -> list[Node]:
        """Return the places whose nodes are there."""
        settings = self._settings
        present = await asyncio.to_thread(
            check_nodes,
            list(dict.fromkeys(places)),
            settings.base,
            shrink=settings.shrink,
            gpus_per_server=settings.gpus_per_server,
        )
        return [node for node in places if node in present]

    async def _open_first(self, places: Sequence[Node]) -> None:
        """Open all at once; a node may be lost meanwhile, but not all of them."""
        opened = await asyncio.gather(
            *(self._open(node) for node in places), return_exceptions=True
        )
        errors = [each for each in opened if isinstance(each, BaseException)]
        for error in errors:
            if not isinstance(error, EngineLostError) or len(errors) == len(places):
                raise error
            self._say(f"Note: {str(error).splitlines()[0]}")

    async def _open(self, node: Node) -> RayEngine:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor = (
            ray.remote(EngineActor)
            .options(
                num_gpus=self._settings.gpus_per_server if node.num_gpus else 0,
                num_cpus=0 if node.num_gpus else 1,
                max_concurrency=_CALLS_AT_ONCE,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            )
            .remote(self._shared, self._open_engine)
        )
        engine = RayEngine(actor, node)
        try:
            await engine.open(self._settings.start_timeout_s)
        except BaseException:
            with suppress(LoraQDError):
                await engine.close()
            raise
        self.engines.append(engine)
        return engine

    def _missing(self, nodes: Sequence[Node]) -> list[Node]:
        """Return a node for each engine that is not there, but could be."""
        taken = Counter(engine.node.id for engine in self.engines)
        taken += self._num_coming
        missing = []
        for node in self._places(nodes):
            if taken[node.id]:
                taken[node.id] -= 1
            elif self._num_failures[node.id] < _MOST_FAILURES:
                missing.append(node)
        return missing

    def _places(self, nodes: Sequence[Node]) -> list[Node]:
        """Return each node as often as it can have an engine."""
        if any(node.num_gpus for node in nodes):
            per_node = {n: n.num_gpus // self._settings.gpus_per_server for n in nodes}
        else:
            per_node = {n: min(n.num_cpus, self._settings.servers) for n in nodes}
        return [node for node in nodes for _ in range(per_node[node])]
