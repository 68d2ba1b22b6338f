"""The cores of any member of a run: from its file, or bred again from its parents.

Elites and named members keep their files. Everybody else follows, bit by bit, from
recipe, seed and parents; the recorded hash proves it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from lora_qd.errors import StoreError
from lora_qd.factors import content_hash
from lora_qd.records import Cores, Member, Proposal
from lora_qd.runs.config import RunConfig
from lora_qd.search import Breeder
from lora_qd.search.breeding import expert_member
from lora_qd.store.genomes import load_genome
from lora_qd.store.ledger import ChildRow, Ledger
from lora_qd.store.run_directory import RunDirectory


class Lineage:
    """The members of a run and how each came to be."""

    def __init__(
        self,
        rows: Sequence[ChildRow],
        others: Mapping[str, str],
        run: RunDirectory,
        breeder: Breeder,
    ) -> None:
        """Know members; nothing is read yet.

        Args:
            rows: the children, the seeds among them.
            others: hashes of the members that are nobody's child.
            run: where genomes lie.
            breeder: of the run.
        """
        self._rows = {row.member: row for row in rows}
        self._others = others
        self._run = run
        self._breeder = breeder

    def __contains__(self, member: str) -> bool:
        return member in self._rows or member in self._others

    def path(self, member: str) -> Path:
        """Return where the genome of ``member`` lies, if it has a file at all."""
        row = self._rows.get(member)
        genome = self._others.get(member) if row is None else row.genome
        return self._run.genome(genome or member)  # the first versions had no hashes

    def cores(self, member: str) -> Cores:
        """Return the cores of ``member``: read, or derived where there is no file.

        Raises:
            StoreError: the file is damaged, or what is derived has another hash.
        """
        bred: dict[str, Cores] = {}
        for row in self._without_file(member):
            bred[row.member] = self.derive(row, bred)
        return bred.get(member) or load_genome(self.path(member))

    def derive(self, row: ChildRow, bred: Mapping[str, Cores] | None = None) -> Cores:
        """Return the cores of a child made anew from its parents.

        Args:
            row: the child or seed; its own file is not read.
            bred: cores of parents that are at hand; the others are read or derived.

        Raises:
            StoreError: they are not what the ledger recorded, to the last bit.
        """
        at_hand = bred or {}
        if row.parents:
            parents = [at_hand.get(p) or self.cores(p) for p in row.parents]
            cores = self._breeder.derive(recorded_child(row, {}), parents)
        else:
            seeds = {seed.member.id: seed.member for seed in self._breeder.seeds()}
            cores = seeds[row.member].cores
        self._check(row, content_hash(cores))
        return cores

    def _without_file(self, member: str) -> list[ChildRow]:
        """Return ``member`` and its ancestors as far as none has a file, oldest first.

        A file ends its line: what it was bred from is not asked for.
        """
        found: dict[str, ChildRow] = {}
        waiting = [member]
        while waiting:
            row = self._rows.get(waiting.pop())
            if row and row.member not in found and not self.path(row.member).is_file():
                found[row.member] = row
                waiting += row.parents
        return sorted(found.values(), key=lambda row: row.index)

    def _check(self, row: ChildRow, genome: str) -> None:
        is_same = row.genome == genome
        if row.genome is None:
            is_same = not row.parents or row.member.endswith(genome[:12])
        if not is_same:
            raise StoreError(
                f"expected member {row.member}, bred anew from its parents, to have "
                f"the hash {row.genome}, but got {genome}; other libraries or another "
                "processor round otherwise: use those that its manifest names"
            )


def open_lineage(ledger: Ledger, run: RunDirectory, config: RunConfig) -> Lineage:
    """Return the lineage of a run that is only read; its experts are files by now."""
    return lineage_of(ledger.children(), ledger.genomes(), run, config)


def lineage_of(
    rows: Sequence[ChildRow],
    others: Mapping[str, str],
    run: RunDirectory,
    config: RunConfig,
) -> Lineage:
    """Return the lineage of what was read of a run's ledger; see :class:`Lineage`."""
    settings = config.search.settings(config.merge_gains)
    paths = Lineage(rows, others, run, Breeder({}, settings, config.seed))
    experts = {
        skill: LazyCores(partial(load_genome, paths.path(expert_member(skill, {}).id)))
        for skill in config.skills
    }
    return Lineage(rows, others, run, Breeder(experts, settings, config.seed))


class LazyCores(Mapping[str, np.ndarray]):
    """Cores that are read or derived when somebody looks at them."""

    def __init__(self, load: Callable[[], Cores]) -> None:
        self._load = load

    @cached_property
    def _cores(self) -> Cores:
        return self._load()

    def __getitem__(self, module: str) -> np.ndarray:
        return self._cores[module]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cores)

    def __len__(self) -> int:
        return len(self._cores)


def recorded_child(row: ChildRow, cores: Cores) -> Proposal:
    """Return the proposal that a ledger's row was made from."""
    member = Member(row.member, cores)
    return Proposal(row.index, member, row.parents, row.task, row.recipe)
