"""vLLM against transformers: one base, the same adapters and prompts, the same answers.

Not claimed: equal texts in 16 bit, where a near tie falls either way.
"""

import asyncio
import shutil
from pathlib import Path

import pytest

from lora_qd.engines import (
    PeftEngine,
    VllmEngine,
    VllmServer,
    check_effect,
)
from lora_qd.records import Member, Split
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.task import single_turn
from lora_qd.tasks.tiny import tiny_tasks
from tests.engines.checkpoints import save_quantised, save_rounded
from tests.engines.members import NoiseWriter, ask, noise_member
from tests.tiny_base import server_settings

pytestmark = pytest.mark.slow

PROMPTS = [f"What is {n} plus {n * n}?" for n in range(16)]
MEMBERS = [*(noise_member(seed) for seed in range(3)), noise_member(7, size=0.1)]
SHIPPED = Path(__file__).parents[2] / "adapters"
SKILLS = ("database", "shell", "code")
TOLERANCE = 0.6
"""Of a log-probability in 16 bit. Measured on these members and prompts: at most 0.21
in bfloat16 and in nf4, 0.31 from a checkpoint in 4 bit; the rounding of noise weights
is most of it. Members are 1.4 and more from the base, nf4 is 1.8 from 16 bit."""


def compare(server, write, members, scenario, **oracle):
    """Return what ``scenario`` returns on vLLM, and on transformers.

    The oracle has the server's settings, but for those that are given.
    """
    same = ("model", "dtype", "quantization", "max_model_len")
    options = {name: getattr(server.settings, name) for name in same} | oracle

    async def answers(engine):
        async with engine:
            for member in members:
                await engine.add(member)
            return await scenario(engine)

    async def main():
        local = PeftEngine(write_adapter=write, **options)
        return [await answers(VllmEngine(server, write)), await answers(local)]

    return asyncio.run(main())


async def mixed(engine, members, requests):
    """Ask every member every request at once; return the answers one by one."""
    jobs = [engine.generate(m, [r]) for r in requests for m in members]
    return [completion for [completion] in await asyncio.gather(*jobs)]


def distance(left, right):
    """Return the largest difference of a log-probability.

    A token that one side does not list counts as if it were that side's last.
    """
    differences = [0.0]
    for a, b in zip(left, right, strict=True):
        for mine, other in ((a, b), (b, a)):
            last = min(other.values())
            differences += [
                abs(mine[token] - other[token])
                if token in other
                else max(0.0, mine[token] - last)
                for token in mine
            ]
    return max(differences)


def copy_expert(member, directory):
    """Write the shipped expert that the member is called after."""
    shutil.copytree(SHIPPED / "tiny-experts" / member.id, directory / member.id)
    return member.id


def test_in_float32_base_and_members_write_the_same_in_a_mixed_batch(tiny_base):
    requests = ask(*PROMPTS, max_tokens=24)
    with VllmServer(server_settings(tiny_base, dtype="float32")) as server:
        served, oracle = compare(
            server,
            NoiseWriter(),
            MEMBERS,
            lambda engine: mixed(engine, [None, *MEMBERS], requests),
        )
    assert served == oracle
    assert len({completion.text for completion in oracle}) > len(oracle) * 0.9


def test_in_float32_the_shipped_experts_answer_real_questions_alike():
    experts = [Member(skill, {}) for skill in SKILLS]
    tasks = tiny_tasks(Sandbox())
    requests = [
        single_turn(sample.prompt, max_tokens=48)
        for skill in SKILLS
        for sample in tasks[skill].samples(Split.TEST)[:6]
    ]
    base = SHIPPED / "tiny-llama"
    with VllmServer(server_settings(base, dtype="float32")) as server:
        served, oracle = compare(
            server,
            copy_expert,
            experts,
            lambda engine: mixed(engine, [None, *experts], requests),
        )
    assert served == oracle
    assert sum(completion.is_complete for completion in oracle) > len(oracle) * 0.9
    assert served[::4] != served[1::4]


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_in_sixteen_bits_base_and_members_predict_alike(
    tiny_base, quantization, request
):
    if quantization == "none":
        check_predictions(request.getfixturevalue("vllm_server"))
    else:
        settings = server_settings(tiny_base, quantization=quantization)
        with VllmServer(settings) as server:
            check_predictions(server)


@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_a_checkpoint_in_4_bit_predicts_as_the_values_it_stands_for(
    tiny_base, tmp_path, method
):
    quantised = save_quantised(tiny_base, tmp_path / method, method)
    rounded = save_rounded(tiny_base, tmp_path / "rounded")
    with VllmServer(server_settings(quantised, quantization=method)) as server:
        check_predictions(server, model=str(rounded), quantization="none")


def check_predictions(server, **oracle):
    async def scenario(engine):
        await check_effect(engine, MEMBERS, ask(*PROMPTS[:4]))
        return [await engine.probe(m, ask(*PROMPTS)) for m in (None, *MEMBERS)]

    served, oracle = compare(server, NoiseWriter(), MEMBERS, scenario, **oracle)
    distances = [distance(*each) for each in zip(served, oracle, strict=True)]
    assert max(distances) < TOLERANCE
    # Without its adapter, a member would be farther off than that.
    assert min(distance(oracle[0], each) for each in oracle[1:]) > TOLERANCE


def test_nf4_is_farther_from_16_bit_than_the_engines_are_from_each_other(tiny_base):
    async def probe(quantization):
        async with PeftEngine(
            str(tiny_base), NoiseWriter(), quantization=quantization
        ) as engine:
            return await engine.probe(None, ask(*PROMPTS))

    in_16_bit, in_nf4 = (asyncio.run(probe(q)) for q in ("none", "nf4"))
    assert distance(in_16_bit, in_nf4) > TOLERANCE
