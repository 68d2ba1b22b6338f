"""One answer while it is written: tokens become text until something ends it."""

from collections.abc import Callable, Sequence

from lora_qd.records import Completion, Request


class Answer:
    """Takes token after token, and says when the turn is over."""

    def __init__(
        self,
        request: Request,
        num_prompt_tokens: int,
        ends: frozenset[int],
        decode: Callable[[int], str],
    ) -> None:
        """Begin.

        Args:
            request: says what may end the answer.
            num_prompt_tokens: of its prompt.
            ends: the tokens that end a turn.
            decode: returns the text of the next token.
        """
        self._request = request
        self._num_prompt_tokens = num_prompt_tokens
        self._ends = ends
        self._decode = decode
        self._text = ""
        self._num_tokens = 0
        self._is_complete = False

    def take(self, token: int) -> bool:
        """Take the next token; return whether it was the last one."""
        self._num_tokens += 1  # the end of the turn counts too, as it does in vLLM
        self._is_complete = token in self._ends
        if not self._is_complete:
            self._text += self._decode(token)
            self._text, self._is_complete = _cut(self._text, self._request.stop)
        return self._is_complete or self._num_tokens == self._request.max_tokens

    @property
    def completion(self) -> Completion:
        """What was written so far."""
        return Completion(
            self._text, self._num_prompt_tokens, self._num_tokens, self._is_complete
        )


def _cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Return what is before the stop text that ends first, and whether there is one."""
    found = [stop for stop in stops if stop in text]
    if not found:
        return text, False
    first = min(found, key=lambda stop: text.index(stop) + len(stop))
    return text[: text.index(first)], True
