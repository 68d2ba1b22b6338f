"""Members whose adapters are noise from a seed, and the writer that engines need."""

import hashlib
from pathlib import Path

import numpy as np

from lora_qd.records import Member, Message, Request
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


def ask(*texts, max_tokens=8, stop=()):
    """Return one request per text."""
    return [Request((Message("user", text),), max_tokens, stop) for text in texts]
