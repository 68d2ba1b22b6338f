"""Laws of the memory of outcomes, and of the pool that uses it."""

import asyncio

import pytest

from lora_qd.tasks.sandbox import Job, Limits, Outcome, Sandbox
from lora_qd.tasks.sandbox.memory import OutcomeMemory

CLOCK = Job("bash", "date +%s%N")
"""No two runs of it print the same."""


def outcome(output, limit=""):
    return Outcome(not limit, output, limit, {}, limit)


def outputs(num_remembered, *jobs):
    async def run():
        async with Sandbox(1, num_remembered=num_remembered) as sandbox:
            return [(await sandbox.run(job)).output for job in jobs]

    return asyncio.run(run())


def test_a_job_seen_before_is_not_run_again():
    first, second = outputs(10, CLOCK, CLOCK)
    assert first == second


def test_without_memory_every_job_is_run():
    first, second = outputs(0, CLOCK, CLOCK)
    assert first != second


def test_the_same_source_on_other_files_is_another_job():
    source = "cat a.txt"
    jobs = [Job("bash", source, files={"a.txt": text}) for text in ("1", "2", "1")]
    assert outputs(10, *jobs) == ["1", "2", "1"]


@pytest.mark.parametrize(
    "other",
    [
        Job("python", "x"),
        Job("bash", "y"),
        Job("bash", "x", files={"a": None}),
        Job("bash", "x", collect_tree=True),
    ],
)
def test_every_part_of_a_job_tells_it_from_others(other):
    memory = OutcomeMemory(10)
    memory.keep(Job("bash", "x"), Limits(), outcome("known"))
    assert memory.find(Job("bash", "x"), Limits()) == outcome("known")
    assert memory.find(other, Limits()) is None


def test_other_limits_make_another_job():
    memory = OutcomeMemory(10)
    memory.keep(CLOCK, Limits(), outcome("known"))
    assert memory.find(CLOCK, Limits(cpu_s=1)) is None


def test_an_outcome_that_broke_a_limit_is_run_again():
    memory = OutcomeMemory(10)
    memory.keep(CLOCK, Limits(), outcome("slow", limit="wall"))
    assert memory.find(CLOCK, Limits()) is None


def test_a_failure_within_the_limits_is_remembered():
    memory = OutcomeMemory(10)
    failed = Outcome(False, "", "exit status 1", {})
    memory.keep(CLOCK, Limits(), failed)
    assert memory.find(CLOCK, Limits()) == failed


def test_the_oldest_is_forgotten_first():
    memory = OutcomeMemory(2)
    jobs = [Job("bash", source) for source in "abc"]
    for job in jobs[:2]:
        memory.keep(job, Limits(), outcome(job.source))
    memory.find(jobs[0], Limits())  # used again, so b is now the oldest
    memory.keep(jobs[2], Limits(), outcome("c"))
    known = [memory.find(job, Limits()) is not None for job in jobs]
    assert known == [True, False, True]
