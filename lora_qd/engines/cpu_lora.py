"""A faster LoRA product for vLLM's CPU worker; ``VllmServer`` has it loaded there.

vLLM 0.32 copies the adapter's weights once per *token* on CPU. Here the tokens of a
step meet the weights of all its adapters in two dense products, and a mask keeps each
token to its own adapter:

    y += ((x A^T) * mask) B^T         A (n r, d_in), B (d_out, n r), mask (T, n r)

for T tokens and the n adapters of the step. A token without adapter has an empty mask,
so that rows of the bare base are right too, which they are not in vLLM's own form.

Weights must be finite, since a masked zero times infinity is not zero; the engine
checks that before it loads an adapter. Not done here: full weights, embeddings and
lm_head, which stay with vLLM's own code.
"""

from typing import Any

import torch
from vllm.lora.punica_wrapper import punica_cpu


def add_lora(
    y: torch.Tensor,
    x: torch.Tensor,
    factors: tuple[torch.Tensor, torch.Tensor],
    slots: torch.Tensor,
    mask: torch.Tensor | None,
) -> None:
    """Add the update of each token's adapter to ``y``, in float32 up to the sum.

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


class MaskedLora(punica_cpu.PunicaWrapperCPU):  # type: ignore[misc]  # not followed
    """vLLM's bookkeeping of a step's adapters, with the product above."""

    slots: torch.Tensor
    """``(n,)``, the slots that this step's tokens use."""
    mask: torch.Tensor | None
    """``(T, n, 1)``; None where all tokens use the same slot."""

    def update_metadata(self, *step: object, **options: object) -> None:
        """Note the adapter of each token, then derive slots and mask once a step."""
        super().update_metadata(*step, **options)
        indices: torch.Tensor = self.token_lora_indices
        used = torch.unique(indices)
        self.slots = used[used >= 0]
        self.mask = None
        if len(used) > 1:
            mask = indices[:, None] == self.slots[None, :]
            self.mask = mask[:, :, None].to(torch.float32)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        *layer: Any,  # noqa: ANN401 - the signature is vLLM's
    ) -> None:
        """Add the updates of one linear layer, whose output may be several slices."""
        A_by_slice, B_by_slice, scale, widths = layer
        if scale != 1.0:
            raise ValueError(f"expected the scaling inside B, but got {scale} apart")
        if not len(self.slots):
            return
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        left = 0
        for A, B, width in zip(A_by_slice, B_by_slice, widths, strict=True):
            add_lora(y[:, left : left + width], x, (A, B), self.slots, self.mask)
            left += width


class WorkerExtension:
    """What vLLM mixes into its worker: nothing; it imports this module for it."""


punica_cpu.PunicaWrapperCPU = MaskedLora
