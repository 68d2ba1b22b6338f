"""How much better one candidate is than another on the same samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The second candidate's mean score less the first's, with its 95 % interval."""

    mean: float
    """In [-1, 1], as the bounds are; above 0 the second is better."""
    low: float
    high: float
    num_wins: int
    """Samples on which the second scored higher."""
    num_losses: int
    """Samples on which it scored lower."""

    def __str__(self) -> str:
        """Return ``+0.12 [+0.05, +0.19]``."""
        return f"{self.mean:+z.2f} [{self.low:+z.2f}, {self.high:+z.2f}]"


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Return the mean of ``second - first`` with its 95 % interval.

    The adjusted Wald interval for matched pairs of Agresti and Min (2005, Statistics
    in Medicine 24:729-740): half an observation more of each kind of pair, which
    leaves the mean of right-or-wrong scores neither certain at +1 nor at 0. Scores in
    between count by their size. The mean itself is not adjusted. Where the candidates
    differ on next to no samples it holds the truth less often than in 95 % of cases.

    Args:
        first: scores in [0, 1] of one candidate.
        second: scores of the other, on the same samples in the same order.

    Raises:
        ValueError: there are no scores, not equally many, or one is not in [0, 1].
    """
    if len(first) != len(second):
        raise ValueError(
            f"expected the scores of the same samples, but got {len(first)} and "
            f"{len(second)}; leave out what only one candidate answered"
        )
    if not first:
        raise ValueError("expected at least one pair of scores, but got none")
    wrong = [score for score in (*first, *second) if not 0 <= score <= 1]
    if wrong:
        raise ValueError(f"expected scores in [0, 1], but got {wrong[0]:g}")
    steps = [b - a for a, b in zip(first, second, strict=True)]
    n = len(steps)
    mean = math.fsum(steps) / n
    # The observations added: +1 and -1 with weight 1/2 each, 0 with weight 1.
    centre = math.fsum(steps) / (n + 2)
    square = (math.fsum(step**2 for step in steps) + 1) / (n + 2)
    half = _Z * math.sqrt((square - centre**2) / (n + 2))
    return Difference(
        mean,
        low=max(-1.0, min(mean, centre - half)),
        high=min(1.0, max(mean, centre + half)),
        num_wins=sum(step > 0 for step in steps),
        num_losses=sum(step < 0 for step in steps),
    )


def paired_mean(differences: Sequence[Difference]) -> Difference:
    """Return the plain mean over tasks of their differences, with its 95 % interval.

    The variances of K tasks add up to that of the mean, over K**2. Each bound has the
    variance of its own side (Zou and Donner 2008, Statistics in Medicine
    27:1693-1702), so that a skewed interval stays skewed, and one task keeps its own.

    Raises:
        ValueError: there are no differences.
    """
    if not differences:
        raise ValueError("expected the difference of at least one task, but got none")
    num = len(differences)
    mean = math.fsum(part.mean for part in differences) / num
    below = math.hypot(*(part.mean - part.low for part in differences)) / num
    above = math.hypot(*(part.high - part.mean for part in differences)) / num
    return Difference(
        mean,
        low=max(-1.0, mean - below),  # the bounds exceed 1 by rounding only
        high=min(1.0, mean + above),
        num_wins=sum(part.num_wins for part in differences),
        num_losses=sum(part.num_losses for part in differences),
    )
