"""A conversation keeps its turns, its costs and its answers."""

import asyncio

import pytest

from lora_qd.errors import PromptTooLongError
from lora_qd.records import Completion, Message
from lora_qd.tasks.published import Conversation, Verdict

OPENING = (Message("user", "How many?"),)


class Candidate:
    """Says what it is told to, one text a round; an error is raised."""

    def __init__(self, *texts):
        self.texts = list(texts)
        self.heard = []

    async def __call__(self, requests):
        (request,) = requests
        self.heard.append([(m.role, m.content) for m in request.messages])
        text = self.texts.pop(0)
        if isinstance(text, Exception):
            raise text
        return [Completion(text, 10, 3, is_complete=True)]


def talk(candidate, *replies):
    async def main():
        conversation = Conversation(OPENING, candidate, max_tokens=5)
        said = [await conversation.ask(reply) for reply in replies]
        return said, conversation.score(Verdict(0.5, "half"))

    return asyncio.run(main())


def test_every_round_hears_all_before_it_and_costs_add_up():
    candidate = Candidate("a", "b")
    said, score = talk(candidate, None, "more")
    assert said == ["a", "b"]
    assert candidate.heard[1] == [
        ("user", "How many?"),
        ("assistant", "a"),
        ("user", "more"),
    ]
    assert (score.value, score.reason, score.answer) == (0.5, "half", "a\n\nb")
    assert (score.num_prompt_tokens, score.num_tokens) == (20, 6)
    assert score.seconds >= 0


def test_a_question_that_does_not_fit_the_context_is_an_error():
    with pytest.raises(PromptTooLongError, match="too long"):
        talk(Candidate(PromptTooLongError("too long")), None)


def test_a_later_round_that_does_not_fit_is_the_candidates_own_doing():
    candidate = Candidate("a", PromptTooLongError("too long"))
    said, score = talk(candidate, None, "x" * 9999)
    assert said == ["a", None]
    assert score.answer == "a"
