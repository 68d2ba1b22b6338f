"""All merging methods as data: name, parameters, and the function behind them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from numpy.random import Generator

from lora_qd.factors.low_rank import Matrix
from lora_qd.factors.merging import elementwise, spectral, sums


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number that a method takes, between two bounds."""

    default: float
    low: float
    """Excluded, unless ``has_low``."""
    high: float
    """Included."""
    has_low: bool = False

    @property
    def range(self) -> str:
        """The interval, like ``(0, 1]``."""
        return f"{'[' if self.has_low else '('}{self.low:g}, {self.high:g}]"

    def admits(self, value: float) -> bool:
        """Return whether the value lies in the interval; NaN does not."""
        is_low = value == self.low and self.has_low
        return is_low or self.low < value <= self.high


@dataclass(frozen=True, slots=True)
class MergeMethod:
    """One way to merge members."""

    summary: str
    """What it does, in a line."""
    function: Callable[..., Matrix]
    """Takes ``X (K, n, R_out, R_in)``, ``w (K, n)`` and, by name, the parameters and,
    where ``is_random``, ``rng``."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    is_random: bool = False


_DENSITY = Parameter(default=0.5, low=0.0, high=1.0)
_GAIN = Parameter(default=1.0, low=0.0, high=100.0)
_TRIM = {"density": _DENSITY, "gain": _GAIN}


def _dare(X: Matrix, w: Matrix, *, rng: Generator, density: float) -> Matrix:
    return sums.weighted(elementwise.dropped(X, rng, density), w)


def _dare_ties(
    X: Matrix, w: Matrix, *, rng: Generator, density: float, gain: float
) -> Matrix:
    return gain * elementwise.elected(elementwise.dropped(X, rng, density), w)


def _della(
    X: Matrix,
    w: Matrix,
    *,
    rng: Generator,
    density: float,
    epsilon: float,
    gain: float,
) -> Matrix:
    kept = elementwise.dropped_by_rank(X, rng, density, epsilon)
    return gain * elementwise.elected(kept, w)


def _breadcrumbs(X: Matrix, w: Matrix, *, density: float, gamma: float) -> Matrix:
    return sums.weighted(elementwise.without_outliers(X, density, gamma), w)


METHODS: Mapping[str, MergeMethod] = {
    "linear": MergeMethod("weighted mean of the deltas, exact", sums.averaged),
    "task-arithmetic": MergeMethod("weighted sum of the deltas, exact", sums.weighted),
    "cat": MergeMethod("concatenated factors: the weighted sum, exact", sums.weighted),
    "slerp": MergeMethod("arc between two adapters, exact", sums.slerp),
    "ties": MergeMethod(
        "trim, elect signs, mean of those that agree", elementwise.ties, _TRIM
    ),
    "dare": MergeMethod(
        "drop entries at random, rescale, sum", _dare, {"density": _DENSITY}, True
    ),
    "dare-ties": MergeMethod(
        "drop at random, then elect signs", _dare_ties, _TRIM, True
    ),
    "della": MergeMethod(
        "drop small entries more often, then elect signs",
        _della,
        {**_TRIM, "epsilon": Parameter(0.15, 0.0, 1.0, has_low=True)},
        True,
    ),
    "breadcrumbs": MergeMethod(
        "drop the largest and the smallest entries, sum",
        _breadcrumbs,
        {"density": _DENSITY, "gamma": Parameter(0.01, 0.0, 0.5, has_low=True)},
    ),
    "knots": MergeMethod("TIES in one shared SVD", spectral.knots, _TRIM),
    "tsv-m": MergeMethod(
        "leading singular directions, decorrelated, exact",
        spectral.tsv_m,
        {"share": Parameter(default=1.0, low=0.0, high=1.0)},
    ),
    "iso-c": MergeMethod("sum with a flat spectrum, exact", spectral.iso_c),
}
"""By the name that people type."""
