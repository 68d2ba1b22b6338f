"""A faster LoRA product for vLLM's CPU worker; loaded there by ``VllmServer``.

vLLM 0.32 gathers the adapter's weights once per *token* on CPU. Here the tokens of a
step meet the weights of all its adapters in two dense products, and a mask keeps each
token to its own adapter:

    y += ((x A^T) * mask) B^T        A (n r, d_in), B (d_out, n r), mask (T, n r)

for T tokens and the n adapters of the step. That wastes n - 1 of n small products and
saves T copies of the weights. A token without adapter gets an empty mask, so that rows
of the bare base are right too, which they are not in vLLM's own form.

Not done here: full weights, embeddings and lm_head, which stay with vLLM's own code.
Weights must be finite: a masked zero times infinity is not zero.
"""

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU


def add_lora(
    y: torch.Tensor,
    x: torch.Tensor,
    factors: tuple[torch.Tensor, torch.Tensor],
    slots: torch.Tensor,
    mask: torch.Tensor | None,
) -> None:
    """Add the update of each token's adapter to ``y``, in float32 until the sum.

    Args:
        y: ``(T, d_out)``, changed in place.
        x: ``(T, d_in)``.
        factors: A ``(slots, 1, rank, d_in)`` and B ``(slots, 1, d_out, rank)``.
        slots: ``(n,)``, the slots in use.
        mask: ``(T, n, 1)``, 1 where the token belongs to the slot; None: all do.
    """
    A, B = (f[slots, 0].to(torch.float32) for f in factors)
    num_slots, rank, d_in = A.shape
    h = x.to(torch.float32) @ A.reshape(num_slots * rank, d_in).T
    if mask is not None:
        h = (h.view(-1, num_slots, rank) * mask).view(-1, num_slots * rank)
    y += (h @ B.transpose(1, 2).reshape(num_slots * rank, -1)).to(y.dtype)


def _update_metadata(self: Any, *args: Any, **kwargs: Any) -> None:
    """Let vLLM note the adapter of each token, then derive slots and mask once."""
    _vllm_update_metadata(self, *args, **kwargs)
    indices = self.token_lora_indices
    used = torch.unique(indices)
    self.loraqd_slots = used[used >= 0]
    self.loraqd_mask = None
    if len(used) > 1:
        mask = indices[:, None] == self.loraqd_slots[None, :]
        self.loraqd_mask = mask[:, :, None].to(torch.float32)


def _add_lora_linear(
    self: Any,
    y: torch.Tensor,
    x: torch.Tensor,
    lora_a_stacked: tuple[torch.Tensor, ...],
    lora_b_stacked: tuple[torch.Tensor, ...],
    scale: float,
    output_slices: tuple[int, ...],
    **_: Any,
) -> None:
    """Replace ``PunicaWrapperCPU.add_lora_linear``: the slices of one linear layer."""
    if not len(self.loraqd_slots):
        return
    if scale != 1.0:
        raise ValueError(f"expected scaling folded into B by vLLM, but got {scale}")
    y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
    left = 0
    for A, B, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
        part = y[:, left : left + width]
        add_lora(part, x, (A, B), self.loraqd_slots, self.loraqd_mask)
        left += width


_vllm_update_metadata = PunicaWrapperCPU.update_metadata
PunicaWrapperCPU.update_metadata = _update_metadata
PunicaWrapperCPU.add_lora_linear = _add_lora_linear


class WorkerExtension:
    """What vLLM mixes into its worker; importing this module is what counts."""
