"""CycleQD (arXiv 2410.14735) on cores: one archive per task, the objective rotates.

1. The experts and a sweep of static merges are scored and offered to all archives.
2. Generation t works on archive ``t mod K``: elites, crossover, tilt, mutation.
3. Every child is offered to all K archives.

Not done here: scoring, storage, and the decision how many children are in flight.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator, SeedSequence

from lora_qd.archive import AddStatus, Elite, GridArchive, axes_from_experts
from lora_qd.factors import weighted_sum
from lora_qd.records import Cores, Member, Proposal, Scores
from lora_qd.search.settings import CycleQDSettings
from lora_qd.variation import (
    crossover,
    mutate,
    sample_elites,
    tilt,
)

EXPERT_PREFIX = "expert-"
MERGE_PREFIX = "merge-"


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
        self.seed = seed
        self.archives: dict[str, GridArchive] = {}
        """By task; empty until every expert's scores are told."""
        self.cores_by_id: dict[str, Cores] = {}
        """Cores of every member that is an elite somewhere."""
        self._experts = dict(experts)
        self._expert_scores: dict[str, Scores] = {}
        self._num_asked = 0
        self._generation = 0

    @property
    def num_seeds(self) -> int:
        """Proposals of the first batch."""
        return len(self.tasks) + len(self.settings.static_gains)

    def ask(self, n: int) -> list[Proposal]:
        """Return ``n`` children of one generation; the first call returns the seeds.

        Raises:
            ValueError: ``n`` is below 1, or a child is asked for before the experts
                are told.
        """
        if n < 1:
            raise ValueError(f"expected at least 1 child, but got n = {n}")
        if self._num_asked == 0:
            self._num_asked = self.num_seeds
            return self._seeds()
        if not self.archives:
            raise ValueError("expected the seeds' scores first; tell them, then ask")
        task = self.tasks[self._generation % len(self.tasks)]
        children = [self._breed(self._num_asked + i, task) for i in range(n)]
        self._generation += 1
        self._num_asked += n
        return children

    def tell(self, child: Proposal, scores: Scores) -> dict[str, AddStatus]:
        """Offer ``child`` to all archives; return what each did, by task.

        Experts are kept back until the last of them is told, since their scores set
        the axes; the last one's answer stands for itself alone.
        """
        if child.index >= len(self.tasks):
            return self._offer(child.member, scores)
        self._expert_scores[self.tasks[child.index]] = scores
        if len(self._expert_scores) < len(self.tasks):
            return dict.fromkeys(self.tasks, AddStatus.NOT_ADDED)
        self._open_archives()
        statuses = {}
        for task in self.tasks:
            expert = expert_member(task, self._experts[task])
            statuses = self._offer(expert, self._expert_scores[task])
        return statuses

    def elite_ids(self) -> set[str]:
        """Return the ids of the members that hold a cell in some archive."""
        return {e.id for a in self.archives.values() for e in a.elites}

    def _seeds(self) -> list[Proposal]:
        members = [expert_member(task, c) for task, c in self._experts.items()]
        experts = list(self._experts.values())
        members += [static_merge(experts, g) for g in self.settings.static_gains]
        return [
            Proposal(i, member, parents=(), task="", recipe={"seed": member.id})
            for i, member in enumerate(members)
        ]

    def _open_archives(self) -> None:
        axes = axes_from_experts(
            self._expert_scores, self.tasks, num_cells=self.settings.num_cells
        )
        for task in self.tasks:
            measures = [axes[other] for other in self.tasks if other != task]
            self.archives[task] = GridArchive(task, measures)

    def _offer(self, member: Member, scores: Scores) -> dict[str, AddStatus]:
        statuses = {t: a.add(member.id, scores) for t, a in self.archives.items()}
        if any(statuses.values()):
            self.cores_by_id[member.id] = member.cores
            elites = self.elite_ids()
            self.cores_by_id = {
                id_: cores for id_, cores in self.cores_by_id.items() if id_ in elites
            }
        return statuses

    def _breed(self, index: int, task: str) -> Proposal:
        """Return child ``index``, bred in the archive of ``task``."""
        s = self.settings
        rng = np.random.default_rng(SeedSequence(self.seed, spawn_key=(index,)))
        parents = self._parents(task, rng)
        crossing = crossover([self.cores_by_id[p.id] for p in parents], rng, s.crossing)
        exponent = float(np.exp(rng.normal(0.0, s.tilt_sigma)))
        tilted = tilt(crossing.cores, exponent) if s.tilt_sigma else crossing.cores
        cores = mutate(tilted, self._experts[task], rng, form=s.mutation, w_max=s.w_max)
        recipe: dict[str, Any] = {
            "shares": crossing.shares,
            "gain": crossing.gain,
            "tilt": exponent,
            "crossover": s.crossing.method,
            "granularity": s.crossing.granularity.value,
            "mutation": s.mutation.value,
        }
        member = Member(f"{index:05d}-{content_hash(cores)[:12]}", cores)
        ids = tuple(parent.id for parent in parents)
        return Proposal(index, member, ids, task, recipe)

    def _parents(self, task: str, rng: Generator) -> tuple[Elite, ...]:
        s = self.settings
        return sample_elites(
            self.archives[task].elites,
            rng,
            s.selection,
            num=s.parents,
            a_low=s.a_low,
            a_high=s.a_high,
        )


def expert_member(task: str, cores: Cores) -> Member:
    """Return the expert of ``task`` as a member."""
    return Member(f"{EXPERT_PREFIX}{task}", cores)


def static_merge(experts: Sequence[Cores], gain: float) -> Member:
    """Return task arithmetic (Ilharco et al. 2023): ``gain * sum_e C_e``."""
    merged = weighted_sum(experts, [gain] * len(experts))
    return Member(f"{MERGE_PREFIX}{gain:g}", merged)


def content_hash(cores: Cores) -> str:
    """Return the SHA-256 of the cores' names, shapes and bytes, as hex."""
    digest = hashlib.sha256()
    for module in sorted(cores):
        core = np.ascontiguousarray(cores[module])
        digest.update(f"{module}{core.shape}{core.dtype}".encode())
        digest.update(core.tobytes())
    return digest.hexdigest()
