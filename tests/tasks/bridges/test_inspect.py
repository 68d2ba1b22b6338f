"""Tasks of the real Inspect as skills."""

import asyncio
from pathlib import Path

import pytest

from lora_qd.errors import EngineLostError, InputError, MissingExtraError
from lora_qd.records import Completion, Split
from lora_qd.tasks.bridges.inspect_settings import InspectSettings
from lora_qd.tasks.bridges.inspect_task import InspectTask, _load

TASKS = Path(__file__).with_name("inspect_tasks.py")


def open_task(name, **settings):
    settings = InspectSettings(task=f"{TASKS}@{name}", **settings)
    return InspectTask(f"inspect:{name}", settings)


def answering(answer):
    """Return a candidate; ``answer`` makes its text of a request."""

    async def generate(requests):
        generate.requests += requests
        return [Completion(answer(r), 5, 2, is_complete=True) for r in requests]

    generate.requests = []
    return generate


def last_word(request):
    return request.messages[-1].content.split()[-1]


def run_all(task, *candidates):
    """Return the scores of all samples, per candidate, asked for at the same time."""

    async def main():
        try:
            return await asyncio.gather(
                *(
                    asyncio.gather(*(task.run(s, each) for s in task.all_samples))
                    for each in candidates
                )
            )
        finally:
            await task.close()

    return asyncio.run(main())


def test_right_answers_score_1_and_others_0_of_candidates_side_by_side():
    right, empty = answering(last_word), answering(lambda _: "")
    scores = run_all(open_task("words"), right, empty)
    assert [score.value for score in scores[0]] == [1.0] * 12
    assert [score.value for score in scores[1]] == [0.0] * 12
    assert [score.answer for score in scores[0]] == [f"word{n}" for n in range(12)]
    assert {score.reason for score in scores[0]} == {""}
    assert all(score.reason for score in scores[1])
    assert {(s.num_prompt_tokens, s.num_tokens) for s in scores[0]} == {(5, 2)}


def test_the_solver_decides_what_is_asked():
    candidate = answering(last_word)
    run_all(open_task("words", max_tokens=7), candidate)
    [system, user] = candidate.requests[0].messages
    assert (system.role, system.content) == ("system", "Repeat the last word.")
    assert user.role == "user"
    assert {request.max_tokens for request in candidate.requests} == {7}
    assert {request.temperature for request in candidate.requests} == {0.0}


@pytest.mark.slow
def test_choices_and_rounds_are_the_solvers_own():
    [chosen] = run_all(open_task("choices"), answering(lambda _: "ANSWER: B"))
    [sure] = run_all(open_task("rounds"), answering(lambda r: "yes"))
    assert {score.value for score in (*chosen, *sure)} == {1.0}
    assert sure[0].answer == "yes\n\nyes"
    assert sure[0].num_tokens == 4


@pytest.mark.slow
def test_the_task_takes_arguments_and_a_key_of_its_scores():
    assert len(open_task("words", args={"num": 3}).all_samples) == 3
    [scores] = run_all(open_task("letters", metric="letters"), answering(lambda _: "c"))
    assert {score.value for score in scores} == {ord("c") % 7 / 6}
    assert {score.reason for score in scores} == {"a b"}


@pytest.mark.slow
def test_samples_are_the_same_every_time_and_in_one_split():
    first = open_task("words")
    _load.cache_clear()
    second = open_task("words")
    assert first.sha256 == second.sha256
    ids = [sample.id for split in Split for sample in first.samples(split)]
    assert sorted(ids) == sorted(sample.id for sample in second.all_samples)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"metric": "double"}, r"in \[0, 1\], but got 2"),
        ({"metric": "none"}, "has scores with letters, double, not 'none'"),
        ({"scorer": "match"}, "has the scorers spread, not 'match'"),
    ],
)
def test_a_score_that_is_none_is_an_error(settings, words):
    task = open_task("letters", **settings)
    with pytest.raises(InputError, match=words):
        run_all(task, answering(lambda _: "a"))


@pytest.mark.slow
def test_a_broken_scorer_is_an_error_and_no_score():
    task = open_task("failing")
    [sample] = task.all_samples
    error = rf"raised ZeroDivisionError\('no letters'\) on sample {sample.id}"
    with pytest.raises(InputError, match=error):
        run_all(task, answering(lambda _: "a"))


def test_what_an_engine_raises_reaches_its_own_candidate_alone():
    async def lost(requests):
        raise EngineLostError("the engine is gone")

    async def main():
        task = open_task("words")
        try:
            both = [
                asyncio.gather(
                    *(task.run(s, each) for s in task.all_samples),
                    return_exceptions=True,
                )
                for each in (lost, answering(last_word))
            ]
            return await asyncio.gather(*both)
        finally:
            await task.close()

    failed, fine = asyncio.run(main())
    assert {type(error) for error in failed} == {EngineLostError}
    assert {score.value for score in fine} == {1.0}


def test_a_cancelled_candidate_leaves_the_next_one_alone():
    async def main():
        task = open_task("words")
        started = asyncio.Event()

        async def hanging(requests):
            started.set()
            await asyncio.sleep(3600)

        try:
            first = asyncio.gather(*(task.run(s, hanging) for s in task.all_samples))
            await started.wait()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            fine = answering(last_word)
            return await asyncio.gather(*(task.run(s, fine) for s in task.all_samples))
        finally:
            await task.close()

    assert {score.value for score in asyncio.run(main())} == {1.0}


@pytest.mark.slow
def test_a_candidate_that_gives_up_at_once_is_not_asked():
    async def main():
        task = open_task("words")
        gone = answering(last_word)
        fine = answering(last_word)
        sample = task.all_samples[0]
        try:
            first = asyncio.create_task(task.run(sample, gone))
            await asyncio.sleep(0)
            first.cancel()
            score = await task.run(sample, fine)
            return first.cancelled(), gone.requests, score.value
        finally:
            await task.close()

    assert asyncio.run(main()) == (True, [], 1.0)


@pytest.mark.slow
def test_a_call_that_the_engine_cancels_is_cancelled():
    async def cancelled(requests):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError, match="^$"):
        run_all(open_task("words", args={"num": 1}), cancelled)


@pytest.mark.slow
def test_a_sample_may_be_run_twice_at_once():
    async def main():
        task = open_task("words", args={"num": 1})
        [sample] = task.all_samples
        candidate = answering(last_word)
        try:
            return await asyncio.gather(*(task.run(sample, candidate) for _ in "ab"))
        finally:
            await task.close()

    assert [score.value for score in asyncio.run(main())] == [1.0, 1.0]


@pytest.mark.slow
def test_seconds_are_those_besides_generation():
    async def slow(requests):
        await asyncio.sleep(3)
        return [Completion("word0", 5, 2, is_complete=True) for _ in requests]

    [[score]] = run_all(open_task("words", args={"num": 1}), slow)
    assert 0 < score.seconds < 3


@pytest.mark.slow
def test_equal_samples_are_told_apart_and_asked_once_each():
    task, candidate = open_task("equal"), answering(last_word)
    [scores] = run_all(task, candidate)
    assert len({sample.id for sample in task.all_samples}) == 2
    assert [score.value for score in scores] == [1.0, 1.0]
    assert len(candidate.requests) == 2


@pytest.mark.slow
def test_draws_of_one_question_differ_and_are_the_same_again():
    first, second = answering(last_word), answering(last_word)
    run_all(open_task("sampled"), first)
    run_all(open_task("sampled"), second)
    assert [r.seed for r in first.requests] == [0, 1]
    assert first.requests == second.requests


@pytest.mark.slow
def test_answers_that_inspect_remembers_are_no_other_candidate_s():
    right, empty = answering(last_word), answering(lambda _: "")
    [scores] = run_all(open_task("cached"), right)
    [others] = run_all(open_task("cached"), empty)
    assert {score.value for score in scores} == {1.0}
    assert {score.value for score in others} == {0.0}


@pytest.mark.slow
def test_nothing_is_left_on_the_disk(tmp_path, monkeypatch):
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    run_all(open_task("cached"), answering(last_word))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.slow
@pytest.mark.parametrize("inner", [False, True])
def test_a_scorer_that_asks_the_candidate_is_an_error(inner):
    task = open_task("self_graded", args={"inner": inner})
    with pytest.raises(InputError, match="asks a model, here the candidate itself"):
        run_all(task, answering(lambda _: "a"))


@pytest.mark.slow
def test_an_option_that_engines_lack_is_an_error():
    with pytest.raises(InputError, match="know no frequency_penalty"):
        run_all(open_task("penalised"), answering(lambda _: "a"))


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["tasks", "tasks/*", "tasks/mine.ipynb"])
def test_python_runs_only_where_the_settings_say_so(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tasks").mkdir()
    code = "from inspect_ai import Task, task\nopen('ran', 'w')\n@task\ndef one(): 1"
    Path("tasks/mine.py").write_text(code)
    Path("tasks/mine.ipynb").write_text(code)
    settings = InspectSettings(task=spec)
    assert not settings.runs_python
    with pytest.raises(InputError, match="no installed package has it"):
        InspectTask("x", settings)
    assert list(tmp_path.rglob("ran")) == []


@pytest.mark.slow
def test_a_process_that_is_killed_is_an_error_and_the_next_one_starts():
    async def main():
        task = open_task("words")
        sample = task.all_samples[0]
        try:
            await task.run(sample, answering(last_word))

            async def deadly(requests):
                task._process._child.peer.kill()
                await asyncio.sleep(3600)

            with pytest.raises(InputError, match="but it ended"):
                await task.run(sample, deadly)
            return await task.run(sample, answering(last_word))
        finally:
            await task.close()

    assert asyncio.run(main()).value == 1.0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("local", "its sandbox is 'local'"),
        pytest.param("graded", "asks a model, here the", marks=pytest.mark.slow),
        pytest.param("pictures", "more than text", marks=pytest.mark.slow),
        pytest.param("unscored", "has no scorer", marks=pytest.mark.slow),
        pytest.param("nothing", "the tasks of .* are words,", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_a_skill_is_refused(name, words):
    with pytest.raises(InputError, match=words):
        open_task(name)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["nowhere.py@words", "some_package/words"])
def test_a_task_that_is_not_there_is_named(task):
    with pytest.raises(InputError, match=task):
        InspectTask("x", InspectSettings(task=task))


def test_without_inspect_the_extra_is_named(monkeypatch):
    where = "lora_qd.tasks.bridges.inspect_process.find_spec"
    monkeypatch.setattr(where, lambda name: None)
    with pytest.raises(MissingExtraError, match=r"inspect:mine .*loraqd\[inspect\]"):
        InspectTask("x", InspectSettings(task="mine"))
