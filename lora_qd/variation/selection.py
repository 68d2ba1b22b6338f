"""Which elites become parents (CycleQD, arXiv 2410.14735, Sec. 3.1)."""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.random import Generator

from lora_qd.archive import Elite
from lora_qd.factors import Matrix


class SelectionForm(StrEnum):
    """How the probability of an elite follows from its scores."""

    PAPER = "paper"
    """``prod_i (a_low + norm(f_i) * (a_high - a_low))`` over all tasks' scores."""
    RELEASED = "released"
    """The released code: ``prod_i (a_low + norm * a_high)``, where the norm of a
    measure is that of its cell, not of its value."""
    UNIFORM = "uniform"
    """Every elite alike: the control without elite sampling."""


def elite_probabilities(
    elites: Sequence[Elite],
    form: SelectionForm = SelectionForm.PAPER,
    *,
    a_low: float = 0.5,
    a_high: float = 0.8,
) -> Matrix:
    """Return the probability of each elite ``(n,)``; they sum to 1.

    ``norm`` is min-max over the elites; a task on which all are alike drops out.

    Raises:
        ValueError: no elites, or not ``0 < a_low <= a_high``.
    """
    if not elites:
        raise ValueError("expected at least one elite, but got none")
    if not 0 < a_low <= a_high:
        raise ValueError(f"expected 0 < a_low <= a_high, but got {a_low} and {a_high}")
    if form is SelectionForm.UNIFORM:
        return np.full(len(elites), 1 / len(elites))
    span = a_high if form is SelectionForm.RELEASED else a_high - a_low
    weights = np.prod(a_low + _normalised(elites, form) * span, axis=1)
    return np.asarray(weights / weights.sum())


def sample_elites(
    elites: Sequence[Elite],
    rng: Generator,
    form: SelectionForm = SelectionForm.PAPER,
    *,
    num: int = 2,
    a_low: float = 0.5,
    a_high: float = 0.8,
) -> tuple[Elite, ...]:
    """Draw ``num`` parents without replacement; fewer elites are drawn once each.

    A lone elite is drawn ``num`` times.
    """
    if len(elites) == 1:
        return (elites[0],) * num
    p = elite_probabilities(elites, form, a_low=a_low, a_high=a_high)
    drawn = rng.choice(len(elites), size=min(num, len(elites)), replace=False, p=p)
    return tuple(elites[i] for i in drawn)


def _normalised(elites: Sequence[Elite], form: SelectionForm) -> Matrix:
    """Return min-max normalised columns ``(n, K)``: objective, then measures."""
    rows = [
        (e.objective, *(e.index if form is SelectionForm.RELEASED else e.measures))
        for e in elites
    ]
    values = np.asarray(rows, dtype=np.float64)
    low, high = values.min(axis=0), values.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    return np.asarray((values - low) / span)
