"""Members of a core space in one batch: the same answers as alone, and as by PEFT."""

import asyncio
from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_qd.engines import LocalSettings, PeftEngine, TransformersEngine
from lora_qd.errors import EngineError, InputError
from lora_qd.factors import Basis, CoreSpace
from lora_qd.records import Member, Message, Request
from tests.engines.members import NoiseSpaceEngine, NoiseWriter, ask, noise_member

MEMBERS = [None, *(noise_member(seed) for seed in range(4))]
TEXT = "List the files that contain apple, one per line, newest first."


def run(engine, scenario, members=()):
    async def main():
        async with engine:
            for member in members:
                await engine.add(member)
            return await scenario(engine)

    return asyncio.run(main())


async def ask_all(engine, pairs):
    jobs = [engine.generate(member, [request]) for member, request in pairs]
    return [completion for [completion] in await asyncio.gather(*jobs)]


def request(num_words, max_tokens, seed):
    """Return a request of some length; odd seeds draw their answer."""
    temperature = 0.8 if seed % 2 else 0.0
    messages = (Message("user", TEXT[: 6 * num_words]),)
    return Request(messages, max_tokens, temperature=temperature, seed=seed)


ROWS = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(1, 10), st.integers(1, 24), st.integers(0, 3)
    ),
    min_size=1,
    max_size=24,
)


@pytest.fixture(scope="module")
def oracle(tiny_base):
    """Return a function that answers one at a time by PEFT, each question once."""
    known = {}

    def answers(rows):
        async def scenario(engine):
            for row in rows:
                if row not in known:
                    who, *asked = row
                    [known[row]] = await engine.generate(
                        MEMBERS[who], [request(*asked)]
                    )
            return [known[row] for row in rows]

        engine = PeftEngine(str(tiny_base), NoiseWriter(), dtype="float32")
        return run(engine, scenario, MEMBERS[1:])

    return answers


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(ROWS, st.sampled_from([1, 3, 64]))
def test_any_batch_answers_as_one_at_a_time_by_peft(tiny_base, oracle, rows, max_rows):
    engine = NoiseSpaceEngine(tiny_base, max_rows=max_rows)
    pairs = [(MEMBERS[who], request(*asked)) for who, *asked in rows]
    found = run(engine, lambda e: ask_all(e, pairs), MEMBERS[1:])
    assert found == oracle(rows)


def test_probabilities_are_those_of_the_dense_update(tiny_base):
    from transformers import AutoModelForCausalLM

    engine = NoiseSpaceEngine(tiny_base)
    member = engine.member(noise_member(2))
    [probe] = run(engine, lambda e: e.probe(noise_member(2), ask("x")), MEMBERS[1:])
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float64)
    for module, core in member.cores.items():
        basis = engine.space.bases[module]
        delta = basis.U.astype(float) @ core.astype(float) @ basis.V.T.astype(float)
        base.get_submodule(module).weight.data += torch.from_numpy(delta)
    prompt = engine.engine._chat.encode_request(ask("x")[0], 256)
    with torch.inference_mode():
        logits = base(input_ids=torch.tensor([prompt])).logits[0, -1]
    expected = torch.log_softmax(logits, dim=-1)
    for token, value in probe.items():
        assert value == pytest.approx(float(expected[int(token[9:])]), abs=1e-4)


def test_on_an_nf4_base_members_predict_what_they_do_by_peft(tiny_base):
    question = ask("What is it?")

    async def probe(engine):
        return [(await engine.probe(m, question))[0] for m in (None, *MEMBERS[1:])]

    options = {"dtype": "bfloat16", "quantization": "nf4"}
    ours = run(NoiseSpaceEngine(tiny_base, **options), probe, MEMBERS[1:])
    theirs = run(
        PeftEngine(str(tiny_base), NoiseWriter(), **options), probe, MEMBERS[1:]
    )
    for own, peft in zip(ours, theirs, strict=True):
        for token in own.keys() & peft.keys():
            # Adapters in 16 bit there, in float32 here; members are farther apart.
            assert own[token] == pytest.approx(peft[token], abs=0.35)
        assert own.keys() & peft.keys()
    assert all(a != b for a, b in pairwise(ours))


def test_likelihoods_are_those_by_peft(tiny_base):
    asked = [
        Request((), 1, prompt="Two plus two is", continuation=text)
        for text in (" four", " a much longer continuation")
    ]

    def scenario(engine):
        return asyncio.gather(*(engine.generate(m, asked) for m in MEMBERS))

    ours = run(NoiseSpaceEngine(tiny_base), scenario, MEMBERS[1:])
    peft = PeftEngine(str(tiny_base), NoiseWriter(), dtype="float32")
    theirs = run(peft, scenario, MEMBERS[1:])
    for mine, other in zip(chain(*ours), chain(*theirs), strict=True):
        assert mine.logprob == pytest.approx(other.logprob, abs=1e-3)
        assert mine == replace(other, logprob=mine.logprob)


def test_members_are_truncated_to_the_rank(tiny_base):
    whole = NoiseSpaceEngine(tiny_base)
    mix = whole.member(noise_member(1))
    other = whole.member(noise_member(2))
    mixed = Member("mix", {m: c + other.cores[m] for m, c in mix.cores.items()})
    truncated = {m: LowRankCore.of(core, rank=16) for m, core in mixed.cores.items()}
    exact = Member("truncated", truncated)

    async def scenario(engine):
        await engine.engine.add(mixed)
        await engine.engine.add(exact)
        return [await engine.engine.probe(m, ask("x")) for m in (mixed, exact)]

    first, second = run(whole, scenario)
    assert first[0] == pytest.approx(second[0], abs=1e-4)


class LowRankCore:
    """The best approximation of a core."""

    @staticmethod
    def of(core, *, rank):
        P, S, Qt = np.linalg.svd(core.astype(float), full_matrices=False)
        return ((P[:, :rank] * S[:rank]) @ Qt[:rank]).astype(np.float32)


def test_a_member_can_be_removed_while_it_answers(tiny_base):
    async def scenario(engine):
        alone = await engine.generate(noise_member(1), ask("x", "y", max_tokens=30))
        job = asyncio.create_task(
            engine.generate(noise_member(1), ask("x", "y", max_tokens=30))
        )
        await asyncio.sleep(0.01)
        await engine.remove(noise_member(1))
        return alone, await job

    alone, meanwhile = run(NoiseSpaceEngine(tiny_base), scenario, [noise_member(1)])
    assert meanwhile == alone


def test_who_gives_up_leaves_the_batch_and_the_others_go_on(tiny_base):
    async def scenario(engine):
        alone = await engine.generate(None, ask("x", max_tokens=30))
        gone = asyncio.create_task(engine.generate(None, ask("y", max_tokens=200)))
        stays = asyncio.create_task(engine.generate(None, ask("x", max_tokens=30)))
        await asyncio.sleep(0.05)
        gone.cancel()
        rest = await stays
        with pytest.raises(asyncio.CancelledError):
            await gone
        return alone, rest, await engine.generate(None, ask("x", max_tokens=30))

    alone, rest, after = run(NoiseSpaceEngine(tiny_base), scenario)
    assert alone == rest == after


def test_an_engine_can_be_closed_while_it_answers(tiny_base):
    async def scenario(engine):
        job = asyncio.create_task(engine.generate(None, ask("x", max_tokens=200)))
        await asyncio.sleep(0.05)
        return job

    async def main():
        async with NoiseSpaceEngine(tiny_base) as engine:
            job = await scenario(engine)
        return await asyncio.gather(job, return_exceptions=True)

    [ended] = asyncio.run(main())
    assert isinstance(ended, asyncio.CancelledError)


def test_a_batch_that_fails_says_so_to_all_and_the_next_one_is_answered(
    tiny_base, monkeypatch
):
    from lora_qd.engines.batch_model import BatchModel

    step, calls = BatchModel.step, []

    def failing(self, tokens):
        calls.append(len(tokens))
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return step(self, tokens)

    async def scenario(engine):
        alone = await engine.generate(None, ask("x", max_tokens=2))
        calls.clear()
        monkeypatch.setattr(BatchModel, "step", failing)
        with pytest.raises(EngineError, match="2 sequences, but got: out of memory"):
            await engine.generate(None, ask("x", "y", max_tokens=30))
        return alone, await engine.generate(None, ask("x", max_tokens=2))

    alone, after = run(NoiseSpaceEngine(tiny_base), scenario)
    assert alone == after


def test_an_answer_that_does_not_fit_the_context_is_refused(tiny_base):
    engine = NoiseSpaceEngine(tiny_base, max_model_len=64)
    with pytest.raises(InputError, match="within max_model_len=64 tokens"):
        run(engine, lambda e: e.generate(None, ask("x", max_tokens=60)))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda core: core * np.nan, "NaN or inf in it"),
        (lambda core: core[:2], r"finite cores of the run's core space, but got \(2,"),
    ],
)
def test_cores_that_are_no_member_s_are_refused(tiny_base, change, match):
    engine = NoiseSpaceEngine(tiny_base)
    cores = engine.member(noise_member(1)).cores
    first = next(iter(cores))
    bad = Member("bad", {**cores, first: change(cores[first])})

    async def scenario(engine):
        with pytest.raises(EngineError, match=match):
            await engine.engine.add(bad)
        with pytest.raises(ValueError, match="member that was added, but got 'bad'"):
            await engine.engine.generate(bad, ask("x"))

    run(engine, scenario)


@pytest.mark.parametrize(
    ("name", "shape", "match"),
    [
        ("model.layers.9.mlp.up_proj", (512, 192), "9.mlp.up_proj' in the base"),
        ("model.layers.0.mlp.up_proj", (192, 512), "192 x 512 layer .* got 512 x 192"),
    ],
)
def test_a_space_of_another_base_is_refused(tiny_base, name, shape, match):
    bases = {name: Basis(np.eye(shape[0], 2), np.eye(shape[1], 2))}
    local = LocalSettings(model=str(tiny_base), rank=2)
    engine = TransformersEngine(local, CoreSpace(bases))
    with pytest.raises(EngineError, match=match):
        run(engine, lambda e: e.generate(None, []))
