"""CycleQD: rotation, seeds, determinism."""

from dataclasses import replace

import numpy as np
import pytest

from lora_qd.errors import StoreError
from lora_qd.factors import CoreSpace, LowRank
from lora_qd.search import Breeder, CycleQD, CycleQDSettings
from lora_qd.variation import CrossoverSettings, MutationForm, SelectionForm

TASKS = ("code", "database", "shell")


def expert_cores(seed=0):
    rng = np.random.default_rng(seed)
    experts = [
        {f"m{i}": LowRank(rng.normal(size=(12, 3)), rng.normal(size=(3, 10)))}
        for _ in TASKS
        for i in [0]
    ]
    space = CoreSpace.of(experts)
    return dict(zip(TASKS, map(space.project, experts), strict=True))


def scores_of(member):
    """A score that depends on the member's content only."""
    total = sum(float(np.sum(core)) for core in member.cores.values())
    return {t: abs(np.sin(total + i)) for i, t in enumerate(TASKS)}


def new_searcher(seed=1, **settings):
    return CycleQD(expert_cores(), CycleQDSettings(**settings), seed=seed)


def run(searcher, num_batches=6, batch=2):
    born = []
    for _ in range(num_batches):
        for child in searcher.ask(batch):
            searcher.tell(child, scores_of(child.member))
            born.append(child)
    return born


def elites_of(searcher):
    return {t: a.elites for t, a in searcher.archives.items()}


def test_the_first_batch_holds_the_experts_and_the_static_merges():
    seeds = new_searcher(static_gains=(0.5, 0.7)).ask(1)
    assert [s.member.id for s in seeds] == [
        "expert-code",
        "expert-database",
        "expert-shell",
        "merge-0.5",
        "merge-0.7",
    ]
    assert [s.index for s in seeds] == list(range(5))


def test_a_static_merge_is_the_experts_sum_times_its_gain():
    experts = expert_cores()
    merge = new_searcher(static_gains=(0.5,)).ask(1)[3].member
    expected = 0.5 * sum(cores["m0"].astype(np.float64) for cores in experts.values())
    np.testing.assert_allclose(merge.cores["m0"], expected, atol=1e-5)


def test_every_expert_is_offered_to_every_archive():
    searcher = new_searcher(static_gains=())
    run(searcher, num_batches=1)
    for archive in searcher.archives.values():
        assert {e.id for e in archive.elites} <= {f"expert-{t}" for t in TASKS}
        assert len(archive) >= 1


def test_generations_rotate_over_the_tasks_in_order():
    born = run(new_searcher(static_gains=()), num_batches=8, batch=2)
    bred = [child.task for child in born if child.parents]
    assert bred[::2] == bred[1::2]
    assert bred[::2] == [
        "code",
        "database",
        "shell",
        "code",
        "database",
        "shell",
        "code",
    ]


def test_parents_are_elites_of_the_archive_that_the_child_is_bred_in():
    searcher = new_searcher()
    run(searcher, num_batches=3)
    elites = {e.id for e in searcher.archives["shell"].elites}
    children = searcher.ask(5)
    assert {child.task for child in children} == {"shell"}
    assert {parent for child in children for parent in child.parents} <= elites


def test_one_seed_gives_one_history():
    first, second = new_searcher(seed=7), new_searcher(seed=7)
    ids = [[c.member.id for c in run(s)] for s in (first, second)]
    assert ids[0] == ids[1]
    assert elites_of(first) == elites_of(second)


def test_another_seed_gives_other_children():
    ids = [[c.member.id for c in run(new_searcher(seed=s))] for s in (1, 2)]
    assert ids[0][:8] == ids[1][:8]  # the seeds of the archives
    assert not set(ids[0][8:]) & set(ids[1][8:])


def test_a_child_is_a_function_of_seed_index_and_archives():
    together, apart = new_searcher(), new_searcher()
    run(together, num_batches=1)
    run(apart, num_batches=1)
    ids = [child.member.id for child in together.ask(3)]
    assert [child.member.id for child in apart.ask(3)] == ids


def test_known_children_take_their_places_in_a_batch():
    whole, resumed = new_searcher(), new_searcher()
    for searcher in (whole, resumed):
        run(searcher, num_batches=2)
    expected = whole.ask(4)
    children = resumed.ask(4, expected[:3])
    assert children[:3] == expected[:3]
    assert children[3].member.id == expected[3].member.id
    assert [c.member.id for c in whole.ask(2)] == [c.member.id for c in resumed.ask(2)]


def test_a_childs_recipe_and_parents_are_enough_to_breed_it_again():
    searcher = new_searcher()
    run(searcher, num_batches=4)
    breeder = Breeder(expert_cores(), searcher.settings, seed=1)
    for child in searcher.ask(3):
        parents = [searcher.cores_by_id[parent] for parent in child.parents]
        derived = breeder.derive(child, parents)
        np.testing.assert_array_equal(derived["m0"], child.member.cores["m0"])


def test_a_recipe_without_the_generators_position_is_refused():
    searcher = new_searcher()
    run(searcher, num_batches=2)
    child = replace(searcher.ask(1)[0], recipe={})
    breeder = Breeder(expert_cores(), searcher.settings, seed=1)
    with pytest.raises(StoreError, match="first versions kept none; restore its file"):
        breeder.derive(child, [])


def test_only_elites_keep_their_cores():
    searcher = new_searcher()
    run(searcher, num_batches=20)
    assert set(searcher.cores_by_id) == searcher.elite_ids()


def test_the_settings_of_paper_and_released_code_run():
    paper = {"mutation": MutationForm.MULTIPLY, "w_max": 2.0}
    released = {"mutation": MutationForm.EXPERT, "selection": SelectionForm.RELEASED}
    for settings in (paper, released):
        born = run(new_searcher(crossing=CrossoverSettings(0.5), **settings))
        assert all(c.recipe["gain"] == 1.0 for c in born if c.parents)


def test_breeding_before_the_experts_are_told_is_refused():
    searcher = new_searcher()
    searcher.ask(1)
    with pytest.raises(ValueError, match="the seeds' scores first"):
        searcher.ask(1)


def test_asking_for_no_child_is_refused():
    with pytest.raises(ValueError, match="at least 1 child"):
        new_searcher().ask(0)


def test_a_single_task_is_refused():
    experts = {"code": expert_cores()["code"]}
    with pytest.raises(ValueError, match=r"at least two tasks.*\['code'\]"):
        CycleQD(experts, CycleQDSettings(), seed=1)
