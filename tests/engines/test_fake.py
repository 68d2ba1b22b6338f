import asyncio

import pytest

from lora_qd.engines import FakeEngine
from lora_qd.errors import EngineError
from tests.engines.members import ask, noise_member


def test_an_unknown_prompt_is_an_error():
    engine = FakeEngine({"a": "b"})
    with pytest.raises(EngineError, match="1 known prompts, but got 'c'"):
        asyncio.run(engine.generate(None, ask("c")))


def test_it_remembers_who_was_asked_what():
    engine = FakeEngine({"a": "b"})
    member = noise_member(1)

    async def scenario():
        await engine.add(member)
        await engine.generate(member, ask("a"))
        await engine.generate(None, ask("a"))

    asyncio.run(scenario())
    assert engine.requests == [("noise-1", *ask("a")), (None, *ask("a"))]


def finished_first(seed):
    """Return the order in which ten concurrent requests are answered."""
    engine = FakeEngine(lambda member, request: "x", shuffle=seed)
    order = []

    async def one(n):
        await engine.generate(None, ask(str(n)))
        order.append(n)

    async def scenario():
        await asyncio.gather(*(one(n) for n in range(10)))

    asyncio.run(scenario())
    return order


def test_shuffled_completions_arrive_in_another_order_that_the_seed_fixes():
    assert finished_first(1) == finished_first(1)
    assert finished_first(1) != finished_first(2)
    assert sorted(finished_first(1)) == list(range(10))
