"""What a score may still become, and how likely a member enters an archive."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lora_qd.archive.grid import Axis, GridArchive

_ROUNDING = 1e-9
"""What means may be off by."""


@dataclass(frozen=True, slots=True, eq=False)  # eq=False: == on arrays raises
class Forecast:
    """The mean score that a member may end with, and how likely."""

    values: np.ndarray
    """``(n,)``, in [0, 1]."""
    chances: np.ndarray
    """``(n,)``, their sum is 1."""


def forecast(done: Sequence[float], num_samples: int) -> Forecast:
    """Return the forecast of a mean over ``num_samples`` of which some are done.

    The posterior predictive of right-or-wrong answers whose share was equally likely to
    be anything (beta-binomial, prior Beta(1, 1)); exact where samples are drawn at
    random, and wider than needed for scores between 0 and 1.

    Args:
        done: the scores so far, in [0, 1].
        num_samples: of the task, at least as many as are done.
    """
    total, num_left = math.fsum(done), num_samples - len(done)
    a, b = 1 + total, 1 + len(done) - total
    logs = [
        _log_choose(num_left, k) + _log_beta(k + a, num_left - k + b) - _log_beta(a, b)
        for k in range(num_left + 1)
    ]
    chances = np.exp(logs)
    values = np.minimum((total + np.arange(num_left + 1)) / num_samples, 1.0)
    return Forecast(values, chances / chances.sum())


def chance_to_enter(archive: GridArchive, forecasts: Mapping[str, Forecast]) -> float:
    """Return the probability that a member would change ``archive``, in [0, 1].

    Args:
        archive: as it stands.
        forecasts: by task, independent of each other.
    """
    cells = [_cell_chances(axis, forecasts[axis.task]) for axis in archive.axes]
    own = forecasts[archive.task]
    refused = math.fsum(
        math.prod(float(c[i]) for c, i in zip(cells, elite.index, strict=True))
        * float(own.chances[own.values <= elite.objective + _ROUNDING].sum())
        for elite in archive.elites
    )
    return min(max(1.0 - refused, 0.0), 1.0)


def _cell_chances(axis: Axis, measure: Forecast) -> np.ndarray:
    """Return the probability of each cell of ``axis``, ``(num_cells,)``."""
    chances = np.zeros(axis.num_cells)
    np.add.at(chances, [axis.cell_of(v) for v in measure.values], measure.chances)
    return chances


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
