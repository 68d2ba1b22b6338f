"""A base model that decodes many sequences at once, each as a member of its own.

Rows enter and leave between two steps. Prompts are padded on the left; a row that has
left takes its keys and values with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lora_qd.engines.core_layers import CoreLayers, Placed


@dataclass(frozen=True, slots=True)
class Prompt:
    """A sequence that is to enter."""

    member: Placed | None
    """Who answers; None is the bare base."""
    tokens: tuple[int, ...]


class BatchModel:
    """The rows under way, their keys and values."""

    def __init__(self, model: Any, layers: CoreLayers) -> None:  # noqa: ANN401
        """Begin without rows.

        Args:
            model: a causal transformers model with ordinary attention.
            layers: hooked into it.
        """
        self._model = model
        self._layers = layers
        self._members: list[Placed | None] = []
        self._mask = torch.zeros((0, 0), dtype=torch.long)
        """``(rows, length)``: 1 where a row has a token."""
        self._keys: list[tuple[torch.Tensor, torch.Tensor]] = []
        """By layer, ``(rows, heads, length, head_dim)`` each."""

    @torch.inference_mode()
    def enter(self, prompts: Sequence[Prompt]) -> torch.Tensor:
        """Read prompts as rows behind those under way.

        Returns:
            The logits of their first answers' tokens, ``(prompts, vocabulary)``.
        """
        length = max(len(prompt.tokens) for prompt in prompts)
        ids = torch.zeros((len(prompts), length), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt.tokens) :] = torch.tensor(prompt.tokens)
            mask[row, length - len(prompt.tokens) :] = 1
        members = [prompt.member for prompt in prompts]
        logits, cache = self._forward(members, ids, mask, [])
        self._keys = _joined(self._keys, cache)
        self._mask = _stacked(self._mask, mask)
        self._members += members
        self._layers.set_rows(self._members)
        return logits

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Give every row its next token; return the logits of those after them.

        Args:
            tokens: one per row.

        Returns:
            ``(rows, vocabulary)``.
        """
        ids = torch.tensor(tokens).unsqueeze(1)
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        logits, self._keys = self._forward(None, ids, self._mask, self._keys)
        return logits

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Let all rows leave but these."""
        kept = torch.tensor(rows, dtype=torch.long)
        mask = self._mask[kept]
        unused = int((mask.cumsum(1) == 0).all(0).sum()) if len(kept) else mask.shape[1]
        self._mask = mask[:, unused:]
        self._members = [self._members[row] for row in rows]
        if not rows:
            self._keys = []
            return
        self._keys = [
            (k[kept.to(k.device), :, unused:], v[kept.to(v.device), :, unused:])
            for k, v in self._keys
        ]
        self._layers.set_rows(self._members)

    def _forward(
        self,
        members: list[Placed | None] | None,
        ids: torch.Tensor,
        mask: torch.Tensor,
        keys: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Run ``ids`` behind ``keys``; ``members`` are those of new rows."""
        from transformers import DynamicCache

        if members is not None:
            self._layers.set_rows(members)
        device = self._model.device
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        cache = DynamicCache()
        for number, (key, value) in enumerate(keys):
            cache.update(key, value, number)
        output = self._model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        layers = output.past_key_values.layers
        return output.logits[:, -1], [(each.keys, each.values) for each in layers]


def _joined(
    first: list[tuple[torch.Tensor, torch.Tensor]],
    second: list[tuple[torch.Tensor, torch.Tensor]],
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the rows of both, the shorter ones padded on the left."""
    if not first:
        return second
    return [
        (_behind(k1, k2), _behind(v1, v2))
        for (k1, v1), (k2, v2) in zip(first, second, strict=True)
    ]


def _behind(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    length = max(first.shape[2], second.shape[2])
    return torch.cat([_padded(first, length, 2), _padded(second, length, 2)])


def _stacked(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    length = max(first.shape[1], second.shape[1])
    return torch.cat([_padded(first, length, 1), _padded(second, length, 1)])


def _padded(tensor: torch.Tensor, length: int, axis: int) -> torch.Tensor:
    """Return ``tensor`` with zeros in front along ``axis``."""
    missing = length - tensor.shape[axis]
    after = 2 * (tensor.ndim - 1 - axis)
    return torch.nn.functional.pad(tensor, (*(0,) * after, missing, 0))
