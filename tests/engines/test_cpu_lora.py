"""The masked product against a loop over tokens in float64."""

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.slow  # it imports vLLM


@pytest.fixture(autouse=True)
def cpu_platform(monkeypatch):
    monkeypatch.setenv("VLLM_TARGET_DEVICE", "cpu")  # read when vLLM is imported


def case(indices, *, num_slots=4, rank=3, d_in=10, d_out=7):
    """Return y, x, factors and the dense float64 result for one adapter per token."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(indices), d_in))
    y = rng.normal(size=(len(indices), d_out))
    A = rng.normal(size=(num_slots, rank, d_in))
    B = rng.normal(size=(num_slots, d_out, rank))
    dense = [
        y[t] + (B[i] @ A[i] @ x[t] if i >= 0 else 0) for t, i in enumerate(indices)
    ]
    factors = tuple(torch.tensor(f[:, None], dtype=torch.float32) for f in (A, B))
    tensors = (torch.tensor(a, dtype=torch.float32) for a in (y, x))
    return *tensors, factors, np.array(dense)


def wrapper_for(indices):
    """Return vLLM's bookkeeping for tokens with these slots; -1 has no adapter."""
    from vllm.lora.layers.utils import LoRAMapping

    from lora_qd.engines.cpu_lora import MaskedLora

    wrapper = MaskedLora(64, 8, torch.device("cpu"))
    ids = tuple(i + 1 for i in indices)  # vLLM counts adapters from 1, 0: none
    mapping = LoRAMapping(ids, ids, is_prefill=True)
    wrapper.update_metadata(mapping, [1, 2, 3, 4], 4, 32000)
    return wrapper


@pytest.mark.parametrize(
    "indices",
    [[2, 2, 2], [0, 1, 2, 3], [3, 0, 3, 0, 1], [-1, 1, -1], [-1, 2, 0], [-1, -1]],
)
def test_each_token_meets_its_own_adapter_only(indices):
    y, x, (A, B), dense = case(indices)
    wrapper_for(indices).add_lora_linear(y, x, (A,), (B,), 1.0, (y.shape[1],))
    np.testing.assert_allclose(y, dense, rtol=1e-5, atol=1e-5)


def test_slices_of_a_packed_layer_are_added_side_by_side():
    y, x, (A, B), dense = case([1, 0, -1])
    parts = (B[:, :, :3], B[:, :, 3:])
    wrapper_for([1, 0, -1]).add_lora_linear(y, x, (A, A), parts, 1.0, (3, 4))
    np.testing.assert_allclose(y, dense, rtol=1e-5, atol=1e-5)


def test_what_other_slots_hold_does_not_matter():
    y, x, (A, B), _ = case([0, 2])
    other = y.clone()
    wrapper_for([0, 2]).add_lora_linear(y, x, (A,), (B,), 1.0, (y.shape[1],))
    A[[1, 3]], B[[1, 3]] = float("inf"), float("nan")
    wrapper_for([0, 2]).add_lora_linear(other, x, (A,), (B,), 1.0, (y.shape[1],))
    assert torch.equal(y, other)


def test_the_worker_s_wrapper_is_the_masked_one():
    from vllm.platforms.cpu import CpuPlatform
    from vllm.utils.import_utils import resolve_obj_by_qualname

    from lora_qd.engines.cpu_lora import MaskedLora

    assert resolve_obj_by_qualname(CpuPlatform.get_punica_wrapper()) is MaskedLora
