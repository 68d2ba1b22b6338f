"""What every engine must hold; the laws run on the fake, transformers and real vLLM."""

import asyncio
import hashlib
from contextlib import nullcontext
from dataclasses import replace

import pytest

from lora_qd.engines import (
    FakeEngine,
    PeftEngine,
    VllmEngine,
    check_effect,
)
from lora_qd.errors import EngineError
from tests.engines.members import NoiseSpaceEngine, NoiseWriter, ask, noise_member

PROMPTS = [f"What is {n} plus {n * n}?" for n in range(24)]


def invented(member, request):
    """Return 12 words that depend on the prompt and on a member that has effect."""
    who = member.id if member and member.cores["size"][0] else "base"
    seed = who + request.messages[-1].content
    seed += f"/{request.seed}" if request.temperature else ""
    digest = hashlib.sha256(seed.encode()).hexdigest()
    return " ".join(digest[4 * n : 4 * n + 4] for n in range(12))


@pytest.fixture(
    params=[
        "fake",
        "transformers",
        "peft",
        pytest.param("vllm", marks=pytest.mark.slow),
    ]
)
def run(request):
    """Return a function that runs a scenario with an engine."""
    if request.param == "fake":

        def engine():
            return nullcontext(FakeEngine(invented, shuffle=1))

    elif request.param == "transformers":
        base = str(request.getfixturevalue("tiny_base"))

        def engine():
            return NoiseSpaceEngine(base)

    elif request.param == "peft":
        base = str(request.getfixturevalue("tiny_base"))

        def engine():
            return PeftEngine(base, NoiseWriter())

    else:
        server = request.getfixturevalue("vllm_server")

        def engine():
            return VllmEngine(server, NoiseWriter())

    def run_scenario(scenario):
        async def main():
            async with engine() as opened:
                return await scenario(opened)

        return asyncio.run(main())

    return run_scenario


async def texts(engine, member, prompts=PROMPTS):
    return [c.text for c in await engine.generate(member, ask(*prompts))]


def test_completions_come_in_the_order_of_the_requests(run):
    async def scenario(engine):
        one_by_one = [(await texts(engine, None, [p]))[0] for p in PROMPTS]
        return one_by_one, await texts(engine, None)

    one_by_one, together = run(scenario)
    assert one_by_one == together
    assert len(set(together)) > len(PROMPTS) // 2


def test_no_requests_give_no_completions(run):
    assert run(lambda engine: engine.generate(None, [])) == []


def test_members_answer_unlike_the_base_and_unlike_each_other(run):
    async def scenario(engine):
        members = [noise_member(1), noise_member(2)]
        for member in members:
            await engine.add(member)
        return [await texts(engine, m) for m in [None, *members]]

    base, first, second = run(scenario)
    assert base != first
    assert base != second
    assert first != second


def test_a_member_answers_the_same_alone_and_among_others(run):
    async def scenario(engine):
        members = [noise_member(seed) for seed in range(4)]
        alone = []
        for member in members:
            await engine.add(member)
            alone.append(await texts(engine, member))
            await engine.remove(member)
        for member in members:
            await engine.add(member)
        jobs = [texts(engine, m, [p]) for p in PROMPTS for m in members]
        mixed = [text for [text] in await asyncio.gather(*jobs)]
        return alone, [mixed[n :: len(members)] for n in range(len(members))]

    alone, among = run(scenario)
    assert alone == among


def test_the_base_answers_the_same_alone_and_among_members(run):
    async def scenario(engine):
        member = noise_member(1)
        alone = await texts(engine, None)
        await engine.add(member)
        jobs = [texts(engine, m, [p]) for p in PROMPTS for m in (None, member)]
        mixed = [text for [text] in await asyncio.gather(*jobs)]
        return alone, mixed[::2]

    alone, among = run(scenario)
    assert alone == among


def test_a_member_that_was_not_added_is_refused(run):
    with pytest.raises(ValueError, match="member that was added, but got 'noise-1'"):
        run(lambda engine: engine.generate(noise_member(1), ask("x")))


def test_a_member_needs_as_many_removes_as_adds(run):
    async def scenario(engine):
        member = noise_member(1)
        await engine.add(member)
        await engine.add(member)
        await engine.remove(member)
        assert await texts(engine, member, ["x"])
        await engine.remove(member)
        await engine.remove(member)

    with pytest.raises(ValueError, match="member that was added, but got 'noise-1'"):
        run(scenario)


def test_a_member_added_again_answers_as_before(run):
    async def scenario(engine):
        answers = []
        for _ in range(2):
            await engine.add(noise_member(1))
            answers.append(await texts(engine, noise_member(1)))
            await engine.remove(noise_member(1))
        return answers

    first, second = run(scenario)
    assert first == second


def test_max_tokens_cuts_an_answer_and_says_so(run):
    async def scenario(engine):
        return await engine.generate(None, ask(*PROMPTS, max_tokens=3))

    completions = run(scenario)
    assert all(c.num_tokens <= 3 for c in completions)
    assert any(c.num_tokens == 3 and not c.is_complete for c in completions)


def test_a_stop_text_ends_an_answer_before_it(run):
    async def scenario(engine):
        [whole] = await texts(engine, None, PROMPTS[:1])
        stop = whole[len(whole) // 2 :][:2]
        [cut] = await engine.generate(None, ask(PROMPTS[0], stop=(stop,)))
        return whole, stop, cut

    whole, stop, cut = run(scenario)
    assert cut.text == whole.split(stop)[0]
    assert cut.is_complete


def test_the_canary_passes_members_with_an_effect(run):
    members = [noise_member(1), noise_member(2, size=0.01)]
    run(lambda engine: check_effect(engine, members, ask(*PROMPTS[:4])))


def test_the_canary_names_a_member_without_effect(run):
    members = [noise_member(1), noise_member(2, size=0.0, name="nothing")]
    with pytest.raises(EngineError, match="adapter 'nothing' to change the base's"):
        run(lambda engine: check_effect(engine, members, ask(*PROMPTS[:4])))


def sampled(prompt, *, temperature, seed):
    return replace(ask(prompt)[0], temperature=temperature, seed=seed)


def test_a_seed_draws_the_same_answer_again_and_another_seed_another(run):
    async def scenario(engine):
        requests = [sampled(PROMPTS[0], temperature=1.0, seed=s) for s in range(8)]
        first = [(await engine.generate(None, [r]))[0].text for r in requests]
        return first, [c.text for c in await engine.generate(None, requests)]

    one_by_one, together = run(scenario)
    assert one_by_one == together
    assert len(set(together)) > 4


def test_without_temperature_the_seed_does_not_matter(run):
    async def scenario(engine):
        requests = [sampled(PROMPTS[0], temperature=0.0, seed=s) for s in range(4)]
        return {c.text for c in await engine.generate(None, requests)}

    assert len(run(scenario)) == 1
