import asyncio

import pytest

from lora_qd.engines.batcher import Batcher


class Doubler:
    """Doubles numbers and remembers the lists it was sent."""

    def __init__(self, *, fails=False):
        self.calls = []
        self.num_under_way = 0
        self.most_under_way = 0
        self._fails = fails

    async def __call__(self, key, items):
        self.calls.append((key, list(items)))
        self.num_under_way += 1
        self.most_under_way = max(self.most_under_way, self.num_under_way)
        await asyncio.sleep(0.01)
        self.num_under_way -= 1
        if self._fails:
            raise RuntimeError("the server is gone")
        return [2 * item for item in items]


def submit_all(doubler, pairs, *, max_batch=64, max_in_flight=8):
    async def scenario():
        batcher = Batcher(doubler, max_batch=max_batch, max_in_flight=max_in_flight)
        return await asyncio.gather(*(batcher.submit(k, i) for k, i in pairs))

    return asyncio.run(scenario())


def test_each_caller_receives_the_result_of_its_own_item():
    pairs = [("ab"[n % 2], n) for n in range(100)]
    assert submit_all(Doubler(), pairs, max_batch=7) == [2 * n for n in range(100)]


def test_what_arrives_together_travels_in_one_list():
    doubler = Doubler()
    submit_all(doubler, [("a", n) for n in range(50)])
    assert doubler.calls == [("a", list(range(50)))]


def test_different_keys_never_share_a_list():
    doubler = Doubler()
    submit_all(doubler, [("ab"[n % 2], n) for n in range(6)])
    assert sorted(doubler.calls) == [("a", [0, 2, 4]), ("b", [1, 3, 5])]


def test_no_list_is_longer_than_max_batch():
    doubler = Doubler()
    submit_all(doubler, [("a", n) for n in range(10)], max_batch=4)
    assert [len(items) for _, items in doubler.calls] == [4, 4, 2]


def test_no_more_lists_are_under_way_than_max_in_flight():
    doubler = Doubler()
    submit_all(doubler, [("a", n) for n in range(20)], max_batch=2, max_in_flight=3)
    assert doubler.most_under_way == 3


def test_an_error_reaches_every_caller_of_the_list():
    async def scenario():
        batcher = Batcher(Doubler(fails=True), max_batch=8, max_in_flight=1)
        jobs = [batcher.submit("a", n) for n in range(3)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    assert [str(error) for error in asyncio.run(scenario())] == [
        "the server is gone"
    ] * 3


def test_too_few_results_are_an_error():
    async def send(key, items):
        return items[1:]

    with pytest.raises(ValueError, match="shorter"):
        submit_all(send, [("a", 1), ("a", 2)])


def test_a_caller_that_gives_up_does_not_disturb_the_others():
    async def scenario():
        doubler = Doubler()
        batcher = Batcher(doubler, max_batch=8, max_in_flight=1)
        jobs = [asyncio.create_task(batcher.submit("a", n)) for n in range(3)]
        await asyncio.sleep(0)
        jobs[1].cancel()
        results = await asyncio.gather(*jobs, return_exceptions=True)
        return doubler.calls, results

    calls, (first, second, third) = asyncio.run(scenario())
    assert calls == [("a", [0, 2])]
    assert (first, third) == (0, 4)
    assert isinstance(second, asyncio.CancelledError)


def test_closing_cancels_those_who_wait():
    async def scenario():
        batcher = Batcher(Doubler(), max_batch=1, max_in_flight=1)
        sent = [asyncio.create_task(batcher.submit("a", n)) for n in range(2)]
        await asyncio.sleep(0.005)
        new = asyncio.create_task(batcher.submit("b", 1))
        await asyncio.sleep(0)
        await batcher.close()
        return await asyncio.gather(*sent, new, return_exceptions=True)

    results = asyncio.run(scenario())
    assert [type(result) for result in results] == [asyncio.CancelledError] * 3
