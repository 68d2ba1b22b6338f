"""CycleQD (arXiv 2410.14735) on cores: one archive per task, the objective rotates.

1. The experts and a sweep of static merges are scored and offered to all archives.
2. Generation t works on archive ``t mod K``: elites, crossover, tilt, mutation.
3. Every child is offered to all K archives.

Not done here: scoring, storage, and the decision how many children are in flight.
"""

from collections.abc import Mapping, Sequence

from lora_qd.archive import AddStatus, GridArchive
from lora_qd.records import Cores, Member, Proposal, Scores
from lora_qd.search.archives import Archives
from lora_qd.search.breeding import Breeder
from lora_qd.search.settings import CycleQDSettings
from lora_qd.variation import sample_elites


class CycleQD:
    """Breeds in K archives; child i is a function of seed, i and the archives."""

    def __init__(
        self,
        experts: Mapping[str, Cores],
        settings: CycleQDSettings,
        *,
        seed: int,
    ) -> None:
        """Start from one expert per task.

        Args:
            experts: cores by task; their order is the rotation's.
            settings: operators and parameters.
            seed: with the child's index, the source of all its draws.

        Raises:
            ValueError: fewer than two experts.
        """
        if len(experts) < 2:
            raise ValueError(
                f"expected experts of at least two tasks, but got {list(experts)}"
            )
        self.tasks = tuple(experts)
        self.settings = settings
        self.cores_by_id: dict[str, Cores] = {}
        """Cores of every member that is an elite somewhere."""
        self._breeder = Breeder(dict(experts), settings, seed)
        self._archives = Archives(self.tasks, num_cells=settings.num_cells)
        self._num_asked = 0
        self._generation = 0

    @property
    def archives(self) -> Mapping[str, GridArchive]:
        """By task; empty until every expert's scores are told."""
        return self._archives.by_task

    @property
    def num_seeds(self) -> int:
        """Proposals of the first batch."""
        return len(self.tasks) + len(self.settings.static_gains)

    def ask(self, n: int, known: Sequence[Proposal] = ()) -> list[Proposal]:
        """Return ``n`` children of one generation; the first call returns the seeds.

        Args:
            n: how many; the seeds are as many as they are.
            known: what a ledger has from here on; as many of them as fit are returned
                as they are, in place of being bred again.

        Raises:
            ValueError: ``n`` is below 1, or a child is asked for before the experts
                are told.
        """
        if n < 1:
            raise ValueError(f"expected at least 1 child, but got n = {n}")
        if self._num_asked == 0:
            self._num_asked = self.num_seeds
            seeds = self._breeder.seeds()
            return [*known[: len(seeds)], *seeds[len(known) :]]
        if not self.archives:
            raise ValueError("expected the seeds' scores first; tell them, then ask")
        task = self.tasks[self._generation % len(self.tasks)]
        taken = known[:n]
        bred = range(self._num_asked + len(taken), self._num_asked + n)
        children = [*taken, *(self._breed(index, task) for index in bred)]
        self._generation += 1
        self._num_asked += n
        return children

    def tell(self, child: Proposal, scores: Scores) -> dict[str, AddStatus]:
        """Offer ``child`` to all archives; return what each did, by task.

        Experts are kept back until the last of them is told, since their scores set
        the axes.
        """
        statuses = self._archives.tell(child.index, child.member.id, scores)
        self.cores_by_id[child.member.id] = child.member.cores
        if child.index >= len(self.tasks) and not any(statuses.values()):
            del self.cores_by_id[child.member.id]
        elif self.archives and set(statuses.values()) - {AddStatus.NEW}:
            elites = self.elite_ids()
            self.cores_by_id = {
                id_: cores for id_, cores in self.cores_by_id.items() if id_ in elites
            }
        return statuses

    def elite_ids(self) -> set[str]:
        """Return the ids of the members that hold a cell in some archive."""
        return self._archives.elite_ids()

    def _breed(self, index: int, task: str) -> Proposal:
        """Return child ``index``, bred in the archive of ``task``."""
        s = self.settings
        rng = self._breeder.generator(index)
        elites = sample_elites(
            self.archives[task].elites,
            rng,
            s.selection,
            num=s.parents,
            a_low=s.a_low,
            a_high=s.a_high,
        )
        parents = [Member(elite.id, self.cores_by_id[elite.id]) for elite in elites]
        return self._breeder.breed(index, task, parents, rng)
