"""Conversations as token ids with the loss on the assistant's turns only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lora_qd.errors import InputError
from lora_qd.experts.data import Example

IGNORED = -100
"""The label of a token that carries no loss."""


@dataclass(frozen=True, slots=True)
class TokenisedExample:
    """One example as the model sees it."""

    ids: list[int]
    labels: list[int]
    """The ids that carry loss, ``IGNORED`` elsewhere; as long as ``ids``."""


def tokenise(
    examples: Sequence[Example],
    tokenizer: Any,  # noqa: ANN401 - transformers is not typed
    *,
    max_length: int,
) -> list[TokenisedExample]:
    """Return the examples of at most ``max_length`` tokens, in their order.

    The context of each assistant's turn is rendered as at inference, with the
    generation prompt; the loss starts right after it.

    Raises:
        InputError: the tokenizer has no chat template, or one that renders the same
            turns differently depending on what follows.
    """
    if not tokenizer.chat_template or not tokenizer.is_fast:
        raise InputError(
            f"expected a fast tokenizer with a chat template in "
            f"{tokenizer.name_or_path}, but it has none; use an instruct model"
        )
    tokenised = []
    for example in examples:
        turns = [{"role": t.role, "content": t.content} for t in example.turns]
        text, spans = _render(turns, tokenizer)
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = encoded["input_ids"]
        if len(ids) > max_length:
            continue
        labels = [
            token if any(start <= offset[0] < end for start, end in spans) else IGNORED
            for token, offset in zip(ids, encoded["offset_mapping"], strict=True)
        ]
        tokenised.append(TokenisedExample(ids, labels))
    return tokenised


def _render(
    turns: list[dict[str, str]],
    tokenizer: Any,  # noqa: ANN401 - transformers is not typed
) -> tuple[str, list[tuple[int, int]]]:
    """Return the rendered conversation and the spans of characters with loss."""
    text: str = tokenizer.apply_chat_template(turns, tokenize=False)
    spans = []
    for index, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        context: str = tokenizer.apply_chat_template(
            turns[:index], tokenize=False, add_generation_prompt=True
        )
        whole: str = (
            tokenizer.apply_chat_template(turns[: index + 1], tokenize=False)
            if index + 1 < len(turns)
            else text
        )
        if not (text.startswith(whole) and whole.startswith(context)):
            raise InputError(
                f"expected the chat template of {tokenizer.name_or_path} to render "
                "the beginning of a conversation as it renders the whole, but it does "
                "not; use another template"
            )
        spans.append((len(context), len(whole)))
    return text, spans
