import asyncio

import pytest

from lora_qd.engines import check_effect
from lora_qd.errors import EngineError
from tests.engines.members import ask, noise_member


class Forecaster:
    """An engine whose predictions are given by member name; the base drifts."""

    def __init__(self, forecasts, *, drift=0.0):
        self.added = []
        self._forecasts = forecasts
        self._drift = drift
        self._asked = 0

    async def add(self, member):
        self.added.append(member.id)

    async def remove(self, member):
        self.added.remove(member.id)

    async def probe(self, member, requests):
        if member is not None:
            assert self.added == [member.id]
            return [self._forecasts[member.id]] * len(requests)
        self._asked += 1
        return [{"yes": -0.5 + self._drift * self._asked}] * len(requests)


def check(forecast, **options):
    engine = Forecaster({"a": {"yes": -0.25}, "b": forecast}, **options)
    members = [noise_member(1, name="a"), noise_member(2, name="b")]
    try:
        asyncio.run(check_effect(engine, members, ask("x", "y")))
    finally:
        assert engine.added == []


def test_any_change_of_a_prediction_is_an_effect():
    check({"yes": -0.5 + 1e-6})


def test_another_token_is_an_effect():
    check({"no": -0.5})


def test_an_adapter_without_effect_is_named():
    with pytest.raises(EngineError, match="adapter 'b' to change the base's pred"):
        check({"yes": -0.5})


def test_a_change_within_the_base_s_own_noise_is_no_effect():
    with pytest.raises(EngineError, match="noise: 0.1"):
        check({"yes": -0.45}, drift=0.1)


def test_a_check_without_requests_is_refused():
    with pytest.raises(ValueError, match="expected canary requests"):
        asyncio.run(check_effect(Forecaster({}), [], []))
