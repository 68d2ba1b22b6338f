"""Rows of a batch and what each has written; blocking, for one thread."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lora_qd.engines.answer import Answer
from lora_qd.engines.batch_model import BatchModel, Prompt
from lora_qd.engines.core_layers import CoreLayers, Placed
from lora_qd.engines.local_model import choice
from lora_qd.records import Request


@dataclass(slots=True, eq=False)
class Row:
    """One request on its way through the batch."""

    member: Placed | None
    """Who answers; None is the bare base."""
    prompt: tuple[int, ...]
    request: Request
    answer: Answer
    last: int = -1
    """The newest token."""
    is_dropped: bool = False
    """Whether nobody waits for the answer any more."""
    draws: torch.Generator = field(default_factory=torch.Generator)

    def __post_init__(self) -> None:
        self.draws.manual_seed(self.request.seed)

    def take(self, logits: torch.Tensor) -> bool:
        """Take the next token, logits ``(vocabulary,)``; return whether it is done."""
        self.last = choice(logits, self.request.temperature, self.draws)
        return self.answer.take(self.last)


class BatchRows:
    """Lets rows enter, decodes a token of each, and gives back those that are done."""

    def __init__(self, base: Any, layers: CoreLayers) -> None:  # noqa: ANN401 - untyped
        """Begin without rows, on a base with members' layers in it."""
        self._base = base
        self._layers = layers
        self._model = BatchModel(base, layers)
        self.rows: list[Row] = []
        """Under way, in the order of the model's."""

    def turn(self, entering: Sequence[Row]) -> list[Row]:
        """Take ``entering`` in, write a token of every row; return who is done."""
        done = self._leave([row for row in self.rows if row.is_dropped])
        if entering:
            prompts = [Prompt(row.member, row.prompt) for row in entering]
            logits = self._model.enter(prompts)
            self.rows += entering
            done += self._leave(
                [r for r, own in zip(entering, logits, strict=True) if r.take(own)]
            )
        if self.rows:
            logits = self._model.step([row.last for row in self.rows])
            done += self._leave(
                [r for r, own in zip(self.rows, logits, strict=True) if r.take(own)]
            )
        return done

    def clear(self) -> None:
        """Let all rows leave, whatever they have written."""
        self.rows = []
        self._model = BatchModel(self._base, self._layers)

    @torch.inference_mode()
    def logits(
        self, member: Placed | None, tokens: Sequence[int], num: int
    ) -> torch.Tensor:
        """Return the logits after each of the last ``num`` tokens, beside the batch.

        Returns:
            ``(num, vocabulary)``.
        """
        self._layers.set_rows([member])
        ids = torch.tensor([tokens], device=self._base.device)
        output = self._base(input_ids=ids, logits_to_keep=num)
        self._layers.set_rows([row.member for row in self.rows])
        logits: torch.Tensor = output.logits[0]
        return logits

    def _leave(self, leaving: list[Row]) -> list[Row]:
        if leaving:
            gone = set(map(id, leaving))
            kept = [n for n, row in enumerate(self.rows) if id(row) not in gone]
            self._model.keep(kept)
            self.rows = [self.rows[n] for n in kept]
        return leaving
