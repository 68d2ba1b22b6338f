"""Tasks of the real lm-eval as skills."""

import asyncio

import pytest

from lora_qd.errors import InputError
from lora_qd.records import Completion, Message, Split
from lora_qd.tasks.bridges.lm_eval_settings import LmEvalSettings
from lora_qd.tasks.bridges.lm_eval_task import LmEvalTask
from lora_qd.tasks.published import NothingToSayError, replay
from tests.tasks.bridges.lm_eval_tasks import write_tasks


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_tasks(tmp_path_factory.mktemp("lm-eval"))


def open_task(directory, name, **settings):
    settings = LmEvalSettings(task=name, include=directory, **settings)
    return LmEvalTask(f"lm-eval:{name}", settings)


def answering(*completions):
    """Return a candidate that gives these completions, whatever it is asked."""

    async def generate(requests):
        generate.requests = list(requests)
        return [completions[n % len(completions)] for n in range(len(requests))]

    return generate


def said(text):
    return Completion(text, 5, 2, is_complete=True)


def weighed(logprob, *, is_greedy=False):
    return Completion("", 5, 0, True, logprob, is_greedy)


def run(task, sample, generate):
    return asyncio.run(task.run(sample, generate))


@pytest.mark.parametrize("name", ["toy_words", "toy_choice", "toy_cloze", "toy_group"])
def test_the_gold_answer_of_every_sample_scores_1(directory, name):
    task = open_task(directory, name)
    scores = [
        asyncio.run(replay(task, sample, task.gold(sample)))
        for sample in task.all_samples
    ]
    assert {score.value for score in scores} == {1.0}
    assert {score.reason for score in scores} == {""}


@pytest.mark.parametrize("answer", ["", "zz", "A" * 100_000, "\0", "aa aa aa" * 999])
def test_another_answer_scores_0_with_a_reason(directory, answer):
    task = open_task(directory, "toy_words")
    sample = next(s for s in task.all_samples if s.target == "bb")
    score = run(task, sample, answering(said(answer)))
    assert score.value == 0
    assert score.reason == "exact_match is 0"


def test_the_first_filter_takes_the_word_out_and_another_can_be_chosen(directory):
    strict = open_task(directory, "toy_words")
    loose = open_task(directory, "toy_words", filter="loose")
    sample = next(s for s in strict.all_samples if s.target == "bb")
    candidate = answering(said(" bb!"))
    assert run(strict, sample, candidate).value == 1
    assert run(loose, loose.all_samples[1], candidate).value == 0


def test_a_choice_is_the_likeliest_continuation(directory):
    task = open_task(directory, "toy_choice")
    sample = task.all_samples[1]
    right = answering(*(weighed(x) for x in (-9.0, -1.0, -9.0, -9.0)))
    wrong = answering(*(weighed(x) for x in (-1.0, -9.0, -9.0, -9.0)))
    assert run(task, sample, right).value == 1
    score = run(task, sample, wrong)
    assert (score.value, score.answer) == (0, " aa 1")
    assert [r.continuation for r in wrong.requests] == [
        f" {letter * 2} 1" for letter in "abcd"
    ]


def test_nothing_to_say_is_no_choice(directory):
    task = open_task(directory, "toy_choice")
    with pytest.raises(NothingToSayError):  # noqa: PT012, RUF100
        asyncio.run(replay(task, task.all_samples[0], ()))


def test_prompts_are_raw_by_default_and_conversations_where_asked_for(directory):
    raw = open_task(directory, "toy_words")
    chat = open_task(directory, "toy_words", chat=True)
    raw_prompt, conversation = (t._requests(t.all_samples[0])[0] for t in (raw, chat))
    assert raw_prompt.messages == ()
    assert raw_prompt.prompt.count("Question:") == 3
    assert raw_prompt.stop == ("\n",)
    assert raw_prompt.max_tokens == 6
    roles = [turn.role for turn in conversation.messages]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert conversation.prompt == ""
    assert isinstance(chat.opening(chat.all_samples[0])[0], Message)


def test_number_of_examples_and_of_samples_follow_the_settings(directory):
    task = open_task(directory, "toy_words", num_fewshot=0, limit=5, bos=True)
    assert len(task.all_samples) == 5
    request = task._requests(task.all_samples[0])[0]
    assert request.prompt.count("Question:") == 1
    assert request.has_bos


def test_splits_are_disjoint_and_the_same_every_time(directory):
    first, second = (open_task(directory, "toy_group") for _ in range(2))
    ids = {split: [s.id for s in first.samples(split)] for split in Split}
    assert ids == {split: [s.id for s in second.samples(split)] for split in Split}
    assert sum(map(len, ids.values())) == len(first.all_samples) == 48
    assert len({i for each in ids.values() for i in each}) == 48
    assert first.sha256 == second.sha256
    assert first.sha256 != open_task(directory, "toy_words").sha256


def test_a_metric_can_be_chosen(directory):
    task = open_task(directory, "toy_choice", metric="acc_norm")
    long_but_likely = answering(*(weighed(x) for x in (-9.0, -1.0, -9.0, -9.0)))
    assert run(task, task.all_samples[1], long_but_likely).value == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "toy_nothing"}, "it has no 'toy_nothing'; 'lm-eval ls tasks'"),
        ({"task": "toy_unsafe"}, "runs what the model wrote without a sandbox"),
        ({"task": "toy_rolling"}, "has perplexities"),
        ({"task": "toy_even_group"}, "is a mean over tasks"),
        ({"task": "toy_cloze", "metric": "perplexity"}, "one of acc, but got"),
        ({"task": "toy_words", "metric": "f1"}, "one of exact_match, but got 'f1'"),
        ({"task": "toy_words", "filter": "x"}, "one of strict, loose, but got 'x'"),
    ],
)
def test_what_cannot_be_a_skill_is_refused(directory, settings, words):
    with pytest.raises(InputError, match=words):
        LmEvalTask("x", LmEvalSettings(include=directory, **settings))


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(InputError, match="directory of tasks at .*nowhere"):
        open_task(tmp_path / "nowhere", "toy_words")


def test_missing_data_are_named(tmp_path):
    write_tasks(tmp_path)
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(InputError, match="to load its task 'toy_words', but got"):
        open_task(tmp_path, "toy_words")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("toy_failing", "ZeroDivisionError: no letters; mend the task"),
        ("toy_unbounded", r"'spread' of 'toy_unbounded' in \[0, 1\], but got 7"),
    ],
)
def test_a_broken_scorer_is_an_error_and_no_score(directory, name, words):
    task = open_task(directory, name)
    with pytest.raises(InputError, match=words):
        run(task, task.all_samples[0], answering(said("x")))


def test_loading_prints_nothing_and_leaves_the_random_generators_alone(
    directory, capfd
):
    import random

    state = random.getstate()
    open_task(directory, "toy_words")
    assert random.getstate() == state
    assert capfd.readouterr() == ("", "")
