"""No barriers, no gaps, nothing lost: how candidates share engines."""

import asyncio
import hashlib

import numpy as np
import pytest

from lora_qd.errors import EngineError, EngineLostError
from lora_qd.evaluation import Evaluator
from lora_qd.records import Split
from lora_qd.runs.loop import Budget, run_search
from lora_qd.search import CycleQD, CycleQDSettings
from tests.evaluation.toys import ToyTask, WatchedEngine, member

TOY = ["toy"]


def evaluate_all(engines, task, names, *, in_flight=2, ahead=1):
    """Return the evaluations of members of these names, and the evaluator."""

    async def main():
        evaluator = Evaluator(engines, {"toy": task}, in_flight=in_flight, ahead=ahead)
        jobs = [evaluator.evaluate(member(n), Split.SEARCH, TOY) for n in names]
        return await asyncio.gather(*jobs), evaluator

    return asyncio.run(main())


@pytest.mark.parametrize(("in_flight", "ahead"), [(1, 0), (1, 2), (3, 1)])
def test_an_engine_holds_so_many_candidates_and_fewer_generate(in_flight, ahead):
    engine = WatchedEngine(load_s=0.001, generate_s=0.002, jitter=1)
    task = ToyTask(rounds=3, score_s=0.003)
    names = [f"m{n}" for n in range(12)]
    evaluate_all([engine], task, names, in_flight=in_flight, ahead=ahead)
    assert engine.most_members == in_flight + ahead
    assert engine.most_generating == in_flight


def test_the_next_candidate_is_loaded_while_the_current_one_generates():
    engine = WatchedEngine(load_s=0.005, generate_s=0.05)
    evaluate_all([engine], ToyTask(num=2), ["a", "b", "c"], in_flight=1)
    assert engine.diary.index(("loaded", "b")) < engine.diary.index(("answered", "a"))
    assert engine.diary.index(("loaded", "c")) < engine.diary.index(("answered", "b"))


def test_answers_are_scored_while_the_next_candidate_generates():
    engine = WatchedEngine(generate_s=0.01)
    task = ToyTask(num=3, score_s=0.05)
    overlaps = []
    spend = engine.spend

    async def watching(seconds):
        overlaps.append(task.num_scoring)
        await spend(seconds)

    engine.spend = watching
    evaluate_all([engine], task, ["a", "b", "c"], in_flight=1)
    assert any(overlaps)


def test_without_room_ahead_nothing_overlaps():
    engine = WatchedEngine(generate_s=0.002)
    task = ToyTask(num=2, score_s=0.01)
    evaluate_all([engine], task, ["a", "b"], in_flight=1, ahead=0)
    assert engine.diary.index(("loaded", "b")) > engine.diary.index(("answered", "a"))


def test_rounds_of_one_sample_do_not_hold_up_the_others():
    """One slow sample of three rounds; the others of its candidate end before it."""
    engine = WatchedEngine(generate_s=0.005)
    ended = []

    class Uneven(ToyTask):
        async def run(self, sample, generate):
            is_slow = sample.id.endswith("-0")
            self.rounds, self.score_s = (3, 0.03) if is_slow else (1, 0.0)
            score = await super().run(sample, generate)
            ended.append(sample.id)
            return score

    evaluate_all([engine], Uneven(num=4), ["a"], in_flight=1)
    assert ended[-1].endswith("-0")


def test_a_candidate_that_comes_back_passes_those_that_have_not_begun():
    engine = WatchedEngine(generate_s=0.01)
    task = ToyTask(num=1, rounds=2, score_s=0.005)
    evaluate_all([engine], task, ["a", "b", "c"], in_flight=1, ahead=2)
    asked = [name for what, name in engine.diary if what == "asked"]
    assert asked.index("c") > len(asked) - 1 - asked[::-1].index("a")


def test_candidates_spread_over_the_engines():
    engines = [WatchedEngine(generate_s=0.005) for _ in range(3)]
    evaluate_all(engines, ToyTask(), [f"m{n}" for n in range(12)], in_flight=1)
    shares = [len([w for w, _ in e.diary if w == "loaded"]) for e in engines]
    assert sum(shares) == 12
    assert min(shares) >= 3


def test_every_member_is_removed_from_its_engine():
    engines = [WatchedEngine(generate_s=0.001, jitter=n) for n in range(2)]
    evaluate_all(engines, ToyTask(), [f"m{n}" for n in range(9)])
    assert not any(engine.members for engine in engines)


def test_stages_are_told_apart_and_add_up():
    engine = WatchedEngine(load_s=0.04, generate_s=0.03)
    task = ToyTask(num=1, score_s=0.05)
    [first, second], evaluator = evaluate_all([engine], task, ["a", "b"], in_flight=1)
    assert first.stages.materialise == pytest.approx(0.01)
    assert first.stages.load == pytest.approx(0.02)
    assert first.stages.generate >= 0.03
    assert first.stages.score >= 0.05
    assert second.stages.wait > first.stages.wait + 0.02  # for its turn
    usage = evaluator.usage
    assert usage.busy_s >= 0.06
    assert usage.busy_s <= first.stages.generate + second.stages.generate + 1e-3
    assert second.stages.total <= usage.seconds


def test_the_base_needs_no_adapter():
    engine = WatchedEngine()

    async def main():
        evaluator = Evaluator([engine], {"toy": ToyTask()}, in_flight=1)
        return await evaluator.evaluate(None, Split.TEST, TOY)

    assert asyncio.run(main()).scores == {"toy": 1.0}
    assert not [what for what, _ in engine.diary if what == "loaded"]


def test_an_engine_that_is_lost_leaves_its_candidates_to_the_others():
    engines = [WatchedEngine(load_s=0.001, generate_s=0.01) for _ in range(2)]

    async def main():
        evaluator = Evaluator(engines, {"toy": ToyTask()}, in_flight=2)
        jobs = [
            evaluator.evaluate(member(f"m{n}"), Split.SEARCH, TOY) for n in range(9)
        ]
        done = asyncio.gather(*jobs)
        await asyncio.sleep(0.005)
        engines[0].is_lost = True
        return await done

    evaluations = asyncio.run(main())
    assert [e.scores for e in evaluations] == [{"toy": 1.0}] * 9
    assert len([w for w, _ in engines[1].diary if w == "loaded"]) >= 8


def test_when_the_last_engine_is_lost_the_search_stops():
    engine = WatchedEngine()
    engine.is_lost = True
    with pytest.raises(EngineLostError, match="the toy engine is lost"):
        evaluate_all([engine], ToyTask(), ["a", "b", "c", "d"])


def test_a_refused_adapter_stops_the_search_and_frees_the_engine():
    class Refusing(WatchedEngine):
        async def add(self, member):
            if member.id == "bad":
                raise EngineError("rank 99")
            return await super().add(member)

    engine = Refusing(generate_s=0.001)
    with pytest.raises(EngineError, match="rank 99"):
        evaluate_all([engine], ToyTask(), ["bad"])
    assert not engine.members


@pytest.mark.parametrize("limits", [{"in_flight": 0}, {"in_flight": 1, "ahead": -1}])
def test_limits_that_cannot_work_are_refused(limits):
    with pytest.raises(ValueError, match="in_flight >= 1 and ahead >= 0"):
        Evaluator([WatchedEngine()], {}, **limits)


def test_no_engine_is_refused():
    with pytest.raises(ValueError, match="expected engines, .* got 0 engines"):
        Evaluator([], {}, in_flight=1)


def archives_of(engines, *, seed=4, lag=1):
    """Run a small CycleQD whose scores depend on the cores; return what it leaves."""
    rng = np.random.default_rng(0)
    experts = {
        name: {"m": rng.normal(size=(4, 4)).astype(np.float32)} for name in ("x", "y")
    }
    searcher = CycleQD(experts, CycleQDSettings(), seed=seed)

    def judge(sample, text):
        return (
            int(hashlib.sha256((sample.id + text).encode()).hexdigest()[:2], 16) / 255
        )

    def answer(child, request):
        return hashlib.sha256(child.cores["m"].tobytes()).hexdigest()

    tasks = {name: ToyTask(name, score_s=0.0005, judge=judge) for name in experts}
    inserted = []

    async def main():
        evaluator = Evaluator(engines(answer), tasks, in_flight=2, ahead=1)

        async def evaluate(proposal):
            return await evaluator.evaluate(proposal.member, Split.SEARCH, list(tasks))

        def insert(proposal, evaluation):
            inserted.append((proposal.member.id, proposal.parents, evaluation.scores))
            searcher.tell(proposal, evaluation.scores)

        await run_search(searcher, evaluate, insert, Budget(24, 4, lag))

    asyncio.run(main())
    elites = {
        t: sorted((e.id, e.objective) for e in a.elites)
        for t, a in searcher.archives.items()
    }
    return inserted, elites


@pytest.mark.parametrize("lag", [0, 1, 2])
@pytest.mark.parametrize("num_engines", [1, 3])
def test_any_number_of_engines_in_any_order_leaves_the_same_archives(num_engines, lag):
    undisturbed = archives_of(lambda answer: [WatchedEngine(answers=answer)], lag=lag)

    def late(answer):
        return [
            WatchedEngine(load_s=0.001, generate_s=0.002, jitter=n, answers=answer)
            for n in range(num_engines)
        ]

    assert archives_of(late, lag=lag) == undisturbed
    assert len(undisturbed[0]) == 24 + 7
