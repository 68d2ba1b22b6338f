"""A run from Python: what the commands read, in a few methods.

Not done here: writing a run, scoring anybody, or serving.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lora_qd.archive import GridArchive
from lora_qd.errors import InputError, LoraQDError
from lora_qd.factors import CoreSpace, TaskVector
from lora_qd.records import Member
from lora_qd.runs.cells import elite_at
from lora_qd.runs.config import RunConfig
from lora_qd.runs.history import bred_from, replay_archives
from lora_qd.runs.lineage import Lineage, lineage_of
from lora_qd.runs.members import export, refuse_existing
from lora_qd.runs.recorded import read_children
from lora_qd.runs.results import Results, load_results
from lora_qd.search.breeding import expert_member
from lora_qd.store.genomes import load_space
from lora_qd.store.ledger import ChildRow, Ledger, best_first, mean
from lora_qd.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from pandas import DataFrame


class Status(StrEnum):
    """How far a run is."""

    NEW = "new"
    """It was stopped before its first child."""
    RUNNING = "running"
    """A process writes it now."""
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


def status_of(
    directory: RunDirectory,
    config: RunConfig | None,
    num_members: int,
    *,
    has_results: bool,
) -> Status:
    """Return how far a run is.

    Args:
        directory: says whether somebody writes it.
        config: None where it never began.
        num_members: children in its ledger, the seeds among them.
        has_results: whether there is a final table.
    """
    if directory.is_locked:
        return Status.RUNNING
    if config is None or not num_members:
        return Status.NEW
    is_bred = num_members >= config.num_seeds + config.search.children
    return Status.FINISHED if is_bred and has_results else Status.INTERRUPTED


class Run:
    """A run as it was when opened: nothing is written, and it may go on meanwhile.

    Example::

        from lora_qd import Run

        run = Run.open("runs/demo")
        best = run.best()                        # a child: member, scores, parents
        run.archives["code"].stats().coverage
        run.materialise(best.member)             # a task vector, exact
        run.export(best.member, "my-adapter")    # a PEFT directory
        run.frame().plot(x="index", y="mean")    # with pandas
    """

    def __init__(
        self,
        directory: RunDirectory,
        config: RunConfig,
        children: Sequence[ChildRow],
        others: Mapping[str, str],
        results: Results | None,
    ) -> None:
        """Use :meth:`open`."""
        self.directory = directory
        self.config = config
        self.children = children
        """In the order of their birth; the seeds are the first."""
        self.others = others
        """Hashes of members that are nobody's child: merges, aggregates."""
        self.results = results
        """The final table; None while there is none."""

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Read the run in a directory, finished or not, here or copied from elsewhere.

        Example::

            run = Run.open("runs/demo")

        Raises:
            InputError: there is no run, or it was stopped before it began.
            StoreError: it is damaged, or a newer loraqd wrote it.
        """
        directory = RunDirectory(Path(path))
        directory.require_run()
        with Ledger(directory.ledger) as ledger:
            config, children = read_children(ledger, directory)
            others = ledger.genomes()
        is_table = directory.results.is_file()
        results = load_results(directory.results) if is_table else None
        return cls(directory, config, children, others, results)

    @property
    def num_bred(self) -> int:
        """Children so far, the seeds not counted."""
        return max(0, len(self.children) - self.config.num_seeds)

    @property
    def status(self) -> Status:
        """How far the run is."""
        has_results = self.results is not None
        num = len(self.children)
        return status_of(self.directory, self.config, num, has_results=has_results)

    @cached_property
    def archives(self) -> Mapping[str, GridArchive]:
        """The archives by skill; empty until the experts are scored."""
        return replay_archives(self.children, self.config).by_task

    @cached_property
    def space(self) -> CoreSpace:
        """The core space in which members are stacks of cores."""
        return load_space(self.directory.space)

    @cached_property
    def lineage(self) -> Lineage:
        """How each member came to be, and its cores."""
        return lineage_of(self.children, self.others, self.directory, self.config)

    def best(self, skill: str | None = None) -> ChildRow:
        """Return the best member on the search split: by mean, or of one archive.

        Example::

            run.best().member
            run.best("code").scores["code"]

        Raises:
            InputError: the run has no such skill, or no archives yet.
        """
        self.require_archives()
        if skill is None:
            return best_first(self.children)[0]
        if skill not in self.archives:
            raise InputError(
                f"expected a skill out of {', '.join(self.archives)}, but got {skill!r}"
            )
        return self.child(self.archives[skill].best.id)

    def child(self, member: str) -> ChildRow:
        """Return what the ledger has of a child or seed.

        Raises:
            InputError: ``member`` is nobody's child here.
        """
        row = self._row_by_member.get(self.id_of(member))
        if row is None:
            raise InputError(
                f"expected a child or seed of {self.directory.path}, but got "
                f"{member!r}, which was made after the search"
            )
        return row

    def member(self, name: str) -> Member:
        """Return a member with its cores: from its file, or bred again.

        Args:
            name: its id, the name that it is served under, or its cell.

        Example::

            run.member("balanced").cores["layers.0.self_attn.q_proj"]

        Raises:
            InputError: there is no such member.
            StoreError: its file is damaged.
        """
        id_ = self.id_of(name)
        return Member(id_, self.lineage.cores(id_))

    def id_of(self, name: str) -> str:
        """Return the id of a member by its id, its served name, or its cell.

        Example::

            run.id_of("balanced")
            run.id_of("code[3,7]")

        Raises:
            InputError: there is no such member, or the cell is empty.
        """
        served = self.results.members if self.results else {}
        id_ = served.get(name, name)
        if id_ not in self.lineage and id_ not in served.values():
            id_ = elite_at(name, self.archives) or name
        if id_ not in self.lineage and id_ not in served.values():
            known = ", ".join(served) or f"{len(self.children)} children"
            raise InputError(
                f"expected a member of {self.directory.path}, but got {name!r}; it has "
                f"{known}, and those that loraqd archive shows"
            )
        return id_

    def materialise(self, member: str, rank: int | None = None) -> TaskVector:
        """Return a member as ordinary factors: exact, or the nearest of ``rank``.

        Example::

            update = run.materialise("balanced", rank=16)["layers.0.self_attn.q_proj"]
            update.B, update.A
        """
        cores = self.member(member).cores
        return self.space.materialise(cores, rank=rank).task_vector

    def export(self, member: str, out: str | Path) -> float:
        """Write a member as a PEFT directory; return the energy that truncation drops.

        It has the rank that the run was scored with.

        Example::

            run.export("balanced", "my-adapter")

        Raises:
            InputError: there is no such member, or ``out`` exists.
        """
        refuse_existing(Path(out))
        return export(self.member(member), self.space, self.config, Path(out))

    def frame(self) -> "DataFrame":
        """Return one line per child: index, member, task, parents, scores, is_elite.

        Example::

            run.frame().query("is_elite").nlargest(5, "mean")

        Raises:
            LoraQDError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise LoraQDError(
                "expected pandas for a data frame, but it is not installed; run: "
                "pip install pandas"
            ) from error
        elites = self.elite_ids
        lines = [
            {
                "index": row.index,
                "member": row.member,
                "task": row.task,
                "parents": row.parents,
                **row.scores,
                "mean": mean(row.scores),
                "is_elite": row.member in elites,
                "num_left": row.num_left,
            }
            for row in self.children
        ]
        return DataFrame(lines)

    @cached_property
    def elite_ids(self) -> set[str]:
        """The ids of the members that hold a cell in some archive."""
        return {elite.id for a in self.archives.values() for elite in a.elites}

    def required(self) -> set[str]:
        """Return the members whose genomes must be files.

        They are the elites, the experts, and whoever has a name in the final table.
        """
        experts = {expert_member(skill, {}).id for skill in self.config.skills}
        named = set(self.results.members.values()) if self.results else set()
        named |= {row.member for row in self.results.rows} if self.results else set()
        seeds = {row.member for row in self.children[: len(self.config.skills)]}
        return (self.elite_ids | named | (experts & seeds)) - {"base"}

    def kept(self) -> set[str]:
        """Return the members whose genomes stay when a run ends.

        They are the required ones, those that the run would breed from if it went on,
        and whoever is nobody's child.
        """
        return self.required() | bred_from(self.children, self.config) | {*self.others}

    def require_archives(self) -> None:
        """Refuse a run whose archives are not open yet.

        Raises:
            InputError: not every expert has been scored.
        """
        if not self.archives:
            raise InputError(
                f"expected archives in {self.directory.path}, but its experts are not "
                "scored yet; wait, or go on with loraqd resume"
            )

    @cached_property
    def _row_by_member(self) -> Mapping[str, ChildRow]:
        return {row.member: row for row in self.children}
