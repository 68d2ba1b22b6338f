"""What only the vLLM engine does: files, shared loads, refusals, giving up."""

import asyncio
import json
import os

import pytest

from lora_qd.engines import VllmEngine, VllmServer
from lora_qd.errors import EngineError, InputError
from tests.engines.members import NoiseWriter, ask, noise_member
from tests.tiny_base import MODULES, server_settings

REFUSED = {"use_dora": True}
"""A PEFT option that vLLM does not know."""

pytestmark = pytest.mark.slow


def run(server, scenario, **writer):
    async def main():
        async with VllmEngine(server, NoiseWriter(**writer)) as engine:
            return await scenario(engine)

    return asyncio.run(main())


def adapters_on_disk(server):
    return list(server.adapters.rglob("adapter_model.safetensors"))


def test_an_adapter_s_files_live_as_long_as_the_member(vllm_server):
    async def scenario(engine):
        await engine.add(noise_member(1))
        assert len(adapters_on_disk(vllm_server)) == 1
        await engine.remove(noise_member(1))
        assert list(vllm_server.adapters.iterdir()) == []

    run(vllm_server, scenario)


def test_closing_the_engine_leaves_no_files(vllm_server):
    async def scenario(engine):
        await engine.add(noise_member(1))

    run(vllm_server, scenario)
    assert list(vllm_server.adapters.iterdir()) == []


def test_members_of_equal_weights_share_one_load(vllm_server):
    first, second = noise_member(1, name="first"), noise_member(1, name="second")

    async def scenario(engine):
        await asyncio.gather(engine.add(first), engine.add(second))
        assert len(adapters_on_disk(vllm_server)) == 1
        before = await engine.generate(second, ask("x"))
        await engine.remove(first)
        assert await engine.generate(second, ask("x")) == before
        await engine.remove(second)

    run(vllm_server, scenario)


def test_more_members_than_slots_answer_as_they_do_alone(tiny_base):
    members = [noise_member(seed) for seed in range(7)]

    async def scenario(engine):
        for member in members:
            await engine.add(member)
        together = await asyncio.gather(
            *(engine.generate(m, ask("x")) for m in members)
        )
        alone = [await engine.generate(m, ask("x")) for m in members]
        assert together == alone
        assert len({answer[0].text for answer in alone}) == len(members)

    # In bfloat16 some processors' matrix products depend on what else is in a batch.
    with VllmServer(server_settings(tiny_base, dtype="float32")) as server:
        run(server, scenario)


def test_a_rank_above_the_server_s_is_refused_and_leaves_nothing(vllm_server):
    with pytest.raises(EngineError, match="at most 16, the server's"):
        run(vllm_server, lambda engine: engine.add(noise_member(1)), rank=32)
    assert list(vllm_server.adapters.iterdir()) == []


def test_what_vllm_refuses_is_an_error_with_its_reason_and_leaves_nothing(vllm_server):
    class Rewriter(NoiseWriter):
        def __call__(self, member, directory):
            name = super().__call__(member, directory)
            config = directory / name / "adapter_config.json"
            config.write_text(json.dumps(json.loads(config.read_text()) | REFUSED))
            return name

    async def scenario():
        async with VllmEngine(vllm_server, Rewriter()) as engine:
            await engine.add(noise_member(1))

    with pytest.raises(EngineError, match=r"refused with \d+: .*DoRA"):
        asyncio.run(scenario())
    assert list(vllm_server.adapters.iterdir()) == []


def test_modules_that_the_base_lacks_are_refused_and_leave_nothing(vllm_server):
    modules = (*MODULES, "other.q_proj")
    with pytest.raises(EngineError, match=r"other.q_proj, which it lacks"):
        run(vllm_server, lambda engine: engine.add(noise_member(1)), modules=modules)
    assert list(vllm_server.adapters.iterdir()) == []


def test_an_answer_that_does_not_fit_the_context_is_refused(vllm_server):
    with pytest.raises(InputError, match="within max_model_len=256 tokens"):
        run(vllm_server, lambda engine: engine.generate(None, ask("x", max_tokens=250)))


def test_tokens_are_counted_up_to_the_end_of_the_turn(vllm_server):
    async def scenario(engine):
        return await engine.generate(None, ask("x", "y z", max_tokens=8))

    first, second = run(vllm_server, scenario)
    assert first.num_prompt_tokens < second.num_prompt_tokens
    assert 1 <= first.num_tokens <= 8


def test_a_caller_that_gives_up_can_remove_its_member_at_once(vllm_server):
    async def scenario(engine):
        await engine.add(noise_member(1))
        job = asyncio.create_task(
            engine.generate(noise_member(1), ask("x", max_tokens=99))
        )
        await asyncio.sleep(0.05)
        job.cancel()
        await engine.remove(noise_member(1))
        await engine.add(noise_member(1))
        assert await engine.generate(noise_member(1), ask("x"))

    run(vllm_server, scenario)


def test_the_adapters_directory_is_private(vllm_server):
    assert vllm_server.adapters.stat().st_mode & 0o077 == 0
    assert os.access(vllm_server.adapters, os.W_OK)
