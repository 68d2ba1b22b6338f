"""What only the transformers engine does: PEFT's refusals, its thread, its base."""

import asyncio
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_qd.engines import PeftEngine
from lora_qd.errors import EngineError, InputError
from tests.engines.members import NoiseWriter, ask, noise_member
from tests.tiny_base import MODULES, save_tiny_base

SHIPPED = Path(__file__).parents[2] / "adapters" / "tiny-llama"


def run(base, scenario, writer=None, **options):
    async def main():
        writing = writer or NoiseWriter()
        async with PeftEngine(str(base), writing, **options) as engine:
            return await scenario(engine)

    return asyncio.run(main())


def test_the_end_of_the_turn_is_counted_and_is_no_text():
    from transformers import AutoTokenizer

    async def scenario(engine):
        return await engine.generate(None, ask("Repeat: apple", max_tokens=40))

    [completion] = run(SHIPPED, scenario)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    assert completion.is_complete
    assert "<|" not in completion.text
    assert completion.num_tokens == len(tokenizer.encode(completion.text)) + 1


def test_the_generation_config_changes_no_answer(tiny_base, tmp_path):
    from transformers import GenerationConfig

    other = save_tiny_base(tmp_path / "other")
    odd = GenerationConfig.from_pretrained(other)
    odd.update(do_sample=True, temperature=9.0, repetition_penalty=5.0)
    odd.save_pretrained(other)

    def scenario(engine):
        return engine.generate(None, ask("x", "y"))

    assert run(other, scenario) == run(tiny_base, scenario)


def test_the_base_is_itself_while_members_are_loaded_and_after(tiny_base):
    async def scenario(engine):
        probes = [await engine.probe(None, ask("x"))]
        await engine.add(noise_member(1))
        await engine.add(noise_member(2))
        probes.append(await engine.probe(None, ask("x")))
        await engine.remove(noise_member(1))
        await engine.remove(noise_member(2))
        return [*probes, await engine.probe(None, ask("x"))]

    before, during, after = run(tiny_base, scenario)
    assert before == during == after


def test_members_of_equal_weights_share_one_load(tiny_base):
    first, second = noise_member(1, name="first"), noise_member(1, name="second")

    async def scenario(engine):
        await asyncio.gather(engine.add(first), engine.add(second))
        before = await engine.generate(second, ask("x"))
        await engine.remove(first)
        assert await engine.generate(second, ask("x")) == before
        await engine.remove(second)

    run(tiny_base, scenario)


def test_adding_says_how_long_writing_and_loading_took(tiny_base):
    async def scenario(engine):
        return [await engine.add(noise_member(1)) for _ in range(2)]

    first, again = run(tiny_base, scenario)
    assert first.materialise_s > 0
    assert first.load_s > 0
    assert (again.materialise_s, again.load_s) == (0, 0)


def test_the_event_loop_goes_on_while_an_answer_is_written(tiny_base):
    async def scenario(engine):
        job = asyncio.create_task(engine.generate(None, ask("x", max_tokens=60)))
        turns = 0
        while not job.done():
            await asyncio.sleep(0.001)
            turns += 1
        return turns

    assert run(tiny_base, scenario) > 5


def test_a_member_can_be_removed_while_it_answers(tiny_base):
    async def scenario(engine):
        await engine.add(noise_member(1))
        alone = await engine.generate(noise_member(1), ask("x", "y"))
        job = asyncio.create_task(engine.generate(noise_member(1), ask("x", "y")))
        await asyncio.sleep(0)
        await engine.remove(noise_member(1))
        return alone, await job

    alone, meanwhile = run(tiny_base, scenario)
    assert meanwhile == alone


def test_an_answer_that_does_not_fit_the_context_is_refused(tiny_base):
    with pytest.raises(InputError, match="within max_model_len=64 tokens"):
        run(
            tiny_base,
            lambda engine: engine.generate(None, ask("x", max_tokens=60)),
            max_model_len=64,
        )


def test_modules_that_the_base_lacks_are_refused_and_leave_nothing(tiny_base):
    async def scenario(engine):
        before = await engine.probe(None, ask("x"))
        with pytest.raises(EngineError, match=r"other.q_proj.* which PEFT leaves out"):
            await engine.add(noise_member(1))
        with pytest.raises(ValueError, match="member that was added"):
            await engine.generate(noise_member(1), ask("x"))
        assert await engine.probe(None, ask("x")) == before

    run(tiny_base, scenario, NoiseWriter(modules=(*MODULES, "other.q_proj")))


def test_an_adapter_that_peft_refuses_leaves_the_base_and_others_as_they_were(
    tiny_base,
):
    class Liar(NoiseWriter):
        def __call__(self, member, directory):
            name = super().__call__(member, directory)
            config = directory / name / "adapter_config.json"
            if member.id == "liar":
                config.write_text(config.read_text().replace('"r": 16', '"r": 4'))
            return name

    async def scenario(engine):
        liar, honest = noise_member(1, name="liar"), noise_member(2)
        before = await engine.probe(None, ask("x"))
        with pytest.raises(EngineError, match="expected PEFT to load .* size mismatch"):
            await engine.add(liar)
        assert await engine.probe(None, ask("x")) == before
        await engine.add(honest)
        alone = await engine.probe(honest, ask("x"))
        with pytest.raises(EngineError, match="expected PEFT to load .* size mismatch"):
            await engine.add(liar)
        assert await engine.probe(honest, ask("x")) == alone
        assert await engine.probe(None, ask("x")) == before

    run(tiny_base, scenario, Liar())


def test_weights_that_are_not_finite_are_refused(tiny_base):
    def write(member, directory):
        name = NoiseWriter()(member, directory)
        file = directory / name / "adapter_model.safetensors"
        tensors = load_file(file)
        tensors[min(tensors)].fill_(torch.nan)
        save_file(tensors, file)
        return name

    with pytest.raises(EngineError, match="expected finite weights"):
        run(tiny_base, lambda engine: engine.add(noise_member(1)), write)


def test_a_base_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a causal language model in"):
        run(tmp_path, lambda engine: engine.generate(None, []))
