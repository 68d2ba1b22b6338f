"""What the general exercises add to the laws of all skills."""

import asyncio

import pytest

from lora_qd.records import Completion, Split
from lora_qd.tasks.task import split_of
from lora_qd.tasks.tiny.general import GeneralTask


def score(sample, answer):
    async def generate(requests):
        return [Completion(answer, 7, 5, True) for _ in requests]

    return asyncio.run(GeneralTask().run(sample, generate))


@pytest.fixture(scope="module")
def samples():
    return GeneralTask().samples(Split.TEST)


def test_exactly_the_target_scores_and_space_around_it_is_ignored(samples):
    for sample in samples:
        assert score(sample, sample.target).value == 1.0
        assert score(sample, f" {sample.target}\n").value == 1.0
        assert score(sample, sample.target + " x").value == 0.0


def test_a_wrong_answer_names_the_right_one(samples):
    assert score(samples[0], "wrong").reason == f"expected {samples[0].target!r}"


def test_repeating_the_question_does_not_score(samples):
    assert not any(score(sample, sample.prompt).value for sample in samples)


@pytest.mark.parametrize(
    ("template", "solve"),
    [
        ("repeat", lambda words: words),
        ("reverse", lambda words: words[::-1]),
        ("first", lambda words: words[:1]),
        ("last", lambda words: words[-1:]),
        ("drop first", lambda words: words[1:]),
        ("count", lambda words: [str(len(words))]),
        ("larger", lambda words: [str(max(map(int, words)))]),
        ("smaller", lambda words: [str(min(map(int, words)))]),
    ],
)
def test_targets_are_what_the_exercise_asks_for(samples, template, solve):
    chosen = [sample for sample in samples if sample.template == template]
    assert chosen
    for sample in chosen:
        words = sample.prompt.split(": ")[1].split()
        assert sample.target.split() == solve(words)


def test_splits_are_large_enough():
    task = GeneralTask()
    assert len(task.samples(Split.SEARCH)) >= 64
    assert len(task.samples(Split.VALIDATION)) >= 64
    assert len(task.samples(Split.TEST)) >= 200


def test_training_never_emits_a_sample_of_another_split():
    drawn = GeneralTask().training(seed=5, num=5000)
    assert {str(split_of(sample.id)) for sample in drawn} == {"train"}
