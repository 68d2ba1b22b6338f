"""The laws of the skill agentbench-os, on systems that answer from tables."""

import asyncio

import pytest

from lora_qd.errors import InputError, PromptTooLongError, SandboxError
from lora_qd.records import Completion, Split
from lora_qd.tasks.published import replay
from tests.tasks.agentbench.fake_systems import (
    EXAMPLE,
    INIT,
    FakeSystems,
    broken,
    entry,
    outcome,
    score_of,
    task_of,
)

LOOK = "Act: bash\n```bash\nls\n```"
STATE = entry(evaluation={"check": "test -e /x", "example": "touch /x"})


def matching(match):
    return entry(evaluation={"match": match})


def test_gold_answers_of_every_kind_score_1(tmp_path):
    entries = [entry(), STATE, matching("4")]
    systems = FakeSystems(ran={"test -e /x": ""}, typed={"touch /x": ""})
    task = task_of(tmp_path, entries, systems)
    scores = [score_of(task, *task.gold(s), sample=s) for s in task.all_samples]
    assert [(s.value, s.reason) for s in scores] == [(1.0, "")] * 3


@pytest.mark.parametrize(
    "answer", ["", "Act: finish", "Act: answer()", "Act: answer( )", "Act: answer(8)"]
)
@pytest.mark.parametrize("fields", [entry(), matching("4"), matching({"regex": "^$"})])
def test_empty_and_wrong_answers_score_0_with_a_reason(tmp_path, fields, answer):
    score = score_of(task_of(tmp_path, [fields]), answer)
    assert score.value == 0
    assert score.reason
    assert "\n" not in score.reason


@pytest.mark.parametrize(
    ("match", "answer", "value"),
    [
        ("4", " 4 ", 1),
        ({"answer": "4"}, " 4", 0),
        ({"answer": "4", "strip": True}, " 4", 1),
        ({"answer": " 4", "strip": False}, " 4", 1),
        ({"regex": "fo+"}, "a foo", 1),
        ({"regex": "^fo+$"}, "a foo", 0),
    ],
)
def test_an_answer_matches_as_the_sample_says(tmp_path, match, answer, value):
    task = task_of(tmp_path, [matching(match)])
    assert score_of(task, f"Act: answer({answer})").value == value


def test_a_candidate_sees_what_its_commands_print(tmp_path):
    said = []

    def answer(reply):
        said.append(reply)
        return "Act: answer(7)"

    assert score_of(task_of(tmp_path, [entry()]), LOOK, answer).value == 1
    assert said == ["The output of the OS:\n\na"]


def test_a_turn_without_an_action_ends_the_conversation(tmp_path):
    score = score_of(task_of(tmp_path, [entry()]), "ls", "Act: answer(7)")
    assert (score.value, score.answer) == (0, "ls")


def test_the_last_of_the_rounds_must_be_the_answer(tmp_path):
    task = task_of(tmp_path, [entry()], rounds=2)
    assert score_of(task, LOOK, "Act: answer(7)").value == 1
    score = score_of(task, LOOK, LOOK, "Act: answer(7)")
    assert (score.value, score.reason) == (0, "not finished after 2 rounds")


def test_commands_that_fail_or_break_a_limit_do_not_end_it(tmp_path):
    late = outcome(reason="took longer than 60 s", limit="wall")
    task = task_of(tmp_path, [entry()], FakeSystems(typed={"ls": late}))
    assert score_of(task, LOOK, "Act: answer(7)").value == 1


def test_init_comes_first_then_start_then_the_solution_then_the_candidate(tmp_path):
    systems = FakeSystems(ran={"sleep 9 &": ""})
    score_of(
        task_of(tmp_path, [entry(start="sleep 9 &")], systems), LOOK, "Act: answer(7)"
    )
    first = [("open", "default"), ("run", INIT), ("run", "sleep 9 &"), ("type", "true")]
    assert systems.log[-6:] == [*first, ("type", EXAMPLE), ("type", "ls")]


def test_what_init_drew_at_random_is_what_the_candidate_is_compared_with(tmp_path):
    systems = FakeSystems(typed={EXAMPLE: lambda number: f"{number}\n"})
    task = task_of(tmp_path, [entry()], systems)
    values = [score_of(task, f"Act: answer({n})").value for n in (2, 3, 4, 4)]
    assert values == [1, 1, 1, 0]


def test_a_solution_that_leaves_files_runs_once_and_not_where_candidates_are(tmp_path):
    systems = FakeSystems()
    systems.changing = {EXAMPLE}
    task = task_of(tmp_path, [entry()], systems)
    assert [score_of(task, "Act: answer(7)").value for _ in range(3)] == [1, 1, 1]
    assert systems.log.count(("type", EXAMPLE)) == 1
    assert systems.num_opened == 4


@pytest.mark.parametrize("num_systems", [1, 2])
def test_many_candidates_wait_neither_for_themselves_nor_for_twins(
    tmp_path, num_systems
):
    systems = FakeSystems(num_systems=num_systems)
    systems.changing = {EXAMPLE}
    entries = [entry(description=f"Number {n}?") for n in range(4)]
    task = task_of(tmp_path, entries, systems)

    async def all_at_once():
        turns = ["Act: answer(7)"]
        return await asyncio.gather(
            *(replay(task, sample, turns) for sample in 2 * [*task.all_samples])
        )

    assert [score.value for score in asyncio.run(all_at_once())] == [1] * 8
    assert systems.num_opened == 12


def test_checks_get_the_answer_and_then_what_earlier_ones_printed(tmp_path):
    checks = ["one", None, {"file": "check/string-match.py"}, "two"]
    fields = entry(evaluation={"check": checks, "example": EXAMPLE})
    systems = FakeSystems(ran={"one": "7", "two": ""})
    task = task_of(tmp_path, [fields], systems)
    assert score_of(task, "Act: answer(7)").value == 1
    assert ("run", "one", "7") in systems.log
    assert systems.log[-1] == ("run", "two", "7", "7", "7\n", "")


def test_a_failing_check_ends_the_chain(tmp_path):
    systems = FakeSystems(ran={"one": outcome(reason="exit status 3: no")})
    task = task_of(tmp_path, [entry(evaluation={"check": ["one", "two"]})], systems)
    score = score_of(task, "Act: finish")
    assert (score.value, score.reason) == (0, "a check fails: exit status 3: no")


def test_no_check_runs_in_a_system_that_was_tampered_with(tmp_path):
    systems = FakeSystems(tampered="/usr/bin/test was changed")
    score = score_of(task_of(tmp_path, [STATE], systems), "Act: finish")
    assert (score.value, score.reason) == (0, "/usr/bin/test was changed")
    assert not any("test -e" in code for _, code, *_ in systems.log)


def test_tampering_does_not_hinder_checks_on_this_side(tmp_path):
    systems = FakeSystems(tampered="/usr/bin/ls was changed")
    assert score_of(task_of(tmp_path, [entry()], systems), "Act: answer(7)").value == 1


def test_an_answer_reaches_a_check_as_one_argument_uninterpreted(tmp_path):
    systems = FakeSystems(ran={"test -e /x": ""})
    score_of(task_of(tmp_path, [STATE], systems), "Act: answer(x'; exit 0 #$(id))")
    assert systems.log[-1] == ("run", "test -e /x", "x'; exit 0 #$(id)")


def test_a_broken_system_is_replaced_once(tmp_path):
    systems = FakeSystems(faults=[broken()])
    assert score_of(task_of(tmp_path, [entry()], systems), "Act: answer(7)").value == 1
    systems = FakeSystems(faults=[broken(), broken("it died again")])
    with pytest.raises(SandboxError, match="it died again"):
        score_of(task_of(tmp_path, [matching("4")], systems), "Act: answer(4)")


def test_an_answer_that_ends_its_system_twice_scores_0(tmp_path):
    def die(_):
        raise broken()

    systems = FakeSystems(typed={"ls": die})
    score = score_of(task_of(tmp_path, [entry()], systems), LOOK, LOOK)
    assert (score.value, score.reason) == (
        0,
        "the answer's system ended, twice in a row",
    )


def test_an_init_that_breaks_a_limit_is_an_error_with_the_sample(tmp_path):
    late = outcome(reason="took longer than 60 s", limit="wall")
    systems = FakeSystems(ran={INIT: late})
    with pytest.raises(SandboxError, match=r"prepares it .*than 60 s; .*leave_out"):
        score_of(task_of(tmp_path, [entry()], systems), "Act: answer(7)")


def test_an_init_that_only_fails_is_as_the_benchmark_has_it(tmp_path):
    systems = FakeSystems(ran={INIT: outcome(reason="exit status 1")})
    assert score_of(task_of(tmp_path, [entry()], systems), "Act: answer(7)").value == 1


def test_a_solution_that_fails_without_a_word_is_an_error(tmp_path):
    systems = FakeSystems(typed={EXAMPLE: outcome(reason="exit status 127")})
    with pytest.raises(SandboxError, match="the benchmark's own solution to work"):
        score_of(task_of(tmp_path, [entry()], systems), "Act: answer(7)")


def test_the_image_is_the_samples(tmp_path):
    fields = entry(create={"local": "packages"}, evaluation={"match": "4"})
    systems = FakeSystems()
    score_of(task_of(tmp_path, [fields], systems), "Act: finish")
    assert systems.log == [("open", "packages"), ("type", "true")]


def test_a_sample_without_solution_or_plain_match_has_no_gold_answer(tmp_path):
    fields = entry(evaluation={"check": "test -e /x"})
    task = task_of(tmp_path, [fields])
    assert task.gold(task.all_samples[0]) == ()


def test_samples_can_be_left_out_by_their_ids(tmp_path):
    fields = [entry(), matching("4")]
    ids = [sample.id for sample in task_of(tmp_path, fields).all_samples]
    task = task_of(tmp_path, fields, leave_out=ids[:1])
    assert [sample.id for sample in task.all_samples] == ids[1:]
    place = f"{tmp_path / 'problems.json'}, entry 1"
    assert task.left_out == {place: "the config leaves it out"}
    with pytest.raises(InputError, match="leave_out, but got nonsense; loraqd skills"):
        task_of(tmp_path, fields, leave_out=["nonsense"])


def test_every_sample_is_in_one_split_and_in_the_order_of_the_file(tmp_path):
    entries = [entry(description=f"Number {n}?") for n in range(40)]
    task = task_of(tmp_path, entries)
    dealt = [s for split in Split for s in task.samples(split)]
    assert sorted(s.id for s in dealt) == sorted(s.id for s in task.all_samples)
    assert [s.prompt for s in task.all_samples] == [e["description"] for e in entries]


def test_a_conversation_that_outgrows_the_context_scores_0(tmp_path):
    task = task_of(tmp_path, [entry()])

    async def generate(requests):
        if len(requests[0].messages) > len(task.opening(task.all_samples[0])):
            raise PromptTooLongError("too long")
        return [Completion(LOOK, 1, 1, is_complete=True)]

    score = asyncio.run(task.run(task.all_samples[0], generate))
    assert (score.value, score.reason) == (0, "the conversation outgrew the context")
