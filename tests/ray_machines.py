"""A Ray cluster on this machine: nodes that come, and that are killed."""

import asyncio
import os
import time
from contextlib import asynccontextmanager, contextmanager

from lora_qd.engines import FakeEngine
from lora_qd.engines.ray_cluster import ClusterSettings
from lora_qd.errors import EngineError
from lora_qd.factors import CoreSpace

SPACE = CoreSpace({})


class Machines:
    """The nodes of a cluster; its head has no room for engines."""

    def __init__(self, cluster):
        self._cluster = cluster

    @property
    def address(self):
        return self._cluster.address

    def add(self, **resources):
        """Add a node, with room for one engine unless ``resources`` say otherwise."""
        options = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100 * 2**20}
        return self._cluster.add_node(**options | resources)

    def kill(self, node):
        """Kill a node and all that runs on it."""
        self._cluster.remove_node(node, allow_graceful=False)

    def end(self, node):
        """Let a node leave, unless it was killed."""
        if node in self._cluster.list_all_nodes():
            self._cluster.remove_node(node, allow_graceful=True)

    def settings(self, **changes):
        defaults = {"address": self.address, "base": "a/hub-id", "start_timeout_s": 60}
        return ClusterSettings(**defaults | changes)


@contextmanager
def ray_machines():
    """Yield a cluster without room; nodes are added by the test."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": 0,
        "num_gpus": 0,
        "include_dashboard": False,
        "object_store_memory": 100 * 2**20,
        "_system_config": {  # a node that is killed is known to be within seconds
            "health_check_initial_delay_ms": 0,
            "health_check_period_ms": 1000,
            "health_check_failure_threshold": 4,
        },
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield Machines(cluster)
    finally:
        ray.shutdown()
        cluster.shutdown()


class NodeEngine(FakeEngine):
    """Says who asks, and where it is; takes a while."""

    def __init__(self, seconds=0.0):
        super().__init__(self.say)
        self.seconds = seconds

    def say(self, member, request):
        word = request.messages[-1].content
        if word == "raise":
            raise EngineError("expected an answer, but got none; ask again")
        if word == "fail":
            raise KeyError("what the engine did not foresee")
        if word == "die":
            os._exit(1)
        return f"{member.id if member else 'base'} {word}"

    async def generate(self, member, requests):
        await asyncio.sleep(self.seconds)
        return await super().generate(member, requests)

    async def probe(self, member, requests):
        return [{str(os.getpid()): 0.0} for _ in requests]


class OpenFake:
    """Opens such an engine on a node."""

    def __init__(self, seconds=0.0, error=None):
        self.seconds = seconds
        self.error = error

    @asynccontextmanager
    async def __call__(self, space):
        assert isinstance(space, CoreSpace)
        if self.error:
            raise self.error
        yield NodeEngine(self.seconds)


async def until(condition, seconds=60):
    """Wait until ``condition()`` is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.05)
