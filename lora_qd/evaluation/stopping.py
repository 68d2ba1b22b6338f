"""Asking a candidate in chunks, and leaving it where the rest cannot matter.

Decisions fall after a chunk and follow from its answers alone, so that they do not
depend on timing or on the number of engines.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from numpy.random import PCG64, Generator, SeedSequence

from lora_qd.records import Sample, Scores

Values = Mapping[str, Sequence[float]]
"""The scores of the samples that are done, in [0, 1], by task."""
Samples = Mapping[str, Sequence[Sample]]
"""By task."""
_ROUNDING = 1e-9
"""What sums of scores may be off by; bounds are wider by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """When a candidate is left in the middle."""

    chunk: int
    """Samples of each task between two decisions."""
    may_leave: Callable[[Values, Mapping[str, int]], bool]
    """Decides by the scores so far and the number of all samples, by task."""
    order: SeedSequence | None = None
    """Of the draw of the samples' order; None: as they are."""

    def chunks(self, samples: Samples) -> Iterator[Samples]:
        """Yield all samples, at most ``chunk`` of each task at a time."""
        ordered = {task: self._ordered(s) for task, s in samples.items()}
        for start in range(0, max(map(len, ordered.values())), self.chunk):
            end = start + self.chunk
            yield {task: s[start:end] for task, s in ordered.items()}

    def _ordered(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        if self.order is None:
            return samples
        drawn = Generator(PCG64(self.order)).permutation(len(samples))
        return [samples[i] for i in drawn]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the mean scores over all samples lie, by task."""

    low: Scores
    high: Scores


def bounds_of(values: Values, num_samples: Mapping[str, int]) -> Bounds:
    """Return the bounds that hold whatever the samples to come score.

    Args:
        values: of the samples that are done; at most ``num_samples`` of a task.
        num_samples: how many there are of each task, at least 1.
    """
    low, high = {}, {}
    for task, num in num_samples.items():
        done = values.get(task, ())
        total = math.fsum(done)
        low[task] = max(0.0, total / num - _ROUNDING)
        high[task] = min(1.0, (total + num - len(done)) / num + _ROUNDING)
    return Bounds(low, high)
