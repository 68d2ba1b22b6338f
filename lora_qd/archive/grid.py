"""A sparse MAP-Elites grid of ids and scores; the insertion rule is here alone."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from lora_qd.records import Scores

Index = tuple[int, ...]
"""A cell: one integer per measure axis."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One measure: the score on another task, cut into equal cells."""

    task: str
    low: float
    """Lower edge of the first cell, in [0, 1]."""
    high: float
    """Upper edge of the last cell, in [0, 1]."""
    num_cells: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and self.low < self.high < math.inf):
            raise ValueError(
                f"expected low < high on axis {self.task!r}, but got "
                f"[{self.low}, {self.high}]"
            )
        if self.num_cells < 1:
            raise ValueError(
                f"expected at least 1 cell on axis {self.task!r}, but got "
                f"{self.num_cells}"
            )

    def cell_of(self, value: float) -> int:
        """Return the cell of ``value``: ``[lo, hi)``; the edges catch the rest."""
        position = (value - self.low) / (self.high - self.low) * self.num_cells
        # The tolerance keeps 0.3, reached by sums of floats, in the cell it opens.
        return min(max(math.floor(position + 1e-6), 0), self.num_cells - 1)

    def contains(self, value: float) -> bool:
        """Tell whether ``value`` lies inside the axis' range."""
        return self.low <= value <= self.high


class AddStatus(IntEnum):
    """What happened to an added solution; true if the archive changed."""

    NOT_ADDED = 0
    """Its cell holds an elite that is at least as good."""
    IMPROVE_EXISTING = 1
    """It replaced the elite of its cell."""
    NEW = 2
    """Its cell was empty."""


@dataclass(frozen=True, slots=True)
class Elite:
    """The best solution of a cell."""

    id: str
    """The member's id."""
    objective: float
    measures: tuple[float, ...]
    """In the order of the archive's axes."""
    index: Index


@dataclass(frozen=True, slots=True)
class ArchiveStats:
    """Figures of one archive."""

    num_elites: int
    coverage: float
    """Share of the cells that are occupied."""
    qd_score: float
    """Sum of the elites' objectives."""
    best: float
    """Highest objective; 0 in an empty archive."""
    num_clipped: int
    """Solutions offered with a measure outside its axis."""


class GridArchive:
    """The elites of one task: objective on it, measures on all other tasks.

    A solution enters a cell that is empty or whose objective it strictly exceeds
    (MAP-Elites, Mouret and Clune 2015; CycleQD, arXiv 2410.14735, Sec. 3).
    """

    def __init__(self, task: str, axes: Sequence[Axis]) -> None:
        self.task = task
        self.axes = tuple(axes)
        self._elite_by_index: dict[Index, Elite] = {}
        self._num_clipped = 0

    def __len__(self) -> int:
        return len(self._elite_by_index)

    @property
    def num_cells(self) -> int:
        """All cells, occupied or not."""
        return math.prod(axis.num_cells for axis in self.axes)

    @property
    def elites(self) -> tuple[Elite, ...]:
        """All elites, in the order of their cells."""
        return tuple(self._elite_by_index[i] for i in sorted(self._elite_by_index))

    @property
    def best(self) -> Elite:
        """The elite of highest objective; of equals that of the highest measures.

        Raises:
            ValueError: the archive is empty.
        """
        return max(self.elites, key=lambda e: (e.objective, sum(e.measures)))

    def index_of(self, measures: Sequence[float]) -> Index:
        """Return the cell that ``measures`` fall into.

        Raises:
            ValueError: not one finite measure per axis.
        """
        if len(measures) != len(self.axes) or not all(map(math.isfinite, measures)):
            raise ValueError(
                f"expected {len(self.axes)} finite measures, one per archive axis, "
                f"but got {tuple(measures)}; pass the scores of all tasks but "
                f"{self.task!r}"
            )
        return tuple(a.cell_of(m) for a, m in zip(self.axes, measures, strict=True))

    def add(self, solution: str, scores: Scores) -> AddStatus:
        """Offer a member by its id and its scores on all tasks.

        Raises:
            ValueError: a score is missing or not finite.
        """
        objective, measures = self._split(scores)
        index = self.index_of(measures)
        if not all(a.contains(m) for a, m in zip(self.axes, measures, strict=True)):
            self._num_clipped += 1
        elite = self._elite_by_index.get(index)
        if elite is not None and objective <= elite.objective:
            return AddStatus.NOT_ADDED
        self._elite_by_index[index] = Elite(solution, objective, measures, index)
        return AddStatus.NEW if elite is None else AddStatus.IMPROVE_EXISTING

    def copy(self) -> "GridArchive":
        """Return the archive as it stands, which later additions do not change."""
        same = GridArchive(self.task, self.axes)
        same._elite_by_index = dict(self._elite_by_index)
        same._num_clipped = self._num_clipped
        return same

    def is_closed_to(self, low: Scores, high: Scores) -> bool:
        """Tell whether no scores from ``low`` to ``high`` would change the archive.

        That holds for ever, since cells never empty and elites only improve.

        Args:
            low: the lowest that a member can reach, on all tasks.
            high: the highest.

        Raises:
            ValueError: a score is missing or not finite.
        """
        objective, highest = self._split(high)
        first, last = self.index_of(self._split(low)[1]), self.index_of(highest)
        spans = [range(a, b + 1) for a, b in zip(first, last, strict=True)]
        num_within = math.prod(map(len, spans))
        if num_within > len(self):  # most often, and at once
            return False
        num_refusing = sum(
            objective <= elite.objective
            and all(i in span for i, span in zip(elite.index, spans, strict=True))
            for elite in self._elite_by_index.values()
        )
        return num_refusing == num_within

    def stats(self) -> ArchiveStats:
        """Return coverage, QD score and best objective."""
        objectives = [elite.objective for elite in self._elite_by_index.values()]
        return ArchiveStats(
            num_elites=len(objectives),
            coverage=len(objectives) / self.num_cells,
            qd_score=math.fsum(objectives),
            best=max(objectives, default=0.0),
            num_clipped=self._num_clipped,
        )

    def _split(self, scores: Scores) -> tuple[float, tuple[float, ...]]:
        tasks = [self.task, *(axis.task for axis in self.axes)]
        missing = [task for task in tasks if task not in scores]
        if missing:
            raise ValueError(
                f"expected a score for each of {tasks}, but {missing} are missing"
            )
        objective = float(scores[self.task])
        if not math.isfinite(objective):
            raise ValueError(
                f"expected a finite score on {self.task!r}, but got {objective}"
            )
        return objective, tuple(float(scores[axis.task]) for axis in self.axes)


@dataclass(frozen=True, slots=True)
class Overall:
    """How several archives stand together."""

    coverage: float
    """Mean share of occupied cells; 0 without archives."""
    qd_score: float
    """Sum of all elites' objectives."""


def overall(archives: Iterable[GridArchive]) -> Overall:
    """Return coverage and QD score over ``archives``."""
    stats = [archive.stats() for archive in archives]
    return Overall(
        coverage=sum(s.coverage for s in stats) / max(len(stats), 1),
        qd_score=sum(s.qd_score for s in stats),
    )


def axes_from_experts(
    scores_by_expert: Mapping[str, Scores], tasks: Sequence[str], *, num_cells: int = 15
) -> dict[str, Axis]:
    """Return one axis per task: 0.85 x the lowest to 1.15 x the highest expert score.

    Clipped to [0, 1] (CycleQD, Sec. 4.1). Where the experts agree so closely that the
    range is narrower than 0.1, it is widened by 0.05 on both sides.
    """
    axes = {}
    for task in tasks:
        values = [scores[task] for scores in scores_by_expert.values()]
        low, high = max(0.0, 0.85 * min(values)), min(1.0, 1.15 * max(values))
        if high - low < 0.1:
            low, high = max(0.0, low - 0.05), min(1.0, high + 0.05)
        axes[task] = Axis(task, low, high, num_cells)
    return axes
