"""The seam between evaluation and skills. People say skill, the code says task."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

from lora_qd.records import Generate, Message, Request, Sample, Score, Split

_SHARE_BY_SPLIT = {  # of 1,000 hash buckets; the rest is for training
    Split.TEST: range(150),
    Split.VALIDATION: range(150, 250),
    Split.SEARCH: range(250, 350),
}


class Task(Protocol):
    """A skill: its samples and how an answer is scored."""

    name: str
    """What people type and what reports show."""

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the samples of ``split``, always the same, in a fixed order."""
        ...

    async def run(self, sample: Sample, generate: Generate) -> Score:
        """Ask the candidate and score what it answers.

        A bad answer is a score of 0 with a reason. A broken sandbox or engine
        raises; it is never a score.
        """
        ...


class TrainableTask(Task, Protocol):
    """A task that experts can be trained for."""

    def training(self, seed: int, num: int | None) -> Sequence[Sample]:
        """Return ``num`` samples that occur in no other split, drawn by ``seed``.

        Args:
            seed: of the draw.
            num: how many; None is all, where there is an end.

        Raises:
            InputError: there are fewer, or no end.
        """
        ...


def sample_id(task: str, prompt: str) -> str:
    """Return the id of a sample: 16 hex digits of the SHA-256 of task and prompt."""
    return hashlib.sha256(f"{task}\0{prompt}".encode()).hexdigest()[:16]


def bucket_of(sample: str) -> int:
    """Return the hash bucket, 0 to 999, of the sample with this id."""
    return int(hashlib.sha256(sample.encode()).hexdigest()[:8], 16) % 1000


def split_of(sample: str) -> Split:
    """Return the split that the sample with this id belongs to, by its hash alone."""
    bucket = bucket_of(sample)
    for split, buckets in _SHARE_BY_SPLIT.items():
        if bucket in buckets:
            return split
    return Split.TRAIN


def single_turn(prompt: str, max_tokens: int) -> Request:
    """Return the request that asks ``prompt`` as one user turn."""
    return Request((Message("user", prompt),), max_tokens)
