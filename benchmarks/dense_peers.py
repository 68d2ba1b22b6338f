"""The same work by dense matrices, as peers do it, on one module of each shape."""

import time
from collections import Counter
from collections.abc import Callable

import torch
from shapes import module_shapes

_RANK = 16
_WEIGHTS = (0.6, 0.4)


def peer_seconds() -> dict[str, float]:
    """Return seconds for all 224 modules of Llama-3-8B, by peer.

    Each shape is timed once and multiplied by its count.
    """
    torch.set_num_threads(1)
    counts = Counter(module_shapes(num_layers=32).values())
    peers: dict[str, Callable[[int, int], float]] = {
        "PEFT add_weighted_adapter, svd": _peft,
        "mergekit task_arithmetic on dense deltas": _mergekit,
        "the paper's dense crossover + SVD mutation": _paper,
    }
    totals = {}
    for name, peer in peers.items():
        try:
            totals[name] = sum(count * peer(*shape) for shape, count in counts.items())
        except ImportError as error:
            totals[f"{name}: not installed ({error.name})"] = float("nan")
    return totals


def _deltas(d_out: int, d_in: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(d_out, _RANK, generator=generator)
        @ torch.randn(_RANK, d_in, generator=generator)
        for _ in _WEIGHTS
    ]


def _peft(d_out: int, d_in: int) -> float:
    from peft import LoraConfig, get_peft_model

    holder = torch.nn.ModuleDict({"linear": torch.nn.Linear(d_in, d_out, bias=False)})
    config = LoraConfig(
        r=_RANK, lora_alpha=_RANK, target_modules=["linear"], init_lora_weights=False
    )
    model = get_peft_model(holder, config, adapter_name="first")
    model.add_adapter("second", config)
    start = time.perf_counter()
    model.add_weighted_adapter(
        ["first", "second"],
        list(_WEIGHTS),
        "merged",
        combination_type="svd",
        svd_rank=_RANK,
    )
    return time.perf_counter() - start


def _mergekit(d_out: int, d_in: int) -> float:
    from mergekit.merge_methods.base import TensorGroup
    from mergekit.merge_methods.generalized_task_arithmetic import (
        GeneralizedTaskArithmeticMerge,
    )

    base = torch.zeros(d_out, d_in)
    group = TensorGroup.from_tensors([base, *_deltas(d_out, d_in)], base_index=0)
    method = GeneralizedTaskArithmeticMerge(
        consensus_method=None,
        sparsification_method=None,
        default_normalize=False,
        default_rescale=False,
        method_name="task_arithmetic",
        method_pretty_name=None,
        method_reference_url=None,
    )
    parameters = {
        "weight": dict(enumerate(_WEIGHTS, start=1)),
        "density": {1: 1.0, 2: 1.0},
        "int8_mask": False,
        "normalize": False,
        "rescale": False,
        "lambda": 1.0,
    }
    start = time.perf_counter()
    method.merge_group(group, **parameters)
    return time.perf_counter() - start


def _paper(d_out: int, d_in: int) -> float:
    """Return the seconds of CycleQD's operators (Eq. 1, Sec. 3.3) on full matrices."""
    first, second = _deltas(d_out, d_in)
    start = time.perf_counter()
    child = _WEIGHTS[0] * first + _WEIGHTS[1] * second
    P, S, Qt = torch.linalg.svd(child, full_matrices=False)
    _ = (P * (S * (1 + 0.3 * torch.rand_like(S)))) @ Qt
    return time.perf_counter() - start
