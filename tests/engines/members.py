"""Members whose adapters are noise from a seed, and the writer that engines need."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from lora_qd.engines import LocalSettings, TransformersEngine
from lora_qd.factors import CoreSpace
from lora_qd.factors.cores import scaled
from lora_qd.records import Member, Message, Request
from lora_qd.store.adapters import load_adapter
from tests.tiny_base import MODULES, save_random_adapter


def noise_member(seed, *, size=1.0, name=None):
    """Return a member that stands for an adapter of noise; size 0 has no effect."""
    cores = {"seed": np.array([seed]), "size": np.array([size])}
    return Member(name or f"noise-{seed}", cores)


class NoiseWriter:
    """Writes such members as adapters, and counts how often."""

    def __init__(self, *, rank=16, modules=MODULES):
        self.rank = rank
        self.modules = modules
        self.num_written = 0

    def __call__(self, member: Member, directory: Path) -> str:
        self.num_written += 1
        seed, size = int(member.cores["seed"][0]), float(member.cores["size"][0])
        path = save_random_adapter(
            directory / "new", seed, rank=self.rank, size=size, modules=self.modules
        )
        weights = (path / "adapter_model.safetensors").read_bytes()
        name = hashlib.sha256(weights).hexdigest()[:32]
        path.rename(directory / name)
        return name


class NoiseSpaceEngine:
    """An engine on a core space, asked for such members; their seeds are below 4."""

    def __init__(self, base, **options):
        with tempfile.TemporaryDirectory() as directory:
            adapters = [
                load_adapter(save_random_adapter(Path(directory) / str(seed), seed))
                for seed in range(4)
            ]
        vectors = [adapter.task_vector for adapter in adapters]
        self.space = CoreSpace.of(vectors)
        self._cores = [self.space.project(vector) for vector in vectors]
        defaults = {"model": str(base), "rank": 16, "dtype": "float32"}
        settings = LocalSettings(**defaults | options)
        self.engine = TransformersEngine(settings, self.space)

    def member(self, noise):
        """Return the member of the space that ``noise`` stands for."""
        cores = self._cores[int(noise.cores["seed"][0])]
        return Member(noise.id, scaled(cores, float(noise.cores["size"][0])))

    async def __aenter__(self):
        await self.engine.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.engine.__aexit__(*error)

    async def add(self, member):
        return await self.engine.add(self.member(member))

    async def remove(self, member):
        await self.engine.remove(self.member(member))

    async def generate(self, member, requests):
        return await self.engine.generate(member and self.member(member), requests)

    async def probe(self, member, requests):
        return await self.engine.probe(member and self.member(member), requests)


def ask(*texts, max_tokens=8, stop=()):
    """Return one request per text."""
    return [Request((Message("user", text),), max_tokens, stop) for text in texts]
