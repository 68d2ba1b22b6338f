"""95 % intervals of mean scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean score with its 95 % interval, all in [0, 1]."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return ``0.81 [0.77, 0.85]``."""
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def wilson_interval(values: Sequence[float]) -> Interval:
    """Return the Wilson interval of the mean of scores in [0, 1].

    Exact for right-or-wrong scores; wider than needed for scores in between.

    Raises:
        ValueError: there are no values: nobody answered is not the same as all wrong.
    """
    if not values:
        raise ValueError("expected at least one score, but got none")
    n = len(values)
    p = math.fsum(values) / n
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return Interval(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def mean_interval(values_by_task: Sequence[Sequence[float]]) -> Interval:
    """Return the interval of the plain mean over tasks of their mean scores.

    Each task's variance is that of its Wilson interval, so that a perfect score does
    not look certain.
    """
    parts = [wilson_interval(values) for values in values_by_task]
    mean = math.fsum(part.mean for part in parts) / len(parts)
    halves = math.fsum(((part.high - part.low) / 2) ** 2 for part in parts)
    half = math.sqrt(halves) / len(parts)
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))
