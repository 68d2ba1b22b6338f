"""Opens the engines of a search: of the kind, and in the place, that a config names."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lora_qd.engines import (
    LocalSettings,
    ProbedEngine,
    ServerSettings,
    TransformersEngine,
    VllmEngine,
    VllmServer,
)
from lora_qd.engines.ray_cluster import ClusterSettings, RayCluster
from lora_qd.engines.transformers_engine import MAX_ROWS
from lora_qd.factors import CoreSpace
from lora_qd.runs.config import RunConfig
from lora_qd.runs.engines import engine_settings, open_engines, visible_devices
from lora_qd.runs.members import adapter_writer
from lora_qd.runs.memory import NF4_BYTES

Say = Callable[[str], None]
_SHRINK = {"nf4": NF4_BYTES / 2, "fp8": 0.5}
"""What is left of 16-bit weights that are quantised when they are loaded."""


async def _nobody(join: Callable[[Any], Awaitable[None]]) -> None:
    """Wait for engines where none can come."""


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines of a search."""

    first: Sequence[ProbedEngine]
    """Those that it begins with."""
    watch: Callable[[Callable[[ProbedEngine], Awaitable[None]]], Any] = _nobody
    """Hands over those that come later, for as long as it runs."""
    patience_s: float = 0.0
    """How long to wait for another one when the last is lost."""


@asynccontextmanager
async def open_kind(
    config: RunConfig, space: CoreSpace, log: Path, say: Say
) -> AsyncIterator[Engines]:
    """Bring up the engines of a config.

    Args:
        config: says which, and where.
        space: in which the members lie.
        log: where a server on this machine writes.
        say: hears of engines that come and go.

    Raises:
        InputError: there are too few accelerators, no such cluster, or no such base.
        EngineError: an engine does not come up.
    """
    engine = config.engine
    async with AsyncExitStack() as stack:
        if engine.kind == "transformers":
            local = TransformersEngine(_local_settings(config), space)
            yield Engines([await stack.enter_async_context(local)])
            return
        settings = engine_settings(config, space.bases)
        if engine.kind == "vllm":
            write = adapter_writer(space, config)
            opened = open_engines(config, settings, write, log)
            yield Engines(await stack.enter_async_context(opened))
            return
        settings = replace(settings, model=_absolute(config.base))
        cluster = await stack.enter_async_context(
            RayCluster(_cluster_settings(config), space, OnNode(config, settings), say)
        )
        yield Engines(tuple(cluster.engines), cluster.watch, engine.start_timeout_s)


@dataclass(frozen=True, slots=True)
class OnNode:
    """Opens a vLLM server and its engine where it is called; travels by pickle."""

    config: RunConfig
    settings: ServerSettings

    @asynccontextmanager
    async def __call__(self, space: CoreSpace) -> AsyncIterator[VllmEngine]:
        """Open the engine for members of ``space``."""
        settings = self.settings
        devices = tuple(visible_devices())  # those that Ray gave this process
        if len(devices) > 1:
            settings = replace(settings, devices=devices)
        server = VllmServer(settings, adapter_root=self.config.engine.adapter_dir)
        try:
            await asyncio.to_thread(server.start)
            async with VllmEngine(server, adapter_writer(space, self.config)) as engine:
                yield engine
        finally:
            await asyncio.to_thread(server.close)


def _local_settings(config: RunConfig) -> LocalSettings:
    engine = config.engine
    return LocalSettings(
        model=config.base,
        rank=engine.serve_rank,
        dtype=engine.dtype,
        quantization="nf4" if engine.quantization == "nf4" else "none",
        max_model_len=engine.max_model_len,
        max_rows=min(engine.max_num_seqs, MAX_ROWS),
    )


def _cluster_settings(config: RunConfig) -> ClusterSettings:
    engine = config.engine
    return ClusterSettings(
        address=engine.address,
        base=_absolute(config.base),
        shrink=_SHRINK.get(engine.quantization, 1.0),
        gpus_per_server=engine.gpus_per_server,
        servers=engine.servers or 1,
        start_timeout_s=engine.start_timeout_s,
    )


def _absolute(base: str) -> str:
    """Return where a base lies for processes that begin elsewhere."""
    return str(Path(base).resolve()) if Path(base).is_dir() else base
