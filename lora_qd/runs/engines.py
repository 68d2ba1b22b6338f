"""The engines of a run: vLLM servers of our own, one per accelerator, or given URLs.

Which engines a search gets by ``engine.kind`` is for ``opening``.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from lora_qd.engines import AttachedServer, ServerSettings, VllmEngine, VllmServer
from lora_qd.engines.loaded_adapters import WriteAdapter
from lora_qd.errors import InputError
from lora_qd.evaluation import task_group
from lora_qd.runs.measure_config import EngineConfig, MeasureConfig


@asynccontextmanager
async def open_engines(
    config: MeasureConfig, settings: ServerSettings, write: WriteAdapter, log: Path
) -> AsyncIterator[tuple[VllmEngine, ...]]:
    """Bring up every server of a config, all at once, and yield an engine for each.

    Args:
        config: says how many, or where they are.
        settings: what each serves.
        write: turns members into adapters.
        log: where vLLM writes; the second server's log has a 1 in its name, and so on.

    Raises:
        EngineError: a server does not come up, or is not the one that is wanted.
        InputError: there are fewer accelerators than the config wants.
    """
    async with AsyncExitStack() as stack:
        servers = _servers(config.engine, settings, log)
        for server in servers:
            stack.callback(server.close)
        async with task_group() as group:
            for server in servers:
                group.create_task(asyncio.to_thread(server.start))
        engines = [VllmEngine(server, write) for server in servers]
        yield tuple([await stack.enter_async_context(e) for e in engines])


def beginning_of(engine: EngineConfig) -> str:
    """Return what to tell the user while engines come up."""
    if engine.kind == "ray":
        return f"Starting vLLM on the Ray cluster at {engine.address}"
    return "Loading the base" if engine.kind == "transformers" else "Starting vLLM"


def engine_settings(
    config: MeasureConfig, modules: Iterable[str], *, rank: int | None = None
) -> ServerSettings:
    """Return how vLLM serves a config's base, and members that change ``modules``.

    Args:
        config: names the base and the engine's settings.
        modules: by their full names.
        rank: the adapters' largest; by default the config's ``serve_rank``.
    """
    engine = config.engine
    return ServerSettings(
        model=config.base,
        lora_target_modules=tuple(sorted({m.rpartition(".")[2] for m in modules})),
        # A slot for each candidate that is there, so that none is evicted in use.
        max_loras=engine.max_loras + engine.ahead,
        max_lora_rank=rank or engine.serve_rank,
        dtype=engine.dtype,
        quantization=engine.quantization,
        max_model_len=engine.max_model_len,
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        start_timeout_s=engine.start_timeout_s,
        request_timeout_s=engine.request_timeout_s,
        recycle_after=engine.recycle_after,
        extra_arguments=engine.arguments,
    )


def share_devices(
    visible: Sequence[str], *, servers: int | None, gpus_per_server: int
) -> list[tuple[str, ...]]:
    """Return the accelerators of each server; without any, each has the processor.

    Args:
        visible: the accelerators as CUDA_VISIBLE_DEVICES names them.
        servers: how many; None: as many as there are accelerators for, at least one.
        gpus_per_server: accelerators that share one copy of the base.

    Raises:
        InputError: there are too few.
    """
    if not visible:
        return [()] * (servers or 1)
    num = servers or max(1, len(visible) // gpus_per_server)
    if num * gpus_per_server > len(visible):
        raise InputError(
            f"expected {num * gpus_per_server} accelerators for {num} servers of "
            f"{gpus_per_server}, but there are {len(visible)}; lower engine.servers or "
            "engine.gpus_per_server"
        )
    if num == 1 and gpus_per_server == len(visible) == 1:
        return [()]  # what this process sees
    starts = range(0, num * gpus_per_server, gpus_per_server)
    return [tuple(visible[i : i + gpus_per_server]) for i in starts]


def _servers(
    engine: EngineConfig, settings: ServerSettings, log: Path
) -> list[VllmServer] | list[AttachedServer]:
    if engine.urls:
        root = engine.adapter_dir or log.parent
        return [
            AttachedServer(url, settings, root, api_key_variable=engine.api_key_env)
            for url in engine.urls
        ]
    shares = share_devices(
        visible_devices(),
        servers=engine.servers,
        gpus_per_server=engine.gpus_per_server,
    )
    num_threads = max(1, ((os.cpu_count() or 2) - 1) // len(shares))
    logs = [log, *(log.with_stem(f"{log.stem}-{n}") for n in range(1, len(shares)))]
    return [
        VllmServer(
            replace(settings, devices=devices, num_threads=num_threads),
            path,
            adapter_root=engine.adapter_dir,
        )
        for devices, path in zip(shares, logs, strict=True)
    ]


def visible_devices() -> list[str]:
    """Return the accelerators that this process may use, without touching them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.cuda.is_available():
        return []
    if named:
        return named.split(",")
    return [str(n) for n in range(torch.cuda.device_count())]
