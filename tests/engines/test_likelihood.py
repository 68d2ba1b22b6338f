"""Log-likelihoods of continuations: vLLM against transformers and its own texts."""

import asyncio

import pytest

from lora_qd.engines import PeftEngine, VllmEngine
from lora_qd.errors import InputError, PromptTooLongError
from lora_qd.records import Message, Request
from tests.engines.members import NoiseWriter, ask, noise_member

MEMBER = noise_member(3)
TOLERANCE = 0.6
"""Of one token's log-probability in 16 bit; as in test_parity."""
CHAT = (Message("user", "What is 2 plus 2?"),)


def likelihood(continuation, *, prompt="", messages=(), has_bos=False):
    return Request(
        messages, 1, prompt=prompt, continuation=continuation, has_bos=has_bos
    )


ASKED = [
    likelihood(" four", prompt="Two plus two is"),
    likelihood(" a much longer continuation", prompt="Two plus two is"),
    likelihood("four", prompt="Two plus two is "),  # the space moves over
    likelihood(" four", prompt="Two plus two is", has_bos=True),
    likelihood("four", messages=CHAT),
    likelihood("four"),
]


def on_vllm(server, scenario):
    async def main():
        async with VllmEngine(server, NoiseWriter()) as engine:
            await engine.add(MEMBER)
            return await scenario(engine)

    return asyncio.run(main())


def on_transformers(base, scenario):
    async def main():
        engine = PeftEngine(base, NoiseWriter(), dtype="float32")
        async with engine:
            await engine.add(MEMBER)
            return await scenario(engine)

    return asyncio.run(main())


async def weigh(engine):
    return [await engine.generate(who, ASKED) for who in (None, MEMBER)]


@pytest.fixture(scope="module")
def weighed(vllm_server):
    return on_vllm(vllm_server, weigh)


@pytest.mark.parametrize("who", [0, 1], ids=["base", "member"])
def test_vllm_and_transformers_agree(weighed, tiny_base, who):
    oracle = on_transformers(str(tiny_base), weigh)[who]
    for mine, theirs in zip(weighed[who], oracle, strict=True):
        num = mine.num_prompt_tokens
        assert num == theirs.num_prompt_tokens
        assert mine.logprob == pytest.approx(theirs.logprob, abs=TOLERANCE * num)
        assert mine.logprob < 0


def test_a_member_weighs_otherwise_than_the_base(weighed):
    base, member = weighed
    differences = [
        abs(b.logprob - m.logprob) for b, m in zip(base, member, strict=True)
    ]
    assert min(differences) > 0.1


def test_white_space_at_the_prompts_end_belongs_to_the_continuation(weighed):
    assert weighed[0][0].logprob == pytest.approx(weighed[0][2].logprob, abs=0.05)


def test_bos_comes_before_the_prompt_only_where_asked_for(weighed):
    plain, with_bos = weighed[0][0], weighed[0][3]
    assert with_bos.num_prompt_tokens in {
        plain.num_prompt_tokens,
        plain.num_prompt_tokens + 1,  # where the tokenizer adds one
    }


def test_what_greedy_decoding_writes_is_greedy_and_nothing_else_is(vllm_server):
    async def scenario(engine):
        prompts = [f"What is {n} plus {n}?" for n in range(16)]
        wanted = [Request((), 1, prompt=prompt) for prompt in prompts]
        written = await engine.generate(MEMBER, wanted)
        pairs = [
            (prompt, completion.text)
            for prompt, completion in zip(prompts, written, strict=True)
            if completion.text.strip().isalnum()
        ]
        same = [likelihood(text, prompt=prompt) for prompt, text in pairs]
        other = [likelihood("zzzz" + text, prompt=prompt) for prompt, text in pairs]
        return await engine.generate(MEMBER, same), await engine.generate(MEMBER, other)

    same, other = on_vllm(vllm_server, scenario)
    # A text of noise may be encoded in another way than it was written.
    assert sum(each.is_greedy for each in same) > len(same) / 2 > 1
    assert not any(each.is_greedy for each in other)


def test_answers_and_likelihoods_travel_side_by_side(vllm_server):
    async def scenario(engine):
        mixed = [ASKED[0], *ask("What is 1 plus 1?"), ASKED[4]]
        return await engine.generate(None, mixed), await engine.generate(None, ASKED)

    mixed, alone = on_vllm(vllm_server, scenario)
    assert mixed[1].num_tokens > 0
    assert mixed[0].logprob == pytest.approx(alone[0].logprob, abs=0.05)
    assert mixed[2].logprob == pytest.approx(alone[4].logprob, abs=0.05)


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (likelihood("", prompt="Two plus two is"), InputError, "at least one token"),
        (likelihood("x " * 500, prompt="a"), PromptTooLongError, "max_model_len"),
    ],
)
def test_what_cannot_be_weighed_is_refused(vllm_server, request_, error, words):
    async def scenario(engine):
        with pytest.raises(error, match=words):
            await engine.generate(None, [request_])
        return True

    assert on_vllm(vllm_server, scenario)
