import asyncio

from lora_qd.engines.gate import Gate


def test_two_sides_are_never_inside_together():
    inside = []
    seen = set()

    async def visit(gate, side):
        async with gate.enter(side):
            inside.append(side)
            seen.add(frozenset(inside))
            await asyncio.sleep(0)
            inside.remove(side)

    async def scenario():
        gate = Gate()
        sides = ["base", "adapters", "adapters", "base", "base", "adapters"] * 5
        await asyncio.gather(*(visit(gate, side) for side in sides))

    asyncio.run(scenario())
    assert seen == {frozenset({"base"}), frozenset({"adapters"})}


def test_one_side_shares_the_gate():
    async def scenario():
        gate = Gate()
        async with gate.enter("adapters"), asyncio.timeout(5), gate.enter("adapters"):
            return True

    assert asyncio.run(scenario())


def test_newcomers_queue_behind_the_other_side():
    order = []

    async def visit(gate, name, side):
        async with gate.enter(side):
            order.append(name)
            await asyncio.sleep(0.01)

    async def scenario():
        gate = Gate()
        await asyncio.gather(
            visit(gate, "first", "adapters"),
            visit(gate, "base", "base"),
            visit(gate, "late", "adapters"),
        )

    asyncio.run(scenario())
    assert order == ["first", "base", "late"]


def test_a_visitor_that_gives_up_leaves_the_way_free():
    async def scenario():
        gate = Gate()
        async with gate.enter("adapters"):
            waiting = asyncio.create_task(gate.enter("base").__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            async with asyncio.timeout(5), gate.enter("adapters"):
                return True

    assert asyncio.run(scenario())


def test_a_visitor_cancelled_as_it_is_let_in_leaves_the_gate_empty():
    async def visit(gate):
        async with gate.enter("base"):
            pass

    async def scenario():
        gate = Gate()
        async with gate.enter("adapters"):
            waiting = asyncio.create_task(visit(gate))
            await asyncio.sleep(0)
        waiting.cancel()  # let in, but it has not run since
        async with asyncio.timeout(5), gate.enter("adapters"):
            return True

    assert asyncio.run(scenario())
