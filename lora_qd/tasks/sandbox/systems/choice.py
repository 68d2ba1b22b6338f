"""Which kind of systems a machine can have."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field

from lora_qd.errors import SandboxError
from lora_qd.tasks.published.source import Strict
from lora_qd.tasks.sandbox.system import Systems
from lora_qd.tasks.sandbox.systems.bubblewrap import BubblewrapSystems
from lora_qd.tasks.sandbox.systems.container import ContainerSystems
from lora_qd.tasks.sandbox.systems.root import find_root


class SystemsSettings(Strict):
    """Where the throw-away Linux systems of `agentbench-os` come from."""

    engine: Literal["auto", "bubblewrap", "docker", "podman"] = "auto"
    """`auto` takes Docker or Podman where `images` are named and one works, else
    bubblewrap over a small Debian root."""
    images: Mapping[str, str] = Field(default_factory=dict)
    """The container engine's image, with bash and python3, by what samples call it:
    `default`, `packages` or `ubuntu`."""
    root: Path | None = None
    """The Debian root for bubblewrap; by default one that is built once, in the user's
    cache."""
    workers: int = Field(default=2, ge=1)
    """Systems at once."""


@asynccontextmanager
async def open_systems(settings: SystemsSettings) -> AsyncIterator[Systems]:
    """Choose what works here, and yield it.

    Raises:
        SandboxError: nothing does; the message says what was tried.
    """
    engines = {"auto": ("docker", "podman")}.get(settings.engine, (settings.engine,))
    tried = []
    for engine in engines if settings.images else ():
        if engine == "bubblewrap":
            continue
        systems = ContainerSystems(
            engine, settings.images, num_systems=settings.workers
        )
        fault = await systems.fault()
        if not fault:
            await systems.remove_leftovers()
            yield systems
            return
        tried.append(fault)
    if settings.engine in ("docker", "podman"):
        fact = "; ".join(tried) or "systems.images names no image"
        raise SandboxError(
            f"expected {settings.engine} to start a system, but it does not: {fact}; "
            "repair that, or set systems.engine: bubblewrap"
        )
    root = await asyncio.to_thread(find_root, settings.root)
    yield BubblewrapSystems(root, num_systems=settings.workers)
