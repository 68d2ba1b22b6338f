"""How seeds are made and children are bred; nothing here chooses among elites.

Child i draws everything from one generator of seed and i. Its recipe keeps where that
generator stood once the parents were chosen, so that the child is bred again, bit by
bit, from its parents alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence

from lora_qd.errors import StoreError
from lora_qd.factors import content_hash, weighted_sum
from lora_qd.records import Cores, Member, Proposal
from lora_qd.search.settings import CycleQDSettings
from lora_qd.variation import crossover, mutate, tilt

EXPERT_PREFIX = "expert-"
MERGE_PREFIX = "merge-"


@dataclass(frozen=True, slots=True, eq=False)
class Breeder:
    """What breeding needs besides the parents."""

    experts: Mapping[str, Cores]
    """By task."""
    settings: CycleQDSettings
    seed: int

    def seeds(self) -> list[Proposal]:
        """Return the experts, then the static merges."""
        members = [expert_member(task, c) for task, c in self.experts.items()]
        experts = list(self.experts.values())
        members += [static_merge(experts, g) for g in self.settings.static_gains]
        return [
            Proposal(i, member, parents=(), task="", recipe={"seed": member.id})
            for i, member in enumerate(members)
        ]

    def generator(self, index: int) -> Generator:
        """Return the source of all draws of child ``index``."""
        return Generator(PCG64(SeedSequence(self.seed, spawn_key=(index,))))

    def breed(
        self, index: int, task: str, parents: Sequence[Member], rng: Generator
    ) -> Proposal:
        """Return child ``index`` of ``parents``, bred in the archive of ``task``.

        Args:
            index: of the child.
            task: whose archive it is bred in.
            parents: in the order drawn.
            rng: the child's generator, after the draw of the parents.
        """
        state = position_of(rng)
        cores, genes = self._vary(task, [parent.cores for parent in parents], rng)
        member = Member(f"{index:05d}-{content_hash(cores)[:12]}", cores)
        ids = tuple(parent.id for parent in parents)
        return Proposal(index, member, ids, task, {**genes, "rng": state})

    def derive(self, child: Proposal, parents: Sequence[Cores]) -> Cores:
        """Return the cores of a child whose recipe is known, bit by bit.

        Args:
            child: its own cores are not read.
            parents: in the order drawn.

        Raises:
            StoreError: the recipe does not tell where the generator stood.
        """
        if "rng" not in child.recipe:
            raise StoreError(
                "expected the generator's position in the recipe of member "
                f"{child.member.id}, but the first versions kept none; restore its "
                "file from a copy"
            )
        rng = self.generator(child.index)
        _restore(rng, child.recipe["rng"])
        return self._vary(child.task, parents, rng)[0]

    def _vary(
        self, task: str, parents: Sequence[Cores], rng: Generator
    ) -> tuple[Cores, dict[str, Any]]:
        s = self.settings
        crossing = crossover(parents, rng, s.crossing)
        exponent = float(np.exp(rng.normal(0.0, s.tilt_sigma)))
        tilted = tilt(crossing.cores, exponent) if s.tilt_sigma else crossing.cores
        cores = mutate(tilted, self.experts[task], rng, form=s.mutation, w_max=s.w_max)
        genes: dict[str, Any] = {
            "shares": crossing.shares,
            "gain": crossing.gain,
            "tilt": exponent,
            "crossover": s.crossing.method,
            "granularity": s.crossing.granularity.value,
            "mutation": s.mutation.value,
        }
        return cores, genes


def expert_member(task: str, cores: Cores) -> Member:
    """Return the expert of ``task`` as a member."""
    return Member(f"{EXPERT_PREFIX}{task}", cores)


def static_merge(experts: Sequence[Cores], gain: float) -> Member:
    """Return task arithmetic (Ilharco et al. 2023): ``gain * sum_e C_e``."""
    merged = weighted_sum(experts, [gain] * len(experts))
    return Member(f"{MERGE_PREFIX}{gain:g}", merged)


def position_of(rng: Generator) -> str:
    """Return the generator's position in hex; nothing else of its state varies.

    Choosing parents draws whole 64-bit words, so no half of one is left over.
    """
    return f"{rng.bit_generator.state['state']['state']:x}"


def _restore(rng: Generator, position: str) -> None:
    state = rng.bit_generator.state
    state["state"]["state"] = int(position, 16)
    rng.bit_generator.state = state
