"""A conversation of several rounds with a candidate, and the score that it comes to."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from lora_qd.errors import PromptTooLongError
from lora_qd.records import Generate, Message, Request, Score

_TURN_MARK = "\n\n"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one sample ended."""

    value: float
    """In [0, 1], higher is better."""
    reason: str = ""
    """Why the answer failed, one line; empty for a full score."""


class Conversation:
    """Keeps the turns and adds up tokens and seconds.

    The first question must fit the engine's context, or the error goes up; a later
    round that does not is the candidate's own doing, and `ask` returns None.
    """

    def __init__(
        self, opening: Sequence[Message], generate: Generate, *, max_tokens: int
    ) -> None:
        """Begin with ``opening``, the last of which is the user's question.

        Args:
            opening: instructions, examples and the question.
            generate: asks the candidate.
            max_tokens: most tokens of one answer.
        """
        self._turns = list(opening)
        self._generate = generate
        self._max_tokens = max_tokens
        self._answers: list[str] = []
        self._num_prompt_tokens = 0
        self._num_tokens = 0
        self._seconds = 0.0
        self._since = time.monotonic()

    async def ask(self, reply: str | None = None) -> str | None:
        """Return the candidate's next answer; None if its context is full.

        Args:
            reply: what its last answer led to; None for the first question.
        """
        if reply is not None:
            self._turns.append(Message("user", reply))
        request = Request(tuple(self._turns), self._max_tokens)
        self._seconds += time.monotonic() - self._since
        try:
            (completion,) = await self._generate([request])
        except PromptTooLongError:
            if not self._answers:
                raise
            return None
        finally:
            self._since = time.monotonic()
        self._num_prompt_tokens += completion.num_prompt_tokens
        self._num_tokens += completion.num_tokens
        self._answers.append(completion.text)
        self._turns.append(Message("assistant", completion.text))
        return completion.text

    def score(self, verdict: Verdict) -> Score:
        """Return the score, with all answers, tokens and the seconds of scoring."""
        return Score(
            value=verdict.value,
            reason=verdict.reason,
            answer=_TURN_MARK.join(self._answers),
            num_prompt_tokens=self._num_prompt_tokens,
            num_tokens=self._num_tokens,
            seconds=self._seconds + time.monotonic() - self._since,
        )
