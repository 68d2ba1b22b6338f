"""Conversations as token ids, by the base model's own chat template."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from lora_qd.errors import InputError, PromptTooLongError
from lora_qd.records import Message, Request


class ChatFormat:
    """Renders messages as the base model's tokenizer does; loaded on first use."""

    def __init__(self, model: str) -> None:
        """Bind a base model: a directory, or a Hub id that is in the local cache."""
        self._model = model
        self._tokenizer: Any = None
        # The same samples are asked of every candidate.
        self.encode = lru_cache(maxsize=16384)(self._encode)

    @property
    def tokenizer(self) -> Any:  # noqa: ANN401 - transformers is not followed by mypy
        """The base model's tokenizer.

        Raises:
            InputError: it does not load, or has no chat template.
        """
        if self._tokenizer is None:
            self._tokenizer = self._load()
        return self._tokenizer

    def encode_request(self, request: Request, max_model_len: int) -> tuple[int, ...]:
        """Return the prompt's token ids, checked to leave room for the answer.

        Raises:
            PromptTooLongError: prompt and answer do not fit ``max_model_len``.
        """
        prompt = self.encode(request.messages)
        if len(prompt) + request.max_tokens > max_model_len:
            raise PromptTooLongError(
                f"expected prompt and answer within max_model_len={max_model_len} "
                f"tokens, but got {len(prompt)} + {request.max_tokens}; raise it or "
                "ask for a shorter answer"
            )
        return prompt

    def decoder(self, prompt: Sequence[int]) -> Callable[[int], str]:
        """Return what turns each next token of an answer into text, as vLLM does.

        Special tokens are no text. The bytes of an unfinished character are held back.

        Raises:
            InputError: the tokenizer is not a fast one.
        """
        from tokenizers.decoders import DecodeStream

        if not self.tokenizer.is_fast:
            raise InputError(
                f"expected a fast tokenizer in {self._model}, but it is a slow one; "
                "convert it with transformers"
            )
        stream = DecodeStream(ids=list(prompt), skip_special_tokens=True)
        backend = self.tokenizer.backend_tokenizer
        return lambda token: stream.step(backend, token) or ""

    def _encode(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """Return the prompt's token ids, the header of the answer included."""
        turns = [{"role": m.role, "content": m.content} for m in messages]
        ids = self.tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return tuple(ids)

    def _load(self) -> Any:  # noqa: ANN401 - as above
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
