"""What is proved of an engine before it is trusted."""

import asyncio

import numpy as np
import pytest

from lora_qd.engines import FakeEngine, check_effect
from lora_qd.errors import EngineError
from lora_qd.records import Member
from lora_qd.runs.session import by_kind
from tests.engines.members import ask

CORES = {
    f"model.layers.{layer}.{module}": np.ones((2, 2), dtype=np.float32)
    for layer in range(2)
    for module in ("self_attn.q_proj", "mlp.up_proj")
}


def test_a_member_is_taken_apart_by_kind_of_module():
    parts = by_kind(Member("x", CORES))
    assert [part.id for part in parts] == ["x/q_proj", "x/up_proj"]
    summed = {m: sum(part.cores[m] for part in parts) for m in CORES}
    assert all(np.array_equal(summed[m], CORES[m]) for m in CORES)
    assert {m for m, c in parts[0].cores.items() if c.any()} == {
        "model.layers.0.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj",
    }


def test_a_server_that_leaves_a_kind_of_module_out_is_found_out():
    def partial(member, request):
        """Apply q_proj only."""
        if member is None:
            return "base"
        changed = [m for m, c in member.cores.items() if c.any() and "q_proj" in m]
        return "changed" if changed else "base"

    engine = FakeEngine(partial)
    whole = Member("x", CORES)
    asyncio.run(check_effect(engine, [whole], ask("?")))  # does not show it
    with pytest.raises(EngineError, match="'x/up_proj' to change the base's"):
        asyncio.run(check_effect(engine, by_kind(whole), ask("?")))
