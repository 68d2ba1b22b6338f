"""What a run cost: tokens, seconds by stage, how busy the engines were, money."""

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass

from lora_qd.records import Split, StageSeconds, Usage
from lora_qd.runs.measure_config import EngineConfig
from lora_qd.store.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUse:
    """What the engines of a run were used for, over all its sessions."""

    engine_s: float
    """Seconds that engines were up, summed over them."""
    busy_share: float
    """Of these, the share with a request in flight."""
    num_restarts: int
    money: float | None
    """In the currency of the price; None without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs(EngineUse):
    """Totals over all sessions of a run."""

    num_evaluations: int
    """Candidates scored on a split, the bare base among them."""
    num_prompt_tokens: int
    num_tokens: int
    """Generated tokens."""
    stages: StageSeconds
    """Wall time by stage, summed over the evaluations, which overlap."""
    num_left: int = 0
    """Samples that children were not asked, since no archive could take them."""
    num_tokens_left: int = 0
    """About what they would have generated, at the mean of the samples asked."""

    def sentences(self) -> list[str]:
        """Return the totals for a reader, one line each."""
        n = max(self.num_evaluations, 1)
        stages = ", ".join(
            f"{name} {seconds / n:.2f} s"
            for name, seconds in zip(
                StageSeconds.__slots__, astuple(self.stages), strict=True
            )
        )
        restarts = f", {self.num_restarts} restarts" if self.num_restarts else ""
        lines = [
            f"{self.num_evaluations} evaluations: {self.num_prompt_tokens:,} prompt "
            f"tokens, {self.num_tokens:,} generated",
            f"An evaluation on average: {stages}",
            f"Engines: busy {self.busy_share:.0%} of {self.engine_s / 60:.1f} "
            f"minutes{restarts}",
        ]
        if self.num_left:
            whole = max(self.num_tokens + self.num_tokens_left, 1)
            lines.append(
                f"Left out: {self.num_left:,} samples of children that no archive "
                f"could take, about {self.num_tokens_left:,} generated tokens "
                f"({self.num_tokens_left / whole:.0%} of all)"
            )
        if self.money is not None:
            lines.append(f"Money: {self.money:.2f}")
        return lines


def run_costs(ledger: Ledger, engine: EngineConfig) -> Costs:
    """Return the costs of the run that ``ledger`` records, up to now."""
    costs, num_left = ledger.costs(), ledger.num_left
    asked = ledger.num_asked(Split.SEARCH)
    num_searched = sum(c.num_tokens for c in costs if c.split is Split.SEARCH)
    use = engine_use(ledger.sessions(), engine)
    totals = [
        sum(column) for column in zip(*(astuple(c.stages) for c in costs), strict=True)
    ]
    return Costs(
        num_evaluations=len(costs),
        num_prompt_tokens=sum(c.num_prompt_tokens for c in costs),
        num_tokens=sum(c.num_tokens for c in costs),
        stages=StageSeconds(*totals),
        num_left=num_left,
        num_tokens_left=round(num_left * num_searched / max(asked, 1)),
        **asdict(use),
    )


def engine_use(sessions: Sequence[Usage], engine: EngineConfig) -> EngineUse:
    """Return what all sessions of a run used of its engines."""
    engine_s = sum(s.seconds * s.num_engines for s in sessions)
    busy_s = sum(s.busy_s for s in sessions)
    return EngineUse(
        engine_s=engine_s,
        busy_share=busy_s / engine_s if engine_s else 0.0,
        num_restarts=sum(s.num_restarts for s in sessions),
        money=_money(engine_s, engine),
    )


def spent(usage: Usage, engine: EngineConfig) -> float | None:
    """Return the money that a session has cost so far; None without a price."""
    return _money(usage.seconds * usage.num_engines, engine)


def _money(engine_s: float, engine: EngineConfig) -> float | None:
    if engine.price_per_hour is None:
        return None
    return engine_s / 3600 * engine.gpus_per_server * engine.price_per_hour
