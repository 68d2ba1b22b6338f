"""A run as it grows: what its children add up to, child by child.

It reads what the ledger has from where it last stood, so that a run of ten thousand
children is followed at the price of its newest ones. Nothing is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lora_qd.archive import (
    AddStatus,
    GridArchive,
    Hypervolume,
    ParetoFront,
    overall,
)
from lora_qd.records import Split, StageSeconds
from lora_qd.runs.config import RunConfig
from lora_qd.search import Archives
from lora_qd.store.ledger import ChildRow, Cost, mean

MAX_POINTS = 400
"""Of a curve; more of them than a screen shows differently."""


@dataclass(frozen=True, slots=True)
class Point:
    """How the search stood after a child."""

    num_children: int
    """Members scored, the seeds among them."""
    num_tokens: int
    """Generated on the search split so far."""
    coverage: float
    """Mean over the archives."""
    qd_score: float
    """Sum over the archives."""
    best: float
    """Highest mean score of any member."""
    best_bred: float | None
    """The same, the seeds left out; None before the first child."""
    hypervolume: float
    """Of the scores on all skills, the reference point being 0."""


@dataclass(slots=True)
class Totals:
    """What evaluations on one split took."""

    num: int = 0
    num_prompt_tokens: int = 0
    num_tokens: int = 0
    stages: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(StageSeconds.__slots__, 0.0)
    )
    """Seconds by stage."""

    def add(self, cost: Cost) -> None:
        """Count one evaluation."""
        self.num += 1
        self.num_prompt_tokens += cost.num_prompt_tokens
        self.num_tokens += cost.num_tokens
        for stage in self.stages:
            self.stages[stage] += getattr(cost.stages, stage)


class Story:
    """The children of a run, told one after the other."""

    def __init__(self, config: RunConfig, *, num_expected: int = 0) -> None:
        """Begin; ``num_expected`` children are to come at once, if that is known."""
        self.config = config
        self.rows: list[ChildRow] = []
        """In the order of their birth."""
        self.entered: list[frozenset[str]] = []
        """The skills whose archives each child entered when it was told."""
        self.points: list[Point] = []
        """At most about ``MAX_POINTS``, evenly over the children; the last is now."""
        self.totals: dict[str, Totals] = {}
        """By split."""
        self.front = ParetoFront(config.skills)
        self.num_costs = 0
        """Evaluations told."""
        self._archives = Archives(config.skills, num_cells=config.search.cells)
        self._hypervolume = Hypervolume(len(config.skills))
        self._index_by_member: dict[str, int] = {}
        self._num_tokens = 0
        self._tokens_by_member: dict[str, int] = {}
        self._best = 0.0
        self.best_bred: ChildRow | None = None
        """The bred child of highest mean score, the oldest of equals."""
        self._stride = 1 + num_expected // MAX_POINTS
        self._has_loose_end = False

    @property
    def archives(self) -> Mapping[str, GridArchive]:
        """By skill; empty until the experts are scored."""
        return self._archives.by_task

    @property
    def num_bred(self) -> int:
        """Children, the seeds left out."""
        return max(0, len(self.rows) - self.config.num_seeds)

    def row(self, member: str) -> ChildRow | None:
        """Return what the ledger has of a child or seed; None of anybody else."""
        index = self._index_by_member.get(member)
        return None if index is None else self.rows[index]

    def mean_of(self, row: ChildRow) -> float:
        """Return a child's plain mean over the skills."""
        return mean({skill: row.scores[skill] for skill in self.config.skills})

    def elite_ids(self) -> set[str]:
        """Return the members that hold a cell in some archive."""
        return self._archives.elite_ids()

    def tell(self, rows: Sequence[ChildRow], costs: Sequence[Cost]) -> None:
        """Go on with the next children, and with what evaluations took."""
        for cost in costs:
            self.totals.setdefault(cost.split.value, Totals()).add(cost)
            if cost.split is Split.SEARCH:
                self._tokens_by_member[cost.member] = cost.num_tokens
        self.num_costs += len(costs)
        if not rows:
            return
        if self._has_loose_end:
            self.points.pop()
        for row in rows:
            self._tell(row)
        self._has_loose_end = len(self.rows) % self._stride != 0
        if self._has_loose_end:
            self.points.append(self._point())

    def _tell(self, row: ChildRow) -> None:
        statuses = self._archives.tell(row.index, row.member, row.scores)
        self.entered.append(self._skills_of(row, statuses))
        self._index_by_member[row.member] = len(self.rows)
        self.rows.append(row)
        if not row.num_left:  # otherwise its means are of fewer samples
            self._compare(row)
        self._num_tokens += self._tokens_by_member.pop(row.member, 0)
        if len(self.rows) % self._stride == 0:
            self.points.append(self._point())
            if len(self.points) > 2 * MAX_POINTS:
                self.points = self.points[1::2]
                self._stride *= 2

    def _compare(self, row: ChildRow) -> None:
        """Hold a child against the best so far."""
        scores = [row.scores[skill] for skill in self.config.skills]
        if self.front.add(row.member, scores):
            self._hypervolume.add(scores)
        value = self.mean_of(row)
        self._best = max(self._best, value)
        best = self.best_bred
        if row.parents and (best is None or value > self.mean_of(best)):
            self.best_bred = row

    def _skills_of(
        self, row: ChildRow, statuses: Mapping[str, AddStatus]
    ) -> frozenset[str]:
        if not row.parents:
            return frozenset()
        return frozenset(skill for skill, status in statuses.items() if status)

    def _point(self) -> Point:
        now = overall(self.archives.values())
        return Point(
            num_children=len(self.rows),
            num_tokens=self._num_tokens,
            coverage=now.coverage,
            qd_score=now.qd_score,
            best=self._best,
            best_bred=self.mean_of(self.best_bred) if self.best_bred else None,
            hypervolume=self._hypervolume.value,
        )
