"""Proof that adapters are applied: several serving stacks ignored them in silence."""

import math
from collections.abc import Mapping, Sequence

from lora_qd.engines.engine import ProbedEngine
from lora_qd.errors import EngineError
from lora_qd.records import Member, Request

_Probe = Sequence[Mapping[str, float]]


async def check_effect(
    engine: ProbedEngine, members: Sequence[Member], requests: Sequence[Request]
) -> None:
    """Check that every member changes what the base predicts.

    The texts are not enough, since a small adapter may leave them as they are. What is
    compared is the log-probabilities of the likeliest first tokens; a member must be
    farther from the base than the base is from itself when asked twice.

    Args:
        engine: the members are added to it one by one, and removed.
        members: each must change the predictions, usually the experts.
        requests: a handful.

    Raises:
        ValueError: there is no request.
        EngineError: names the first member without effect.
    """
    if not requests:
        raise ValueError("expected canary requests, but got none")
    base = await engine.probe(None, requests)
    noise = probe_distance(base, await engine.probe(None, requests))
    for member in members:
        await engine.add(member)
        try:
            change = probe_distance(base, await engine.probe(member, requests))
        finally:
            await engine.remove(member)
        if change <= noise:
            raise EngineError(
                f"expected adapter {member.id!r} to change the base's predictions, but "
                f"on {len(requests)} requests the largest change of a log-probability "
                f"is {change:.2g} (noise: {noise:.2g}); check that its factors are not "
                "zero and that it was trained on this base"
            )


def probe_distance(left: _Probe, right: _Probe) -> float:
    """Return the largest difference of a log-probability over all requests.

    Infinite where the two list different tokens.
    """
    differences = [0.0]
    for a, b in zip(left, right, strict=True):
        if a.keys() != b.keys():
            return math.inf
        differences += [abs(a[token] - b[token]) for token in a]
    return max(differences)
