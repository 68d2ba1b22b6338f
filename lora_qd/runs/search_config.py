"""What a config says of the search: how CycleQD breeds, and how long."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from lora_qd.factors.merging import METHODS
from lora_qd.search import CycleQDSettings
from lora_qd.tasks.published.source import Strict
from lora_qd.variation import CrossoverSettings, MutationForm, SelectionForm
from lora_qd.variation.crossover import Granularity


class StoppingForm(StrEnum):
    """When a child is left before all its samples are asked."""

    NONE = "none"
    """Never."""
    EXACT = "exact"
    """Where no archive can take it, whatever the samples to come score."""
    RACE = "race"
    """Where that holds with a stated probability."""


class SearchConfig(Strict):
    """How CycleQD breeds and how long."""

    children: int = Field(default=1200, ge=0)
    """Children to breed."""
    batch: int = Field(default=1, ge=1)
    """Children of one generation."""
    lag: int = Field(default=1, ge=0)
    """Batches proposed before the oldest one is inserted."""
    cells: int = Field(default=15, ge=1)
    """Cells of each measure axis."""
    selection: SelectionForm = SelectionForm.PAPER
    """How parents are drawn from the elites."""
    a_low: float = Field(default=0.05, gt=0)
    """Lowest factor of an elite's weight."""
    a_high: float = Field(default=1.0, gt=0)
    """Highest factor of that weight."""
    parents: int = Field(default=3, ge=2)
    """Elites that a child is bred from; the paper's two, or more."""
    crossover: str = "linear"
    """The merging method that makes a child: `linear` is the paper's; `slerp`, `ties`
    and what else `loraqd merge` knows have their default parameters."""
    crossover_sigma: float = Field(default=0.5, ge=0)
    """Standard deviation of the crossover weights around 1."""
    granularity: Granularity = Granularity.MODEL
    """What shares one draw of crossover weights."""
    keep_norm: bool = True
    """Whether every module of a child is as long as its parents' are on average."""
    gain_sigma: float = Field(default=0.1, ge=0)
    """Standard deviation of a child's log gain; 0: no gene."""
    tilt_sigma: float = Field(default=0.4, ge=0)
    """Standard deviation of the log exponent on a child's singular values; 0: no
    gene."""
    mutation: MutationForm = MutationForm.RELATIVE
    """What a mutation does to singular values."""
    w_max: float = Field(default=0.1, ge=0)
    """Bound of the mutation's draws."""
    stopping: StoppingForm = StoppingForm.NONE
    """When a child is left before all its samples are asked: `none`; `exact`, where no
    archive can take it whatever comes; `race`, where probably none will."""
    stopping_chunk: int = Field(default=8, ge=1)
    """Samples of each skill between two decisions."""
    stopping_error: float = Field(default=0.05, gt=0, lt=1)
    """Of `race`: the probability at most that an archive would have taken a child that
    is left, every score being equally likely at first."""
    seed_merges: bool = True
    """Whether the archives also start from the static merges."""

    @model_validator(mode="after")
    def _check_crossover(self) -> Self:
        if self.crossover not in METHODS:
            raise ValueError(
                f"crossover is one of {', '.join(METHODS)}, not {self.crossover!r}"
            )
        if self.crossover != "linear" and self.granularity is Granularity.MODULE:
            raise ValueError("granularity: module is for crossover: linear only")
        if self.crossover == "slerp" and self.parents != 2:
            raise ValueError("crossover: slerp takes parents: 2")
        return self

    def settings(self, merge_gains: tuple[float, ...]) -> CycleQDSettings:
        """Return what the searcher takes."""
        loop = {"children", "batch", "lag", "cells", "seed_merges"}
        loop |= {"stopping", "stopping_chunk", "stopping_error"}
        crossing = {"crossover", "crossover_sigma", "granularity", "keep_norm"}
        crossing |= {"gain_sigma"}
        return CycleQDSettings(
            num_cells=self.cells,
            crossing=CrossoverSettings(
                sigma=self.crossover_sigma,
                method=self.crossover,
                granularity=self.granularity,
                gain_sigma=self.gain_sigma,
                keep_norm=self.keep_norm,
            ),
            static_gains=merge_gains if self.seed_merges else (),
            **self.model_dump(exclude=loop | crossing),
        )
