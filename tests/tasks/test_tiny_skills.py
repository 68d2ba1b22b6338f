"""Laws that every built-in skill keeps: splits, novelty, gold and empty answers."""

import asyncio
import re
from collections import Counter

import pytest

from lora_qd.records import Completion, Split
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.task import sample_id, split_of
from lora_qd.tasks.tiny import tiny_tasks

SKILLS = ("code", "database", "shell")
SPLITS = (Split.SEARCH, Split.VALIDATION, Split.TEST)
SMALLEST = {Split.SEARCH: 64, Split.VALIDATION: 64, Split.TEST: 400}


@pytest.fixture(scope="module")
def tasks():
    return tiny_tasks(Sandbox())


@pytest.fixture(scope="module")
def training(tasks):
    return {skill: tasks[skill].training(0, 5000) for skill in SKILLS}


def all_samples(task):
    return [sample for split in SPLITS for sample in task.samples(split)]


def score_all(name, answer_of, samples=None):
    """Score an answer to every sample through the real sandbox."""

    async def run():
        async with Sandbox(num_workers=2) as sandbox:
            task = tiny_tasks(sandbox)[name]

            async def score(sample):
                async def generate(requests):
                    return [Completion(answer_of(sample), 1, 1, True) for _ in requests]

                return await task.run(sample, generate)

            chosen = samples or all_samples(task)
            return chosen, await asyncio.gather(*map(score, chosen))

    return asyncio.run(run())


def words_of(prompt):
    return frozenset(re.findall(r"\w+", prompt))


@pytest.mark.parametrize("skill", SKILLS)
def test_a_skill_has_at_least_25_templates(tasks, skill):
    names = Counter(s.template for s in tasks[skill].samples(Split.TEST))
    assert len(names) >= 25
    assert max(names.values()) - min(names.values()) <= 1


@pytest.mark.parametrize("skill", SKILLS)
@pytest.mark.parametrize("split", SPLITS)
def test_splits_are_large_enough_and_follow_from_the_id(tasks, skill, split):
    samples = tasks[skill].samples(split)
    assert len({s.id for s in samples}) == len(samples) >= SMALLEST[split]
    for sample in samples:
        assert sample.id == sample_id(skill, sample.prompt)
        assert split_of(sample.id) is split


@pytest.mark.parametrize("skill", [*SKILLS, "general"])
def test_samples_are_the_same_on_every_call_and_in_every_instance(tasks, skill):
    again = tiny_tasks(Sandbox())[skill]
    for split in SPLITS:
        assert list(again.samples(split)) == list(tasks[skill].samples(split))


@pytest.mark.parametrize("skill", SKILLS)
def test_training_never_emits_a_sample_of_another_split(tasks, skill):
    taken = {s.id for s in all_samples(tasks[skill])}
    drawn = tasks[skill].training(seed=3, num=5000)
    assert len({s.id for s in drawn}) == 5000
    assert not taken & {s.id for s in drawn}
    assert {split_of(s.id) for s in drawn} == {Split.TRAIN}


@pytest.mark.slow
@pytest.mark.parametrize("skill", SKILLS)
def test_most_test_answers_occur_nowhere_in_training(tasks, training, skill):
    known = {s.target for s in training[skill]}
    test = tasks[skill].samples(Split.TEST)
    assert sum(s.target not in known for s in test) / len(test) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("skill", SKILLS)
def test_the_nearest_training_example_rarely_has_the_answer(tasks, training, skill):
    known = [(words_of(s.prompt), s.target) for s in training[skill]]

    def nearest(sample):
        asked = words_of(sample.prompt)
        return max(known, key=lambda k: len(asked & k[0]) / len(asked | k[0]))[1]

    samples = tasks[skill].samples(Split.TEST)[:200]
    _, scores = score_all(skill, nearest, samples)
    assert sum(s.value for s in scores) / len(samples) <= 0.3


@pytest.mark.parametrize("skill", [*SKILLS, "general"])
def test_every_gold_answer_scores_1(skill):
    samples, scores = score_all(skill, lambda sample: sample.target)
    wrong = [
        (sample.prompt, sample.target, score.reason)
        for sample, score in zip(samples, scores, strict=True)
        if score.value != 1.0
    ]
    assert wrong == []


@pytest.mark.parametrize("skill", [*SKILLS, "general"])
def test_every_empty_answer_scores_0_with_a_reason(skill):
    _, scores = score_all(skill, lambda sample: "")
    assert all(score.value == 0.0 and score.reason for score in scores)


@pytest.mark.parametrize("skill", SKILLS)
@pytest.mark.parametrize(
    "answer", ["~~~", "pass", "true", "SELECT 1", "\x00", "é" * 500]
)
def test_no_constant_answer_scores(tasks, skill, answer):
    samples = tasks[skill].samples(Split.SEARCH)[:30]
    _, scores = score_all(skill, lambda sample: answer, samples)
    assert sum(score.value for score in scores) <= 1  # a count may happen to be 1


@pytest.mark.parametrize("skill", SKILLS)
def test_the_answer_to_another_question_of_the_template_rarely_scores(tasks, skill):
    samples = tasks[skill].samples(Split.TEST)[:200]
    other = {s.template: s for s in tasks[skill].samples(Split.SEARCH)}
    _, scores = score_all(skill, lambda s: other[s.template].target, samples)
    assert sum(score.value for score in scores) / len(samples) <= 0.05
