"""The model card: true to the run, readable, and valid for the Hub."""

import ast
import re
import shlex
from dataclasses import replace

import pytest
import yaml

from lora_qd.errors import InputError
from lora_qd.hub.card import CardFacts, model_card
from lora_qd.hub.card_metadata import card_data
from lora_qd.hub.identity import Base
from lora_qd.hub.licences import LicenceOptions, terms_of
from lora_qd.runs.config import RunConfig
from lora_qd.runs.run import Run
from tests.hub import sharing
from tests.runs import synthetic
from tests.runs.audited import run_and_stop

BASE = Base(sharing.BASE, "hub:0123456789abcdef", None)
STRANGE = ("lm-eval:arc_easy", "a|b *c* `d` <e> [f](g)", "#1 $x$ ~z~ & !")
HEADINGS = [
    "Adapters",
    "Results",
    "Use",
    "Recipe",
    "Lineage of the aggregate",
    "Costs",
    "Limits",
    "Licence",
    "How it was made",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run.open(sharing.finished_run(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """A run whose skills have names full of marks, the last one only measured."""
    experts = dict(zip(STRANGE, synthetic.adapters().values(), strict=True))
    config = synthetic.config(
        tmp_path_factory.mktemp("runs"), skills=list(STRANGE), retention=["r_e|t"]
    )
    synthetic.run(config, experts=experts)
    return Run.open(config.run)


def facts(run, *, pictures=(), repo_id=sharing.REPO, **licence):
    folders = {name: f"f{i}" if i else "" for i, name in enumerate(run.results.members)}
    terms = terms_of(BASE, repo_id, LicenceOptions(**licence))
    return CardFacts(repo_id, BASE, terms, folders, pictures)


def parts(card):
    """Return the metadata and the body."""
    _, metadata, body = card.split("---\n", 2)
    return yaml.safe_load(metadata), body


def blocks(body, language):
    return re.findall(rf"```{language}\n(.*?)```", body, re.DOTALL)


def cells(body):
    """Return the rows of all tables, as a reader of Markdown sees them."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    rows = []
    for i, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        if token.type in ("td_open", "th_open"):
            children = tokens[i + 1].children
            rows[-1].append("".join(c.content for c in children))
    return rows


def test_the_metadata_survives_the_hubs_own_reader(run):
    from huggingface_hub import ModelCard

    card = model_card(run, facts(run, licence="mit"))
    given = facts(run, licence="mit")
    data = card_data(
        run.config,
        run.results,
        repo_id=given.repo_id,
        base=BASE.model,
        terms=given.terms,
    )
    read = ModelCard(card)
    assert read.data.to_dict() == data.to_dict()
    assert read.data.eval_results == data.eval_results
    assert read.data.model_name == "eight-by-eight"
    assert str(ModelCard(str(read))) == card


def test_the_metadata_says_what_the_adapters_are(run):
    metadata, _ = parts(model_card(run, facts(run, licence="mit")))
    index = metadata.pop("model-index")
    tags = ["lora", "peft", "loraqd", "quality-diversity", "cycleqd", "model-merging"]
    assert metadata == {
        "base_model": sharing.BASE,
        "base_model_relation": "adapter",
        "library_name": "peft",
        "license": "mit",
        "pipeline_tag": "text-generation",
        "tags": [*tags, "map-elites"],
    }
    assert len(index) == 1


def test_the_index_has_the_aggregates_scores_on_test(strange):
    metadata, _ = parts(model_card(strange, facts(strange)))
    (row,) = (each for each in strange.results.rows if each.name == "aggregate")
    entries = metadata["model-index"][0]["results"]
    by_name = {entry["dataset"]["name"]: entry for entry in entries}
    expected = {**row.by_skill, f"mean of {', '.join(STRANGE)}": row.mean}
    assert set(by_name) == set(expected)
    for name, interval in expected.items():
        (metric,) = by_name[name]["metrics"]
        assert by_name[name]["dataset"]["split"] == "test"
        assert metric["value"] == pytest.approx(interval.mean, abs=5e-5)
        low, high = metric["args"]["interval_95"]
        assert (low, high) == pytest.approx((interval.low, interval.high), abs=5e-5)
        num = synthetic.NUM_SAMPLES * (
            len(STRANGE) if name.startswith("mean of") else 1
        )
        assert metric["args"]["samples"] == num


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("apache-2.0", {"license": "apache-2.0"}),
        ("gemma", {"license": "gemma"}),
        (None, {"license": "unknown"}),
        (
            "my-licence",
            {
                "license": "other",
                "license_name": "my-licence",
                "license_link": "LICENSE",
            },
        ),
        (
            "llama4",
            {"license": "other", "license_name": "llama4", "license_link": "LICENSE"},
        ),
    ],
)
def test_the_licence_is_one_that_the_hub_knows_or_other(run, licence, expected):
    texts = {"LICENSE": b"text"}
    given = facts(run, repo_id="o/Llama-4-x", licence=licence, hub_texts=texts)
    metadata, _ = parts(model_card(run, given))
    got = {key: value for key, value in metadata.items() if key.startswith("license")}
    assert got == expected


def test_only_public_data_sets_are_named(run, tmp_path):
    (tmp_path / "here").mkdir()
    data = [
        {"hub": "somebody/questions"},
        {"hub": str(tmp_path / "here")},
        {"file": "mine.jsonl"},
    ]
    names = ["code", "database", "humaneval"]
    raw = {
        "base": "b",
        "run": "r",
        "experts_dir": "e",
        "skills": names,
        "retention": ["humaneval+"],
        "experts": [{"name": n, "data": d} for n, d in zip(names, data, strict=True)],
        "benchmarks": {
            "humaneval": {"hub": "openai/openai_humaneval"},
            "humaneval+": {"hub": "openai/openai_humaneval"},
        },
    }
    rows = [
        replace(
            row,
            by_skill=dict.fromkeys([*names, "humaneval+"], row.mean),
        )
        for row in run.results.rows
    ]
    results = replace(
        run.results,
        skills=tuple(names),
        retention=("humaneval+",),
        rows=tuple(rows),
        num_samples=dict.fromkeys([*names, "humaneval+"], 7),
    )
    given = facts(run)
    metadata = card_data(
        RunConfig.model_validate(raw),
        results,
        repo_id="o/x",
        base=BASE.model,
        terms=given.terms,
    ).to_dict()
    assert metadata["datasets"] == ["openai/openai_humaneval", "somebody/questions"]
    types = [e["dataset"]["type"] for e in metadata["model-index"][0]["results"]]
    assert types == [
        "loraqd/code",
        "loraqd/database",
        "openai/openai_humaneval",
        "loraqd/mean",
        "loraqd/humaneval",
    ]


def test_the_body_has_its_sections_in_order(run):
    _, body = parts(model_card(run, facts(run)))
    assert re.findall(r"^# (.*)", body, re.MULTILINE)[0] == "eight-by-eight"
    assert re.findall(r"^## (.*)", body, re.MULTILINE) == HEADINGS
    assert "\n\n\n" not in body
    assert body.endswith("hash.\n")
    assert "Archives" not in body


def test_pictures_have_a_section_of_their_own(run):
    pictures = ("pictures/archive-code.png", "pictures/archive-shell.png")
    _, body = parts(model_card(run, facts(run, pictures=pictures)))
    headings = [*HEADINGS[:3], "Archives", *HEADINGS[3:]]
    assert re.findall(r"^## (.*)", body, re.MULTILINE) == headings
    assert re.findall(r"!\[(.*?)\]\((.*?)\)", body) == [
        ("archive code", pictures[0]),
        ("archive shell", pictures[1]),
    ]


def test_strange_names_are_shown_as_they_are(strange):
    _, body = parts(model_card(strange, facts(strange)))
    rows = cells(body)
    heads = next(row for row in rows if "energy dropped" in row)
    assert heads[1:4] == list(STRANGE)
    assert heads[5] == "r_e|t"
    shown = {row[0]: row for row in rows if len(row) == len(heads)}
    for row in strange.results.rows:
        assert shown[row.name][1:4] == [str(row.by_skill[s]) for s in STRANGE]
        assert shown[row.name][4] == str(row.mean)


def test_every_table_is_rectangular(strange):
    _, body = parts(model_card(strange, facts(strange)))
    for table in re.findall(r"(?:^\|.*\n)+", body, re.MULTILINE):
        widths = {len(row) for row in cells(table)}
        assert len(widths) == 1
        assert len(cells(table)) == table.count("\n") - 1


def test_the_code_is_python_and_names_the_repository(run):
    _, body = parts(model_card(run, facts(run)))
    (code,) = blocks(body, "python")
    texts = {n.value for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Constant)}
    assert texts == {sharing.BASE, sharing.REPO, facts(run).folders["code"]}


@pytest.mark.parametrize(("rank", "served"), [(4, "8"), (16, "16"), (300, "320")])
def test_the_commands_are_whole(run, rank, served):
    engine = run.config.engine.model_copy(
        update={"serve_rank": rank, "quantization": "nf4"}
    )
    config = run.config.model_copy(update={"engine": engine})
    other = Run(run.directory, config, run.children, run.others, run.results)
    _, body = parts(model_card(other, facts(run)))
    serve, pull = blocks(body, "sh")
    first, second, third = (
        shlex.split(line.replace("\\\n", ""))
        for line in re.split(r"(?<!\\)\n+", serve)[:3]
    )
    options = ["--quantization", "bitsandbytes", "--enable-lora", "--max-lora-rank"]
    start = ["vllm", "serve", sharing.BASE, *options, served, "--lora-modules"]
    folder = facts(run).folders["code"]
    assert first == [*start, f"eight-by-eight={sharing.REPO}"]
    assert second[:3] == ["hf", "download", sharing.REPO]
    assert third == [*start, f"{folder}=eight-by-eight/{folder}"]
    assert shlex.split(pull) == ["loraqd", "pull", sharing.REPO]


def test_the_licences_duties_are_met_on_the_page(run):
    texts = {"LICENSE": b"text"}
    given = facts(run, repo_id="o/Llama-3-x", licence="llama3", hub_texts=texts)
    _, body = parts(model_card(run, given))
    top, rest = body.split("## Adapters")
    assert "**Built with Meta Llama 3**" in top
    assert f"> {given.terms.licence.notice}" in rest
    assert "[LICENSE](LICENSE)" in rest
    assert "<https://www.llama.com/llama3/use-policy/>" in rest
    _, plain = parts(model_card(run, facts(run)))
    assert "Built with" not in plain
    assert "Nothing says under which licence" in plain


def test_the_first_sentence_compares_with_the_best_of_each_kind(run):
    _, body = parts(model_card(run, facts(run)))
    rows = {row.name: row.mean.mean for row in run.results.rows}
    best = max(mean for name, mean in rows.items() if name.startswith("expert"))
    gap = rows["aggregate"] - best
    word = "above" if gap > 0 else "below"
    assert f"{abs(gap):.2f} {word} the best single expert ({best:.2f}" in body


def test_lineage_tells_every_parent_once(run):
    _, body = parts(model_card(run, facts(run)))
    table = cells(body.split("## Lineage")[1].split("## Costs")[0])
    members = [row[1] for row in table[1:]]
    assert len(set(members)) == len(members)
    assert {run.results.members[skill] for skill in synthetic.SKILLS} <= set(members)
    shown = {row[1]: row for row in table[1:]}
    for child in run.children:
        if child.member in shown and child.parents:
            assert shown[child.member][2] == ", ".join(child.parents)


def test_without_a_bred_member_the_balanced_one_is_a_static_merge(tmp_path):
    path = sharing.finished_run(tmp_path, search__children=0, search__seed_merges=False)
    run = Run.open(path)
    _, body = parts(model_card(run, facts(run)))
    assert "the best static merge by mean score on the validation split" in body
    assert "best bred member" not in body.split("## Recipe")[0]


def test_limits_name_what_was_measured_on(run):
    _, body = parts(model_card(run, facts(run)))
    limits = body.split("## Limits")[1].split("## Licence")[0]
    assert "One run with one seed (1)" in limits
    assert "4 of code, 4 of database and 4 of shell" in limits
    assert "a base that is not quantised, in bfloat16" in limits


def test_a_run_without_costs_has_no_such_section(run):
    results = replace(run.results, costs=None)
    other = Run(run.directory, run.config, run.children, run.others, results)
    _, body = parts(model_card(other, facts(run)))
    assert "## Costs" not in body


def test_an_unfinished_run_has_no_card(tmp_path):
    config = synthetic.config(tmp_path)
    run_and_stop(config, 8)
    unfinished = Run.open(config.run)
    given = CardFacts("o/x", BASE, terms_of(BASE, "o/x", LicenceOptions()), {}, ())
    with pytest.raises(InputError, match="expected a finished run .* loraqd resume"):
        model_card(unfinished, given)
