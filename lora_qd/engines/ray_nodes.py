"""The nodes of a Ray cluster: how it is reached, and whether each can serve.

Not done here: starting engines (``ray_cluster``).
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lora_qd.engines import ray_report
from lora_qd.engines.ray_report import Report
from lora_qd.errors import EngineError, EngineLostError, InputError, MissingExtraError

_CONNECT_S = 10.0
_REPORT_S = 120.0
"""Patience with a node's first answer: Ray starts a process for it."""
_USABLE_SHARE = 0.9
"""Of a node's memory: what vLLM takes by default."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster."""

    id: str
    """Ray's; a machine that comes back has a new one."""
    host: str
    num_gpus: int
    num_cpus: int

    def __str__(self) -> str:
        return self.host


def connect(address: str) -> Callable[[], None]:
    """Join the Ray cluster at ``address`` as a driver; return what leaves it.

    A connection that is there already is used, and left to whoever made it.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("the ray engine", "ray") from error
    if ray.is_initialized():
        return lambda: None
    _check_reachable(address)
    is_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGTERM, signal.SIGINT) if is_main else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"expected a Ray cluster at {address}, but got: {_line(error)}; {_START}"
        ) from error
    finally:
        for number, handler in handlers.items():  # Ray would exit at once on SIGTERM
            signal.signal(number, handler)
    return lambda: ray.shutdown()


_START = (
    "start one with: ray start --head, and name it by --address HOST:PORT, or run this "
    "on one of its machines with --address auto"
)


def _check_reachable(address: str) -> None:
    """Refuse an address that Ray would try for a minute, and then abort."""
    if address in ("auto", "local"):
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise InputError(
            f"expected the address of a Ray cluster as auto or HOST:PORT, but got "
            f"{address!r}; {_START}"
        )
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_S):
            return
    except (OSError, OverflowError) as error:
        raise InputError(
            f"expected a Ray cluster at {address}, but nobody answers there "
            f"({error}); {_START}"
        ) from error


def live_nodes() -> list[Node]:
    """Return the machines that are up, in a fixed order.

    Raises:
        EngineLostError: the cluster's head is gone.
    """
    import ray

    try:
        listed = ray.nodes()
    except ray.exceptions.RayError as error:
        raise EngineLostError(
            f"expected the Ray cluster to list its nodes, but got: {_line(error)}; "
            "start its head again, then: loraqd resume"
        ) from error
    found = []
    for each in listed:
        if each["Alive"]:
            resources = each["Resources"]
            host = each["NodeManagerHostname"] or each["NodeManagerAddress"]
            found.append(
                Node(
                    each["NodeID"],
                    host,
                    num_gpus=int(resources.get("GPU", 0)),
                    num_cpus=int(resources.get("CPU", 0)),
                )
            )
    return sorted(found, key=lambda node: (node.host, node.id))


def check_nodes(
    nodes: Sequence[Node], base: str, *, shrink: float, gpus_per_server: int
) -> set[Node]:
    """Refuse nodes that would answer otherwise than this machine, or not at all.

    Returns those that are there: Ray lists one that was lost for some seconds more.

    Args:
        nodes: where engines are to run.
        base: the model that each must have.
        shrink: what quantising leaves of the weights' size on disk.
        gpus_per_server: accelerators that share the base.

    Raises:
        EngineError: naming the node and what it lacks.
    """
    own = Report(**ray_report.report(base))
    reports = _reports(nodes, base)
    first = next(iter(reports.values()), own)
    for node, report in reports.items():
        if "vllm" not in report.versions:
            raise EngineError(
                f"expected vLLM on node {node}, but Ray's Python there has none; "
                "install 'loraqd[vllm,ray]' in it"
            )
        # The driver itself needs no vLLM; then the first node sets the version.
        _check_versions(node, report.versions, {**first.versions, **own.versions})
        _check_base(node, report, base, own, shrink / gpus_per_server)
    return set(reports)


def _check_versions(
    node: Node, found: Mapping[str, str], expected: Mapping[str, str]
) -> None:
    for package, version in expected.items():
        if found.get(package) != version:
            there = found.get(package, "none")
            raise EngineError(
                f"expected {package} {version} on node {node}, as elsewhere in this "
                f"run, but it has {there}; install the same versions on all nodes"
            )


def _check_base(
    node: Node, report: Report, base: str, own: Report, share: float
) -> None:
    if own.base_bytes is not None and report.base_bytes is None:
        raise EngineError(
            f"expected the base {base} on node {node}, but there is none; copy it "
            "there, under the same path, or name it by its Hub id"
        )
    if report.base_bytes is None:  # a Hub id: vLLM fetches it, and says what is wrong
        return
    needed = report.base_bytes * share
    if needed > _USABLE_SHARE * report.memory_bytes:
        raise EngineError(
            f"expected room for {needed / 1e9:.1f} GB of weights on node {node}, but "
            f"it has {report.memory_bytes / 1e9:.1f} GB of memory; quantise the base "
            "(engine.quantization), or raise engine.gpus_per_server"
        )


def _reports(nodes: Iterable[Node], base: str) -> dict[Node, Report]:
    """Ask every node, all at once; those that are gone are left out."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Sent as it is: the node may lack this package, and that is to be told.
    ray.cloudpickle.register_pickle_by_value(ray_report)
    asked = {
        node: ray.remote(ray_report.report)
        .options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        )
        .remote(base)
        for node in nodes
    }
    reports = {}
    for node, reference in asked.items():
        try:
            fields = ray.get(reference, timeout=_REPORT_S)
        except (
            ray.exceptions.TaskUnschedulableError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.WorkerCrashedError,
        ):
            continue
        except ray.exceptions.RayError as error:
            raise EngineError(
                f"expected node {node} to say what it has, but got: {_line(error)}; "
                "see Ray's log there"
            ) from error
        reports[node] = Report(**fields)
    return reports


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
