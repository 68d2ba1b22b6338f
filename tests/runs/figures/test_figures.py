"""Charts say what the run says, whatever the run is."""

import csv
import io
import json
import re

import pytest

from lora_qd.runs.figures import SECTIONS, Figure, Kind, figures_of
from lora_qd.runs.figures.archive_maps import slug
from lora_qd.runs.following import Follower
from lora_qd.runs.run import Run
from lora_qd.store.ledger import mean
from lora_qd.store.run_directory import RunDirectory
from tests.dashboard.made_up import MadeUpRun
from tests.runs import synthetic


def figures(run):
    return figures_of(Follower(run.directory).read())


def by_id(run):
    return {figure.id: figure for figure in figures(run)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("figures") / "run"
    return MadeUpRun(path, budget=192).add(200).finish()


@pytest.mark.parametrize("skills", range(2, 9))
@pytest.mark.parametrize("num", [0, 1, 9, 40])
def test_every_run_has_sound_charts(tmp_path, skills, num):
    for figure in figures(MadeUpRun(tmp_path / "run", skills).add(num)):
        assert re.fullmatch(r"[a-z0-9-]+", figure.id)
        assert figure.section in SECTIONS
        assert figure.title
        assert figure.summary
        assert set(figure.encoding.values()) <= set(figure.columns)
        assert {len(row) for row in figure.rows} <= {len(figure.columns)}
        assert all(0 <= row < len(figure.rows) for row in figure.marked)
        json.dumps(figure.plain(), allow_nan=False)


@pytest.mark.parametrize(
    "skills", [("code", "code-0-1", "Code", "code--2"), ("a", "A", "a-1", "á", "a--1")]
)
def test_charts_have_names_of_their_own(tmp_path, skills):
    run = MadeUpRun(tmp_path / "run", len(skills), names=skills).add(30)
    names = [figure.id for figure in figures(run)]
    assert len(set(names)) == len(names)
    groups = {figure.group or figure.id for figure in figures(run)}
    assert len([name for name in groups if name.startswith("archive-")]) == len(skills)


def test_skills_with_names_alike_have_files_of_their_own():
    assert slug("code", 0) == "code"
    assert slug("Code!", 1) != slug("code?", 2)
    assert re.fullmatch(r"[a-z0-9-]+", slug("../../etc", 3))
    assert re.fullmatch(r"[a-z0-9-]+", slug("漢字", 4))


def test_a_heatmap_has_every_elite_of_two_measures(run):
    archive = Run.open(run.directory.path).archives["code"]
    figure = by_id(run)["archive-code"]
    cells = {(row[0], row[1]): row[-1] for row in figure.rows}
    assert cells == {elite.index: elite.id for elite in archive.elites}
    assert figure.rows[figure.marked[0]][-2] == round(archive.best.objective, 5)


def test_more_measures_are_seen_pair_by_pair_each_cell_its_best(tmp_path):
    run = MadeUpRun(tmp_path / "run", 5).add(300)
    archive = Run.open(run.directory.path).archives["code"]
    maps = [f for f in figures(run) if f.group == "archive-code"]
    assert len(maps) == 6
    assert len({figure.view for figure in maps}) == 6
    shown = {(row[0], row[1]): row[-2] for row in maps[1].rows}  # measures 0 and 2
    for cell, value in shown.items():
        inside = [e for e in archive.elites if (e.index[0], e.index[2]) == cell]
        assert value == round(max(e.objective for e in inside), 5)
    assert by_id(run)["parallel-code"].kind is Kind.PARALLEL


def test_success_is_the_share_that_entered_an_archive(run):
    story = Follower(run.directory).read().story
    entered = [
        bool(e)
        for r, e in zip(story.rows, story.entered, strict=True)
        if r.parents and r.task == "code"
    ]
    rows = {row[0]: row for row in by_id(run)["operators"].rows}
    assert rows["bred for code"][1] == round(sum(entered) / len(entered), 4)
    assert rows["bred for code"][4] == len(entered)
    assert sum(row[4] for name, row in rows.items() if name.startswith("gain")) == 192


def test_the_family_begins_with_the_member_that_validation_chose(run):
    opened, tree = Run.open(run.directory.path), by_id(run)["family-tree"]
    chosen = opened.results.members["balanced"]
    assert tree.rows[0][:3] == (
        chosen,
        " ".join(dict.fromkeys(opened.child(chosen).parents)),
        0,
    )
    known = {row[0] for row in tree.rows}
    for _, parents, generation, *_ in tree.rows:
        assert generation == 6 or set(parents.split()) <= known or len(known) == 80


def test_the_gap_shows_the_means_of_all_three_splits(run):
    best = Run.open(run.directory.path).results.members["balanced"]
    rows = {row[0]: row[1] for row in by_id(run)["optimism-gap"].rows}
    child = Run.open(run.directory.path).child(best)
    # The made-up samples of a score are so many quarters, rounded up.
    means = [-(-4 * child.scores[s] // 1) / 4 for s in run.skills]
    assert rows["best · search"] == pytest.approx(sum(means) / 3, abs=1e-5)
    assert rows["best · test"] == 0.5
    assert "base · search" not in rows


def test_time_and_tokens_add_up(run):
    charts = by_id(run)
    search = [row[2] for row in charts["time"].rows if row[0] == "search"]
    assert sum(search) == pytest.approx(200 * 5.2 / 60, abs=1e-3)
    assert ("search", "generated", 200 * 12 * 30) in charts["tokens"].rows


def test_the_front_holds_the_best_mean_and_rings_it(run):
    front = by_id(run)["pareto-front"]
    best = max(mean(c.scores) for c in Run.open(run.directory.path).children)
    (ringed,) = front.marked
    assert sum(front.rows[ringed][1:4]) / 3 == pytest.approx(best, abs=1e-4)


def test_experts_are_alike_themselves_and_symmetric(tmp_path):
    config = synthetic.config(tmp_path)
    synthetic.run(config)
    snapshot = Follower(RunDirectory(config.run)).read()
    charts = {figure.id: figure for figure in figures_of(snapshot)}
    values = {row[:2]: row[4] for row in charts["experts-cosine"].rows}
    assert [values[i, i] for i in range(3)] == [1.0] * 3
    assert all(values[i, j] == values[j, i] for i, j in values)
    assert charts["manifest"].rows


def test_a_charts_csv_is_its_rows():
    figure = Figure(
        "a",
        "Costs",
        "A",
        "B",
        Kind.TABLE,
        ("x", 'y, "quoted"'),
        [(1, "two\nlines"), (0.5, None)],
        {},
    )
    header, *rows = csv.reader(io.StringIO(figure.csv()))
    assert header == ["x", 'y, "quoted"']
    assert rows == [["1", "two\nlines"], ["0.5", ""]]
    with pytest.raises(KeyError, match="x"):
        figure.column("x")
