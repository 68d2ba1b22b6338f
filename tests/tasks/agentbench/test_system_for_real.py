"""Problems of an operating system in real ones: our own, and the benchmark's."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from lora_qd.tasks.agentbench import SystemSkillSettings, SystemTask
from lora_qd.tasks.published import replay
from lora_qd.tasks.sandbox.systems.bubblewrap import BubblewrapSystems
from tests.tasks.agentbench.fake_systems import entry, task_of
from tests.tasks.agentbench.scripts import write_scripts

OUR_OWN = [
    entry(description="A number", create={"init": "touch /srv/a /srv/b"}),
    entry(
        description="A number drawn at random",
        create={"init": "for i in $(seq $((RANDOM % 90 + 9))); do > /srv/$i; done"},
    ),
    entry(
        description="A solution that leaves a file behind",
        create={"init": "seq 5 > /root/in"},
        evaluation={
            "check": [None, {"file": "check/string-match.py"}],
            "example": "sort -r /root/in > /root/out; head -1 /root/out",
        },
    ),
    entry(
        description="A state, with something in the background",
        create={"init": {"language": "python", "code": "open('/root/a', 'w')"}},
        start="setsid -f sleep 99",
        evaluation={
            "check": [
                "pgrep -x sleep > /dev/null && test -x /root/a && echo yes",
                {"language": "python", "code": "import sys; sys.argv[2] == 'yes\\n'"},
            ],
            "example": "chmod +x /root/a",
        },
    ),
    entry(description="A word", evaluation={"match": {"regex": "^(a|b)+$"}}),
    entry(description="Another word", evaluation={"match": "sesame"}),
]


async def _scores(task, turns_of):
    async def one(sample):
        return await replay(task, sample, turns_of(sample))

    return await asyncio.gather(*map(one, task.all_samples))


def _all_scores(task, turns_of):
    scores = asyncio.run(_scores(task, turns_of))
    return [
        (s.prompt, r.value, r.reason)
        for s, r in zip(task.all_samples, scores, strict=True)
    ]


@pytest.fixture
def our_own(tmp_path, debian_root):
    return task_of(tmp_path, OUR_OWN, BubblewrapSystems(debian_root))


def test_our_own_gold_answers_score_1(our_own):
    def gold(sample):
        return our_own.gold(sample) or ["Act: answer(abba)"]

    assert _all_scores(our_own, gold) == [(e["description"], 1, "") for e in OUR_OWN]


@pytest.mark.parametrize(
    "turns", [[], [""], ["Act: finish"], ["Act: answer(-1)"], ["Act: bash\n"] * 6]
)
def test_on_our_own_empty_and_wrong_answers_score_0(our_own, turns):
    scores = _all_scores(our_own, lambda sample: turns)
    assert [value for _, value, _ in scores] == [0] * len(OUR_OWN)
    assert all(reason for *_, reason in scores)


@pytest.fixture(scope="module")
def published(tmp_path_factory, debian_root):
    data = os.environ.get("LORAQD_TEST_DATA")
    if not data:
        pytest.skip("LORAQD_TEST_DATA names no directory of benchmark data")
    files = Path(data) / "agentbench" / "os_interaction" / "*.json"
    scripts = write_scripts(tmp_path_factory.mktemp("scripts"))
    settings = SystemSkillSettings(path=(str(files),), scripts=str(scripts))
    return settings, debian_root


def _published_task(published):
    settings, root = published
    return SystemTask(settings, BubblewrapSystems(root))


@pytest.mark.slow
def test_the_benchmarks_solutions_score_1_twice(published):
    runs = []
    for _ in range(2):
        task = _published_task(published)
        assert not task.left_out
        assert all(task.gold(sample) for sample in task.all_samples)
        # These count processes, and so what the counting command itself starts.
        races = [s.prompt for s in task.all_samples if re.search(r"\bps -", s.target)]
        scores = _all_scores(task, task.gold)
        runs.append([each for each in scores if each[0] not in races])
        assert len(races) < 0.05 * len(scores) == 0.05 * 126
    assert [each for each in runs[0] if each[1] != 1] == []
    assert runs[0] == runs[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "turns", [[], ["Act: finish"], ["Act: answer(no)"], ["Act: bash\n```bash\nls\n```"]]
)
def test_on_the_benchmark_empty_and_wrong_answers_score_0(published, turns):
    scores = _all_scores(_published_task(published), lambda sample: turns)
    assert [s for s in scores if s[1] != 0] == []
