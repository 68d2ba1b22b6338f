"""Each trap of vLLM's multi-LoRA that once gave a wrong answer in silence.

- the base among adapters on CPU, mixed batches: ``test_engine_laws.py``
- modules outside ``lora_target_modules`` that are left out: ``test_adapter_check.py``
- files deleted while a request names them: ``test_vllm_engine.py``
- memory that unloading does not free: ``test_keeper.py`` (recycling)

The others are here: on a double where the trap is what we send, on the real server
where it is what comes back.
"""

import asyncio
import json

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from lora_qd.engines import VllmEngine
from lora_qd.records import Member
from tests.engines.members import NoiseWriter, ask, noise_member
from tests.fakes.vllm_double import VllmDouble
from tests.tiny_base import server_settings

QUESTIONS = ask(*[f"What is {n} and {n * n}?" for n in range(12)])


class TellingDouble(VllmDouble):
    """Remembers the orders to load."""

    def __init__(self, *args):
        self.orders = []
        super().__init__(*args)

    async def _answer(self, path, order):
        if path == "/v1/load_lora_adapter":
            self.orders.append(order)
        return await super()._answer(path, order)


async def answers(engine, member):
    await engine.add(member)
    texts = [c.text for c in await engine.generate(member, QUESTIONS)]
    await engine.remove(member)
    return texts


@pytest.fixture
def orders(tiny_base, tmp_path):
    """Return the load orders of members that come, go, come back and change."""
    double = TellingDouble(server_settings(tiny_base), tmp_path)

    async def main():
        async with VllmEngine(double, NoiseWriter()) as engine:
            for seed in (1, 2, 1, 3):
                await answers(engine, noise_member(seed, name="always-this-id"))

    asyncio.run(main())
    return double.orders


def test_a_name_stands_for_the_same_weights_for_ever(orders):
    """vLLM keeps the old weights, or their KV blocks, under a name that it knows."""
    names = [order["lora_name"] for order in orders]
    assert len(orders) == 4
    assert names[0] == names[2]  # the very same weights
    assert len(set(names)) == 3


def test_a_path_is_written_once(orders):
    """The prefix cache is keyed by name and path, not by content."""
    paths = [order["lora_path"] for order in orders]
    assert len(set(paths)) == len(paths)


def test_weights_are_never_replaced_in_place(orders):
    """In place, vLLM 0.32 reads the adapter from disk again at every step."""
    assert not any("load_inplace" in order for order in orders)


def test_no_cached_prefix_can_be_stale(tiny_base, tmp_path):
    command = server_settings(tiny_base).command(tmp_path / "s", is_cpu=True)
    assert "--no-enable-prefix-caching" in command


def test_embeddings_and_head_are_not_wrapped(tiny_base, tmp_path):
    """Wrapped, they cost memory and break log-probabilities."""
    command = server_settings(tiny_base).command(tmp_path / "s", is_cpu=True)
    targets = command[command.index("--lora-target-modules") + 1 :]
    assert "q_proj" in targets
    assert not {"lm_head", "embed_tokens"} & set(targets)


def run(server, scenario, writer=None):
    async def main():
        async with VllmEngine(server, writer or NoiseWriter()) as engine:
            return await scenario(engine)

    return asyncio.run(main())


@pytest.mark.slow
def test_new_weights_under_an_old_id_answer_as_new(vllm_server):
    async def scenario(engine):
        old = await answers(engine, noise_member(1, name="x"))
        new = await answers(engine, noise_member(2, name="x"))
        return old, new, await answers(engine, noise_member(2, name="y"))

    old, new, same_as_new = run(vllm_server, scenario)
    assert new == same_as_new != old


@pytest.mark.slow
def test_more_adapters_than_slots_and_caches_do_not_mix(vllm_server):
    """An unloaded adapter stays in vLLM until it is pushed out: by whom, for whom?"""
    members = [noise_member(seed) for seed in range(12)]

    async def scenario(engine):
        first = [await answers(engine, m) for m in members]
        again = await asyncio.gather(*(answers(engine, m) for m in members[::-1]))
        return first, again[::-1]

    first, again = run(vllm_server, scenario)
    assert first == again
    assert len(set(map(tuple, first))) == len(members)


class PaddedWriter(NoiseWriter):
    """Writes rank 5 as it is, or padded with zeros to rank 16."""

    def __call__(self, member: Member, directory):
        name = super().__call__(member, directory)
        if not member.cores["pad"][0]:
            return name
        self.pad(directory / name)
        (directory / name).rename(directory / f"{name}-padded")
        return f"{name}-padded"

    def pad(self, path):
        file = path / "adapter_model.safetensors"
        tensors = load_file(file)
        for key, tensor in tensors.items():
            wide = list(tensor.shape)
            wide[0 if "lora_A" in key else 1] = 16
            padded = tensor.new_zeros(wide)
            padded[: tensor.shape[0], : tensor.shape[1]] = tensor
            tensors[key] = padded
        save_file(tensors, file)
        config = path / "adapter_config.json"
        wide = json.loads(config.read_text()) | {"r": 16, "lora_alpha": 16}
        config.write_text(json.dumps(wide))


@pytest.mark.slow
def test_a_rank_that_vllm_rounds_up_adds_nothing(vllm_server):
    def member(pad):
        cores = noise_member(4).cores | {"pad": np.array([pad])}
        return Member(f"pad-{pad}", cores)

    async def scenario(engine):
        return [await answers(engine, member(pad)) for pad in (0, 1)]

    narrow, padded = run(vllm_server, scenario, PaddedWriter(rank=5))
    assert narrow == padded
