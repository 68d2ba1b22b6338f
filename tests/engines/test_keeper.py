"""A server that dies, hangs or grows: nothing is lost, nothing is half answered."""

import asyncio
import random
import shutil

import pytest

from lora_qd.engines import VllmEngine, keeper
from lora_qd.errors import EngineError, EngineLostError
from tests.engines.members import NoiseWriter, ask, noise_member
from tests.fakes.vllm_double import VllmDouble
from tests.tiny_base import server_settings

PROMPTS = [f"question {n}" for n in range(40)]
MEMBERS = [noise_member(seed) for seed in range(6)]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(keeper, "_PAUSES_S", (0.0, 0.0, 0.0))


@pytest.fixture
def double(tiny_base, tmp_path):
    def make(*, seconds=0.0, **settings):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        root.mkdir()
        return VllmDouble(server_settings(tiny_base, **settings), root, seconds=seconds)

    return make


def run(server, scenario):
    async def main():
        async with VllmEngine(server, NoiseWriter()) as engine:
            return await scenario(engine)

    return asyncio.run(main())


async def answers(engine, member):
    await engine.add(member)
    try:
        return [c.text for c in await engine.generate(member, ask(*PROMPTS))]
    finally:
        await engine.remove(member)


async def all_answers(engine):
    return await asyncio.gather(*(answers(engine, m) for m in MEMBERS))


def test_answers_are_the_same_however_often_the_server_dies(double):
    undisturbed = run(double(), all_answers)
    server = double(seconds=0.02)
    rng = random.Random(3)

    async def scenario(engine):
        job = asyncio.create_task(all_answers(engine))
        for _ in range(4):
            while not server.num_under_way and not job.done():
                await asyncio.sleep(0.001)
            await asyncio.sleep(rng.uniform(0, 0.01))
            server.kill()
        return await job, engine.num_restarts

    disturbed, num_restarts = run(server, scenario)
    assert disturbed == undisturbed
    assert len(set(map(tuple, disturbed))) == len(MEMBERS)
    assert server.num_starts - 1 >= num_restarts >= 2


def test_all_that_notice_the_loss_share_one_restart(double):
    server = double(seconds=0.5)

    async def scenario(engine):
        job = asyncio.create_task(all_answers(engine))
        while server.num_under_way < 2:
            await asyncio.sleep(0.001)
        server.kill()
        await job
        return engine.num_restarts

    assert run(server, scenario) == 1


def test_a_server_that_hangs_is_started_again(double):
    server = double()

    async def scenario(engine):
        await engine.add(MEMBERS[0])
        before = await engine.generate(MEMBERS[0], ask("x"))
        server.hang()
        return before, await engine.generate(MEMBERS[0], ask("x"))

    before, after = run(server, scenario)
    assert before == after
    assert server.num_starts == 2


def test_a_server_that_dies_while_nobody_asks_is_started_for_the_next(double):
    server = double()

    async def scenario(engine):
        await engine.add(MEMBERS[0])
        server.kill()
        await engine.add(MEMBERS[1])
        return await engine.generate(MEMBERS[0], ask("x"))

    assert run(server, scenario)
    assert server.num_starts == 2


def test_an_adapter_whose_directory_went_with_a_lost_server_is_written_again(double):
    server = double()
    load = server._load

    def too_late(name, path):
        """Find nothing: others noticed the loss first and have a fresh directory."""
        if server.num_starts == 1:
            shutil.rmtree(server.adapters)
        return load(name, path)

    server._load = too_late

    async def scenario(engine):
        await engine.add(MEMBERS[0])
        return await engine.generate(MEMBERS[0], ask("x"))

    assert run(server, scenario)
    assert server.num_starts == 2


def test_a_start_that_fails_is_tried_again(double):
    server = double()

    async def scenario(engine):
        server.kill()
        server.num_failing_starts = 2
        return await engine.generate(None, ask("x"))

    assert run(server, scenario)


def test_an_engine_that_does_not_come_back_is_lost_for_everybody(double):
    server = double(seconds=0.2)

    async def scenario(engine):
        await engine.add(MEMBERS[0])
        jobs = [
            asyncio.create_task(engine.generate(m, ask("x")))
            for m in (None, *MEMBERS[:1])
        ]
        while not server.num_under_way:
            await asyncio.sleep(0.001)
        server.num_failing_starts = 99
        server.kill()
        errors = await asyncio.gather(*jobs, return_exceptions=True)
        with pytest.raises(EngineLostError, match="come back, but 3 attempts failed"):
            await engine.generate(None, ask("x"))
        return errors

    assert all(isinstance(e, EngineLostError) for e in run(server, scenario))


def test_what_kills_the_server_every_time_is_an_error_not_a_loop(double):
    server = double()

    async def scenario(engine):
        prompt = engine._encode(ask("deadly")[0])
        server.deadly = str(prompt.ids[5])
        await engine.generate(None, ask("deadly"))

    with pytest.raises(EngineError, match="lost 5 times while it answered the same"):
        run(server, scenario)


def test_a_server_is_recycled_after_so_many_adapters_and_loses_nothing(double):
    undisturbed = run(double(), all_answers)
    server = double(seconds=0.01, recycle_after=2)

    async def scenario(engine):
        return await all_answers(engine), engine.num_restarts

    recycled, num_restarts = run(server, scenario)
    assert recycled == undisturbed
    assert 2 <= num_restarts <= 5


def test_a_recycled_server_has_no_request_under_way(double):
    server = double(seconds=0.03, recycle_after=1)
    stops = []
    stop = server.stop

    def counting_stop():
        stops.append(server.num_under_way)
        stop()

    server.stop = counting_stop
    run(server, all_answers)
    assert stops
    assert not any(stops)


def test_closing_the_engine_while_its_server_is_away_ends_at_once(double):
    server = double()

    async def scenario(engine):
        server.kill()
        server.num_failing_starts = 1
        job = asyncio.create_task(engine.generate(None, ask("x")))
        await asyncio.sleep(0)
        job.cancel()
        return job

    assert run(server, scenario).cancelled()
    assert server.num_starts == 1


def test_closing_the_engine_starts_no_server_that_is_gone(double):
    server = double()

    async def scenario(engine):
        await engine.add(MEMBERS[0])
        server.kill()

    run(server, scenario)
    assert server.num_starts == 1


def test_closing_the_engine_does_not_wait_for_a_server_that_hangs(double, monkeypatch):
    monkeypatch.setattr(keeper, "_PATIENCE_S", 0.05)
    server = double()

    async def scenario(engine):
        await engine.add(MEMBERS[0])
        server._answer = lambda *_: asyncio.sleep(3600)

    run(server, scenario)
    assert server.num_starts == 1


def test_no_file_stays_after_restarts(double):
    server = double(seconds=0.01, recycle_after=2)
    run(server, all_answers)
    assert list(server.adapters.iterdir()) == []


def test_a_full_disk_is_told_from_a_lost_server(double):
    server = double()

    class FullDisk(NoiseWriter):
        def __call__(self, member, directory):
            raise OSError(28, "No space left on device")

    async def scenario():
        async with VllmEngine(server, FullDisk()) as engine:
            await engine.add(MEMBERS[0])

    with pytest.raises(EngineError, match="No space left on device; free space there"):
        asyncio.run(scenario())
    assert server.num_starts == 1
