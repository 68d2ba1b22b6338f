"""The archives of all tasks: what CycleQD knows of its children but their cores.

A pure function of the scores in the order of birth, so a ledger's scores alone bring
the archives back.
"""

from collections.abc import Mapping, Sequence

from lora_qd.archive import AddStatus, GridArchive, axes_from_experts
from lora_qd.records import Scores


class Archives:
    """One archive per task; every child is offered to all of them."""

    def __init__(self, tasks: Sequence[str], *, num_cells: int) -> None:
        """Wait for the experts, one per task and in the order of ``tasks``."""
        self.tasks = tuple(tasks)
        self.by_task: Mapping[str, GridArchive] = {}
        """Empty until every expert's scores are told."""
        self._num_cells = num_cells
        self._experts: dict[str, tuple[str, Scores]] = {}

    def tell(self, index: int, member: str, scores: Scores) -> dict[str, AddStatus]:
        """Offer child ``index`` to all archives; return what each did, by task.

        Experts are kept back until the last of them is told, since their scores set
        the axes; the last one's answer stands for itself alone.
        """
        if index >= len(self.tasks):
            return self._offer(member, scores)
        self._experts[self.tasks[index]] = member, scores
        if len(self._experts) < len(self.tasks):
            return dict.fromkeys(self.tasks, AddStatus.NOT_ADDED)
        self._open()
        statuses = {}
        for task in self.tasks:
            statuses = self._offer(*self._experts[task])
        return statuses

    def elite_ids(self) -> set[str]:
        """Return the ids of the members that hold a cell in some archive."""
        return {e.id for a in self.by_task.values() for e in a.elites}

    def _open(self) -> None:
        axes = axes_from_experts(
            {task: scores for task, (_, scores) in self._experts.items()},
            self.tasks,
            num_cells=self._num_cells,
        )
        self.by_task = {
            task: GridArchive(task, [axes[o] for o in self.tasks if o != task])
            for task in self.tasks
        }

    def _offer(self, member: str, scores: Scores) -> dict[str, AddStatus]:
        return {t: a.add(member, scores) for t, a in self.by_task.items()}
