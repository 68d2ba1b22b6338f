"""After the search: choose on validation, report on test.

The best static merge and the best bred member are chosen on the validation split, the
aggregate's weights come from it, and the untouched test split is read once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_qd.evaluation import Evaluator
from lora_qd.factors import content_hash
from lora_qd.records import Member, Scores, Split
from lora_qd.runs.results import Row, row
from lora_qd.runs.session import Session
from lora_qd.search import CycleQD
from lora_qd.search.breeding import static_merge
from lora_qd.store.ledger import Ledger, best_first, mean
from lora_qd.variation import aggregate

BASE = "base"
AGGREGATE = "aggregate"
BALANCED = "balanced"


@dataclass(frozen=True, slots=True, eq=False)
class Finals:
    """Scores finalists and remembers them in the ledger."""

    searcher: CycleQD
    session: Session
    ledger: Ledger
    serve_rank: int
    skills: tuple[str, ...]

    async def best_merge(self, gains: Sequence[float]) -> Member:
        """Return the static merge that is best on validation."""
        experts = list(self.session.experts.values())
        return await self._best([static_merge(experts, gain) for gain in gains])

    async def best_bred(self, num_finalists: int) -> Member | None:
        """Return the bred elite that is best on validation; None if none was bred.

        Only the ``num_finalists`` best by mean search score are scored.
        """
        elites = self.searcher.elite_ids()
        rows = [r for r in self.ledger.children() if r.parents and r.member in elites]
        finalists = [
            Member(r.member, self.searcher.cores_by_id[r.member])
            for r in best_first(rows)[:num_finalists]
        ]
        return await self._best(finalists) if finalists else None

    def best_elites(self) -> dict[str, Member]:
        """Return each archive's elite of highest objective, by task."""
        best = {}
        for task, archive in self.searcher.archives.items():
            elite = archive.best.id
            best[task] = Member(elite, self.searcher.cores_by_id[elite])
        return best

    async def aggregate(self, elites: dict[str, Member]) -> Member:
        """Return the softmax-weighted sum of ``elites``, weighed on validation."""
        distinct = {member.id: member for member in elites.values()}
        scores = dict(zip(distinct, await self._validate_all(distinct), strict=True))
        weights = [scores[member.id][task] for task, member in elites.items()]
        cores = aggregate(
            [member.cores for member in elites.values()],
            weights,
            keep_norm=self.searcher.settings.crossing.keep_norm,
        )
        # Named by its content: a run that is extended gets another one.
        return Member(f"{AGGREGATE}-{content_hash(cores)[:12]}", cores)

    async def test(self, name: str, member: Member | None, tasks: Sequence[str]) -> Row:
        """Score ``member`` (``None``: the base) on test, once, skill by skill."""
        id_ = BASE if member is None else member.id
        values = self.ledger.values(id_, Split.TEST)
        if not values:
            evaluation = await self._evaluator.evaluate(member, Split.TEST, tasks)
            self.ledger.commit_outcomes(id_, Split.TEST, evaluation)
            values = self.ledger.values(id_, Split.TEST)
        return row(name, id_, values, self.skills, dropped_energy=self._dropped(member))

    @property
    def _evaluator(self) -> Evaluator:
        return self.session.evaluator

    async def _best(self, members: Sequence[Member]) -> Member:
        by_id = {member.id: member for member in members}
        means = [mean(scores) for scores in await self._validate_all(by_id)]
        return members[means.index(max(means))]

    async def _validate_all(self, members: Mapping[str, Member]) -> list[Scores]:
        return list(await asyncio.gather(*map(self._validate, members.values())))

    async def _validate(self, member: Member) -> Scores:
        known = self.ledger.scores(member.id, Split.VALIDATION)
        if known:
            return known
        evaluation = await self._evaluator.evaluate(
            member, Split.VALIDATION, self.skills
        )
        self.ledger.commit_outcomes(member.id, Split.VALIDATION, evaluation)
        return evaluation.scores

    def _dropped(self, member: Member | None) -> float:
        if member is None:
            return 0.0
        space = self.session.space
        return space.materialise(member.cores, rank=self.serve_rank).dropped_energy
