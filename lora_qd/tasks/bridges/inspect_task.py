"""Skills that are tasks of Inspect: its solvers and scorers, our engines.

Solved in a process of its own (`inspect_child`). Not done: tools, pictures, model
graders, and tasks that draw other samples each time they are loaded.
"""

import asyncio
import hashlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from lora_qd.errors import InputError
from lora_qd.records import Generate, Message, Sample, Score, Split
from lora_qd.tasks.bridges.inspect_process import InspectProcess, started
from lora_qd.tasks.bridges.inspect_settings import InspectSettings
from lora_qd.tasks.published import PublishedSamples


class InspectTask:
    """One task of Inspect; a sample is one of its dataset."""

    def __init__(self, name: str, settings: InspectSettings) -> None:
        """Load the task's samples, in a process that ends again.

        Raises:
            InputError: the task cannot be loaded, or cannot be a skill here.
            MissingExtraError: Inspect is not installed.
        """
        self.name = name
        self.left_out: Mapping[str, str] = {}
        """Nothing: Inspect asks about every sample."""
        loaded = _load(settings.model_dump_json())
        samples = {
            f"{settings.task}, sample {number}": sample
            for number, sample in enumerate(loaded, start=1)
        }
        self._samples = PublishedSamples(samples, settings.shares)
        self._process = InspectProcess(settings)
        texts = (f"{s.id}\0{s.prompt}\0{s.target}" for s in loaded)
        self.sha256 = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        """Of all questions and answers."""

    @property
    def all_samples(self) -> Sequence[Sample]:
        """All samples, of all splits."""
        return self._samples.all

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the samples of ``split``, always the same, in a fixed order."""
        return self._samples.samples(split)

    def opening(self, sample: Sample) -> Sequence[Message]:
        """Return the input; what the solver makes of it is known to Inspect alone."""
        return (Message("user", sample.prompt),)

    def gold(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002 - none has one
        """Return nothing: a target is what a scorer compares with, not an answer."""
        return ()

    async def run(self, sample: Sample, generate: Generate) -> Score:
        """Have Inspect solve and score the sample.

        Raises:
            InputError: the task's code fails, or a score is not in [0, 1].
        """
        result = await self._process.score(sample.id, generate)
        value = float(result["value"])
        if not 0 <= value <= 1 or math.isnan(value):
            raise InputError(
                f"expected scores of {self.name!r} in [0, 1], but got {value:g}; name "
                "another scorer or metric of the task"
            )
        reason = "" if value == 1 else result["reason"] or f"scored {value:g}"
        return Score(
            value=value,
            reason=reason,
            answer=result["answer"],
            num_prompt_tokens=result["num_prompt_tokens"],
            num_tokens=result["num_tokens"],
            seconds=result["seconds"],
        )

    async def close(self) -> None:
        """End Inspect's process."""
        await self._process.close()


@lru_cache(maxsize=32)
def _load(settings_json: str) -> tuple[Sample, ...]:
    """Return the samples of a task; remembered, since a start takes seconds."""
    settings = InspectSettings.model_validate_json(settings_json)

    async def load() -> Sequence[dict[str, str]]:
        child = await started(settings)
        await child.stop()
        return child.samples

    with ThreadPoolExecutor(1) as thread:  # a loop may be running in this one
        loaded = thread.submit(lambda: asyncio.run(load())).result()
    return tuple(Sample(s["id"], s["input"], s["target"]) for s in loaded)
