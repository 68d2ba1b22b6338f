import asyncio

import pytest

from lora_qd.evaluation.turns import Turns


def run(scenario):
    return asyncio.run(scenario())


def test_no_more_turns_are_given_than_there_are():
    async def scenario():
        turns, now, most = Turns(3), 0, 0

        async def take(order):
            nonlocal now, most
            await turns.take(order)
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1
            turns.give_back()

        await asyncio.gather(*map(take, range(20)))
        return most

    assert run(scenario) == 3


def test_of_those_who_wait_the_first_born_goes_first():
    async def scenario():
        turns, went = Turns(1), []

        async def take(order):
            await turns.take(order)
            went.append(order)
            turns.give_back()

        await turns.take(0)
        jobs = [asyncio.create_task(take(order)) for order in (5, 2, 9, 1)]
        await asyncio.sleep(0)
        turns.give_back()
        await asyncio.gather(*jobs)
        return went

    assert run(scenario) == [1, 2, 5, 9]


@pytest.mark.parametrize("is_granted_at_once", [False, True])
def test_who_gives_up_waiting_costs_no_turn(is_granted_at_once):
    async def scenario():
        turns = Turns(1)
        await turns.take(0)
        job = asyncio.create_task(turns.take(1))
        await asyncio.sleep(0)
        if is_granted_at_once:
            turns.give_back()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        if not is_granted_at_once:
            turns.give_back()
        await asyncio.wait_for(turns.take(2), 1)
        return turns._num_free

    assert run(scenario) == 0
