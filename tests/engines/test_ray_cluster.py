"""Engines on the nodes of a Ray cluster: the same answers, whoever comes and goes."""

import asyncio
import sys

import pytest

from lora_qd.engines import ray_nodes, ray_report
from lora_qd.engines.ray_cluster import RayCluster
from lora_qd.errors import (
    EngineError,
    EngineLostError,
    InputError,
    MissingExtraError,
    PromptTooLongError,
)
from lora_qd.evaluation import Evaluator
from lora_qd.records import Member, Split
from tests.engines.members import ask
from tests.evaluation.toys import ToyTask
from tests.ray_machines import SPACE, OpenFake, ray_machines, until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def machines():
    with ray_machines() as machines:
        yield machines


@pytest.fixture
def node(machines):
    node = machines.add()
    yield node
    machines.end(node)


@pytest.fixture
def second(machines):
    node = machines.add()
    yield node
    machines.end(node)


def cluster(machines, *, open_engine=None, said=None, **changes):
    say = (said if said is not None else []).append
    settings = machines.settings(**changes)
    return RayCluster(settings, SPACE, open_engine or OpenFake(), say)


def run(test):
    return asyncio.run(test())


ALICE, BOB = Member("alice", {}), Member("bob", {})


def test_each_node_has_an_engine_in_a_process_of_its_own(machines, node, second):
    async def test():
        async with cluster(machines) as open_cluster:
            first, other = open_cluster.engines
            await asyncio.gather(first.add(ALICE), other.add(BOB))
            texts = [
                (await first.generate(ALICE, ask("one", "two"))),
                (await other.generate(BOB, ask("three"))),
                (await other.generate(None, ask("four"))),
            ]
            probes = [await e.probe(None, ask("?")) for e in (first, other)]
            await first.remove(ALICE)
            return [c.text for own in texts for c in own], {
                *probes[0][0],
                *probes[1][0],
            }

    texts, pids = run(test)
    assert texts == ["alice one", "alice two", "bob three", "base four"]
    assert len(pids) == 2


@pytest.mark.slow
def test_a_member_is_held_until_its_last_remove(machines, node):
    async def test():
        async with cluster(machines) as open_cluster:
            [engine] = open_cluster.engines
            with pytest.raises(ValueError, match="that was added, but got 'al"):
                await engine.generate(ALICE, ask("?"))
            await engine.add(ALICE)
            await engine.add(ALICE)
            await engine.remove(ALICE)
            [answer] = await engine.generate(ALICE, ask("still"))
            await engine.remove(ALICE)
            with pytest.raises(ValueError, match="that was added, but got 'al"):
                await engine.remove(ALICE)
            return answer.text

    assert run(test) == "alice still"


@pytest.mark.slow
def test_errors_of_the_engine_arrive_as_they_are(machines, node):
    async def test():
        async with cluster(machines) as open_cluster:
            [engine] = open_cluster.engines
            with pytest.raises(EngineError, match=r"^expected an answer, but"):
                await engine.generate(None, ask("raise"))
            with pytest.raises(EngineError, match=r"failed: KeyError: 'what"):
                await engine.generate(None, ask("fail"))
            [answer] = await engine.generate(None, ask("on"))
            return answer.text

    assert run(test) == "base on"


@pytest.mark.slow
def test_a_process_that_dies_is_a_lost_engine_and_another_one_comes(machines, node):
    async def test():
        said, joined = [], []

        async def join(engine):
            joined.append(engine)

        async with cluster(machines, said=said) as open_cluster:
            [engine] = open_cluster.engines
            watch = asyncio.create_task(open_cluster.watch(join))
            with pytest.raises(EngineLostError, match="to answer, but it is gone"):
                await engine.generate(None, ask("die"))
            with pytest.raises(EngineLostError, match="to answer, but it is gone"):
                await engine.add(ALICE)
            await until(lambda: joined)
            [answer] = await joined[0].generate(None, ask("again"))
            watch.cancel()
        return answer.text, said

    text, said = run(test)
    assert text == "base again"
    assert "Lost an engine on node" in said[0]
    assert "joined" in said[1]


async def scores(evaluator, num=12):
    found = await asyncio.gather(
        *(
            evaluator.evaluate(Member(f"m{n}", {}), Split.SEARCH, ["toy"])
            for n in range(num)
        )
    )
    return [evaluation.scores for evaluation in found]


def judge(sample, text):
    return (hash_of(text) % 100) / 100


def hash_of(text):
    return sum(ord(c) * 31**n for n, c in enumerate(text))


def evaluator_of(open_cluster, *, patience_s=30.0):
    return Evaluator(
        open_cluster.engines,
        {"toy": ToyTask(num=6, rounds=3, judge=judge)},
        in_flight=2,
        patience_s=patience_s,
    )


@pytest.mark.slow
@pytest.mark.parametrize("event", ["none", "lost", "late", "all lost"])
def test_whoever_comes_and_goes_the_scores_are_the_same(machines, event):
    nodes = [machines.add(), machines.add()]

    async def test():
        opened = cluster(machines, open_engine=OpenFake(0.05))
        async with opened as open_cluster:
            evaluator = evaluator_of(open_cluster)

            async def join(engine):
                evaluator.join(engine)

            watch = asyncio.create_task(open_cluster.watch(join))
            searching = asyncio.create_task(scores(evaluator))
            await asyncio.sleep(0.3)
            if event in ("lost", "all lost"):
                machines.kill(nodes.pop())
            if event == "all lost":
                machines.kill(nodes.pop())
            if event in ("late", "all lost"):
                nodes.append(machines.add())
            found = await searching
            usage = evaluator.usage
            watch.cancel()
        return found, usage

    try:
        found, usage = run(test)
    finally:
        for node in nodes:
            machines.end(node)
    texts = [[f"m{n} toy-search-{i} 2" for i in range(6)] for n in range(12)]
    expected = [sum(judge(None, text) for text in own) / 6 for own in texts]
    assert [each["toy"] for each in found] == pytest.approx(expected)
    assert 0 < usage.busy_s <= usage.seconds * usage.num_engines + 1e-6


@pytest.mark.slow
def test_without_another_node_the_search_ends_after_its_patience(machines, node):
    async def test():
        async with cluster(machines, open_engine=OpenFake(0.2)) as open_cluster:
            evaluator = evaluator_of(open_cluster, patience_s=0.5)
            searching = asyncio.create_task(scores(evaluator))
            await asyncio.sleep(0.3)
            machines.kill(node)
            with pytest.raises(EngineLostError, match="node .* is gone.*loraqd resume"):
                await searching

    run(test)


@pytest.mark.slow
def test_a_node_that_cannot_serve_is_left_out_when_it_comes_late(
    machines, node, monkeypatch
):
    said, joined = [], []

    async def join(engine):
        joined.append(engine)

    async def test():
        async with cluster(machines, said=said) as open_cluster:
            own = ray_report.report("")
            old = {**own, "versions": own["versions"] | {"torch": "1.0"}}
            answers = 3 * [old, own]  # this machine is asked first, each time
            tell(monkeypatch, answers)
            watch = asyncio.create_task(open_cluster.watch(join))
            late = machines.add()
            await until(lambda: len(said) >= 3)
            await asyncio.sleep(2.5)
            watch.cancel()
            machines.end(late)

    run(test)
    assert not joined
    assert len(said) == 3, "it was tried three times, then left alone"
    assert all("expected torch" in line and "has 1.0" in line for line in said)


@pytest.mark.slow
def test_an_engine_that_does_not_come_up_is_told_with_its_node(machines, node):
    error = PromptTooLongError("expected a model, but there is none")

    async def test():
        async with cluster(machines, open_engine=OpenFake(error=error)):
            pass

    with pytest.raises(EngineError, match=r"node .*: expected a model, but there is n"):
        run(test)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["versions"].pop("vllm"), r"expected vLLM on node .*; install"),
        (
            lambda r: r["versions"].update(numpy="1.0"),
            r"expected numpy .* on node .*, but it has 1.0; install the same",
        ),
        (
            lambda r: r["versions"].pop("loraqd"),
            r"expected loraqd .* on node .*, but it has none; install the same",
        ),
        (lambda r: r.update(base_bytes=None), r"expected the base .* on node .*; copy"),
        (
            lambda r: r.update(memory_bytes=10**9),
            r"expected room for 16.0 GB of weights on node .*, but it has 1.0 GB",
        ),
    ],
)
def test_a_node_that_lacks_something_is_named(
    machines, node, monkeypatch, change, message
):
    here = {**ray_report.report(""), "base_bytes": 16 * 10**9}
    here["memory_bytes"] = 24 * 10**9
    there = {**here, "versions": dict(here["versions"])}
    change(there)
    answers = [there, here]
    tell(monkeypatch, answers)

    async def test():
        async with cluster(machines):
            pass

    with pytest.raises(EngineError, match=message) as caught:
        run(test)
    assert "\n" not in str(caught.value)


def tell(monkeypatch, answers):
    """Have this machine, then each node, say in turn the last of ``answers``."""
    monkeypatch.setattr(ray_nodes, "Report", lambda **_: real(**answers.pop()))


real = ray_report.Report


@pytest.mark.slow
def test_a_cluster_without_room_is_refused(machines):
    async def test():
        async with cluster(machines):
            pass

    with pytest.raises(EngineError, match="accelerators or processors in"):
        run(test)


@pytest.mark.slow
def test_accelerators_count_where_there_are_some(machines, node):
    accelerated = machines.add(num_gpus=2)

    async def test(**changes):
        async with cluster(machines, **changes) as open_cluster:
            return [engine.node.num_gpus for engine in open_cluster.engines]

    try:
        assert asyncio.run(test()) == [2, 2]
        assert asyncio.run(test(gpus_per_server=2)) == [2]
    finally:
        machines.end(accelerated)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", r"a Ray cluster at 127.0.0.1:1, but nobody answers there"),
        ("nonsense", r"as auto or HOST:PORT, but got 'nonsense'; start one with: ray"),
        ("ray://127.0.0.1:1", r"as auto or HOST:PORT, but got 'ray://127.0.0.1:1'"),
        ("127.0.0.1:99999", r"Ray cluster at 127.0.0.1:99999, but nobody answers"),
    ],
)
def test_a_cluster_that_cannot_be_reached_is_one_line(address, message):
    with pytest.raises(InputError, match=message) as caught:
        ray_nodes.connect(address)
    assert "\n" not in str(caught.value)


def test_without_ray_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'loraqd\[ray\]'"):
        ray_nodes.connect("auto")
