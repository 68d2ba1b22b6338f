"""What a skill of a published benchmark offers besides scoring."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from lora_qd.records import Completion, Message, Request, Sample, Score
from lora_qd.tasks.task import Task

Turn = str | Callable[[str], str]
"""An answer, or what makes it from the user's last message."""


@runtime_checkable
class PublishedTask(Task, Protocol):
    """A task over published samples, whose gold answers can be replayed."""

    @property
    def all_samples(self) -> Sequence[Sample]:
        """All samples that can be scored here, of all splits."""
        ...

    @property
    def left_out(self) -> Mapping[str, str]:
        """Why a sample cannot be scored here, by its place in the source."""
        ...

    @property
    def sha256(self) -> str:
        """The hash of the source."""
        ...

    def opening(self, sample: Sample) -> Sequence[Message]:
        """Return what a candidate is asked first: instructions and the question."""
        ...

    def gold(self, sample: Sample) -> Sequence[Turn]:
        """Return what a perfect candidate would answer, round by round."""
        ...


class NothingToSayError(Exception):
    """A candidate that says nothing was to choose among given continuations."""


async def replay(task: Task, sample: Sample, answers: Sequence[Turn]) -> Score:
    """Score a candidate that says ``answers``, one a round, and then nothing.

    Of given continuations it finds its answer certain and others unlikely.

    Raises:
        NothingToSayError: it has no answer left to choose a continuation by.
    """
    remaining = iter(answers)

    async def generate(requests: Sequence[Request]) -> list[Completion]:
        completions = []
        for request in requests:
            said = request.messages[-1].content if request.messages else request.prompt
            turn = next(remaining, "")
            text = turn if isinstance(turn, str) else turn(said)
            completions.append(_completion(text, request))
        return completions

    return await task.run(sample, generate)


def _completion(text: str, request: Request) -> Completion:
    if request.continuation is None:
        return Completion(text, 1, 1, is_complete=True)
    if not text:
        raise NothingToSayError
    is_chosen = request.continuation.strip() == text.strip()
    logprob = 0.0 if is_chosen else -1000.0
    return Completion("", 1, 0, True, logprob, is_greedy=is_chosen)
