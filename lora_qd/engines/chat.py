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
        self._pair = lru_cache(maxsize=16384)(self._encode_pair)

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
        if request.prompt:
            prompt = self._ids(request.prompt, has_bos=request.has_bos)
        else:
            prompt = self.encode(request.messages)
        _require_room(len(prompt), request.max_tokens, max_model_len)
        return prompt

    def encode_likelihood(
        self, request: Request, max_model_len: int
    ) -> tuple[tuple[int, ...], int]:
        """Return the ids of prompt and continuation, and how many the prompt has.

        Both are encoded as one text, as lm-eval does; white space at the prompt's end
        belongs to the continuation.

        Raises:
            InputError: the continuation has no token of its own.
            PromptTooLongError: they do not fit ``max_model_len``.
        """
        ids, num_context = self._pair(request)
        if len(ids) == num_context:
            raise InputError(
                f"expected a continuation of at least one token, but got "
                f"{request.continuation!r}; check the task's choices"
            )
        # The engine writes one token more, which nobody reads.
        _require_room(num_context, len(ids) - num_context + 1, max_model_len)
        return ids, num_context

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
        ids = self.tokenizer.apply_chat_template(
            _turns(messages),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
        return tuple(ids)

    def _encode_pair(self, request: Request) -> tuple[tuple[int, ...], int]:
        context, continuation = self._text(request), request.continuation or ""
        has_bos = request.has_bos
        if not context:  # something must come before the first token
            tokenizer = self.tokenizer
            first = (tokenizer.bos_token_id, tokenizer.eos_token_id)
            prefix = next(token for token in first if token is not None)
            return (prefix, *self._ids(continuation)), 1
        bare = context.rstrip()
        continuation = context[len(bare) :] + continuation
        num_context = len(self._ids(bare, has_bos=has_bos))
        return self._ids(bare + continuation, has_bos=has_bos), num_context

    def _text(self, request: Request) -> str:
        if not request.messages:
            return request.prompt
        text: str = self.tokenizer.apply_chat_template(
            _turns(request.messages), add_generation_prompt=True, tokenize=False
        )
        return text

    def _ids(self, text: str, *, has_bos: bool = False) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=has_bos).input_ids)

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


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def _require_room(num_prompt: int, num_answer: int, max_model_len: int) -> None:
    if num_prompt + num_answer > max_model_len:
        raise PromptTooLongError(
            f"expected prompt and answer within max_model_len={max_model_len} tokens, "
            f"but got {num_prompt} + {num_answer}; raise it or ask for a shorter answer"
        )
