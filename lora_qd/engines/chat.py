"""Conversations as token ids, by the base model's own chat template."""

from functools import lru_cache
from typing import Any

from lora_qd.errors import InputError
from lora_qd.records import Message


class ChatFormat:
    """Renders messages as the base model's tokenizer does; loaded on first use."""

    def __init__(self, model: str) -> None:
        """Bind a base model: a directory, or a Hub id that is in the local cache."""
        self._model = model
        self._tokenizer: Any = None
        # The same samples are asked of every candidate.
        self.encode = lru_cache(maxsize=16384)(self._encode)

    def _encode(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """Return the prompt's token ids, the header of the answer included."""
        if self._tokenizer is None:
            self._tokenizer = self._load()
        turns = [{"role": m.role, "content": m.content} for m in messages]
        ids = self._tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return tuple(ids)

    def _load(self) -> Any:  # noqa: ANN401 - transformers is not followed by mypy
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self._model)
        except (OSError, ValueError) as error:
            raise InputError(
                f"expected a tokenizer in {self._model}, but it does not load: "
                f"{str(error).splitlines()[0]}; name a base model with its tokenizer"
            ) from error
        if not tokenizer.chat_template:
            raise InputError(
                f"expected a chat template in the tokenizer of {self._model}, but "
                "there is none; use an instruction-tuned base model"
            )
        return tokenizer
