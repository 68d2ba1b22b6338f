"""``loraqd evaluate``: rows of every kind in one table, and on from where it stood."""

import json
import re
import shutil
from pathlib import Path

import pytest

from lora_qd.cli.evaluating import EvaluateOptions, evaluate, measured
from lora_qd.errors import EngineError, InputError, StoreError
from lora_qd.evaluation import paired_difference, wilson_interval
from tests.cli.test_main import refusal
from tests.engines.played_server import KEY, answer, playing
from tests.relay import relayed
from tests.tiny_base import save_random_adapter

SKILL = """\
data: {path: rows.jsonl, shares: {search: 0, validation: 0, test: 1}}
id: id
prompt: "Say something about {{ word }}"
answer: "e"
max_tokens: 6
scorer: {kind: regex, pattern: "[e-m]"}
"""
NUM = 30


@pytest.fixture(scope="module")
def world(tmp_path_factory, vllm_server, tiny_base):
    """Adapters, a skill with scores in between, and the URL of the session's server."""
    path = tmp_path_factory.mktemp("evaluate")
    for seed in (1, 2):
        save_random_adapter(path / f"lora-{seed}", seed, size=0.3)
    (path / "letters.yaml").write_text(SKILL)
    rows = [json.dumps({"id": n, "word": f"thing {n}"}) for n in range(NUM)]
    (path / "rows.jsonl").write_text("\n".join(rows))
    with relayed(vllm_server.socket) as url:
        yield path, str(tiny_base), url


def options(world, out, **changes):
    path, base, url = world
    plain = {
        "config": None,
        "base": base,
        "skills": (str(path / "letters.yaml"),),
        "retention": (),
        "split": "test",
        "out": out,
        "overrides": (
            f"engine.urls=['{url}']",
            f"engine.adapter_dir={out}",
            "engine.max_model_len=256",
        ),
        "keys": (),
        "allow": False,
        "as_json": True,
    }
    return EvaluateOptions(**(plain | changes))


def table_of(world, out, capsys, *names, **changes):
    """Evaluate and return the table that was printed."""
    evaluate(names, options(world, out, **changes))
    return json.loads(capsys.readouterr().out)


def entries(out):
    lines = (out / "samples.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def scored(world, tmp_path_factory):
    """The output directory of three rows on one skill."""
    out = tmp_path_factory.mktemp("scored") / "out"
    path = world[0]
    names = ("base", str(path / "lora-1"), str(path / "lora-2"))
    evaluate(names, options(world, out))
    return out, names


def values_of(out, name):
    return {e["sample"]: e["value"] for e in entries(out) if e["subject"] == name}


def test_the_table_follows_from_the_samples(scored):
    out, names = scored
    table = json.loads((out / "results.json").read_text())
    assert [row["name"] for row in table["rows"]] == list(names)
    assert table["num_samples"] == {"letters": NUM}
    first = values_of(out, names[0])
    for row in table["rows"]:
        own = values_of(out, row["name"])
        assert len(own) == NUM
        interval = wilson_interval(list(own.values()))
        assert row["by_skill"]["letters"]["mean"] == pytest.approx(interval.mean)
        if row["name"] != names[0]:
            pairs = [(first[sample], value) for sample, value in own.items()]
            wanted = paired_difference(*zip(*pairs, strict=True))
            assert row["differences"]["letters"]["mean"] == pytest.approx(wanted.mean)
            assert row["differences"]["letters"]["num_wins"] == wanted.num_wins
    assert table["rows"][0]["mean_difference"] is None
    means = {row["by_skill"]["letters"]["mean"] for row in table["rows"]}
    assert len(means) > 1


def test_the_markdown_has_every_row_and_its_difference(scored):
    out, names = scored
    text = (out / "results.md").read_text()
    assert f"Paired difference from {names[0]}:" in text
    assert all(f"| {name} |" in text for name in names)
    assert re.search(r"\d+ won, \d+ lost", text)


def test_what_is_scored_is_not_asked_again(world, scored, capsys):
    out, names = scored
    before = (out / "samples.jsonl").read_bytes()
    first = json.loads((out / "results.json").read_text())
    nobody = "engine.urls=['http://127.0.0.1:9']"  # no server would answer there
    assert table_of(world, out, capsys, *names, overrides=(nobody,)) == first
    assert (out / "samples.jsonl").read_bytes() == before


def test_a_stopped_evaluation_goes_on_with_what_is_missing(
    world, scored, tmp_path, capsys
):
    whole, names = scored
    out = tmp_path / "out"
    out.mkdir()
    lines = (whole / "samples.jsonl").read_bytes().splitlines(keepends=True)
    kept = lines[: len(lines) // 2]
    (out / "samples.jsonl").write_bytes(b"".join(kept) + lines[-1][:20])
    table = table_of(world, out, capsys, *names)
    asked = [(e["subject"], e["sample"]) for e in entries(out)]
    assert len(asked) == len(set(asked)) == len(lines)
    assert (out / "samples.jsonl").read_bytes().startswith(b"".join(kept))
    rows = json.loads((whole / "results.json").read_text())["rows"]
    assert [row["name"] for row in table["rows"]] == [row["name"] for row in rows]


def test_another_row_joins_a_finished_table(world, scored, tmp_path, capsys):
    whole, names = scored
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(whole / "samples.jsonl", out)
    copy = tmp_path / "copied"
    shutil.copytree(names[1], copy)
    table = table_of(world, out, capsys, names[1], str(copy))
    assert [e["subject"] for e in entries(out)].count(str(copy)) == 0
    [_, row] = table["rows"]
    difference = row["differences"]["letters"]
    assert (difference["mean"], difference["num_wins"]) == (0, 0)
    assert difference["low"] < 0 < difference["high"]


def test_other_weights_under_the_same_name_are_asked_anew(
    world, scored, tmp_path, capsys
):
    _, names = scored
    adapter, out = tmp_path / "mine", tmp_path / "out"
    shutil.copytree(names[1], adapter)
    table_of(world, out, capsys, str(adapter))
    shutil.rmtree(adapter)
    shutil.copytree(names[2], adapter)
    table_of(world, out, capsys, str(adapter))
    assert len({e["identity"] for e in entries(out)}) == 2
    assert len(entries(out)) == 2 * NUM


def test_a_hosted_model_is_a_row_and_its_key_stays_secret(
    world, scored, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("HOSTED_KEY", KEY)
    out = tmp_path / "out"
    with playing(lambda _: (200, answer("hello"))) as server:
        name = f"{server.url}#m-1"
        table = table_of(world, out, capsys, name, keys=("HOSTED_KEY",), base=None)
    assert table["rows"][0]["by_skill"]["letters"]["mean"] == 1.0
    assert {h["authorization"] for h in server.headers} == {f"Bearer {KEY}"}
    written = b"".join(p.read_bytes() for p in out.iterdir() if p.is_file())
    assert KEY.encode() not in written


def test_retention_is_a_share_of_the_base_and_not_in_the_mean(
    world, scored, tmp_path, capsys
):
    path, _, _ = world
    _, names = scored
    kept = path / "kept.yaml"
    kept.write_text(SKILL.replace("[e-m]", "[a-z]"))
    table = table_of(
        world, tmp_path / "out", capsys, *names[:2], retention=(str(kept),)
    )
    base, other = table["rows"]
    before = base["by_skill"]["kept"]["mean"]
    assert before > 0
    assert base["retained"] == {"kept": 1.0}
    ratio = other["by_skill"]["kept"]["mean"] / before
    assert other["retained"]["kept"] == pytest.approx(ratio)
    assert other["mean"]["mean"] == other["by_skill"]["letters"]["mean"]


def test_a_terminal_shows_the_table(world, scored, capsys):
    out, names = scored
    evaluate(names, options(world, out, as_json=False))
    printed = capsys.readouterr().out
    assert "Paired difference from base" in printed
    assert f"Table:   {out / 'results.md'}" in printed


def test_without_vllm_the_table_has_the_same_rows(world, scored, tmp_path, capsys):
    engine = ("engine.kind=transformers", "engine.dtype=float32")
    changes = {"overrides": (*engine, "engine.max_model_len=256")}
    table = table_of(world, tmp_path / "out", capsys, *scored[1], **changes)
    assert [row["name"] for row in table["rows"]] == list(scored[1])
    assert all(len(values_of(tmp_path / "out", name)) == NUM for name in scored[1])


def test_a_cluster_is_for_searches_only(world, tmp_path):
    changes = {"overrides": ("engine.kind=ray",)}
    with pytest.raises(InputError, match="vllm or transformers, but got ray"):
        evaluate(["base"], options(world, tmp_path / "out", **changes))


def test_an_adapter_without_effect_is_an_error(world, tmp_path):
    zero = save_random_adapter(tmp_path / "zero", 1, size=0)
    with pytest.raises(EngineError, match="to change the base's predictions"):
        evaluate([str(zero)], options(world, tmp_path / "out"))


@pytest.mark.parametrize(
    ("names", "changes", "words"),
    [
        ((), {}, "nobody is named"),
        (("base", "base"), {}, "'base' is named twice"),
        (("base",), {"base": None}, "expected the base model of 'base'"),
        (("./nowhere",), {}, "nowhere"),
        (("http://127.0.0.1:9/v1",), {}, "with the model's name behind a #"),
        (("http://u:p@h/v1#m",), {}, "without a name and password"),
        (("base",), {"split": "train"}, "--split out of search, validation, test, all"),
        (("base",), {"skills": ()}, "expected skills, but none are named"),
        (("base",), {"skills": ("knitting",)}, "got 'knitting'"),
        (("base",), {"split": "search"}, "but search has none of its 30"),
        (("base",), {"keys": ("sk-123 45",)}, "9 characters that are neither"),
        (("base",), {"overrides": ("engine.knots=3",)}, "engine.knots: unknown key"),
    ],
)
def test_wrong_orders_are_one_line(world, tmp_path, names, changes, words):
    with pytest.raises(InputError, match=words) as caught:
        evaluate(names, options(world, tmp_path / "out", **changes))
    assert "\n" not in str(caught.value)


def test_an_adapter_of_another_shape_is_refused(world, tmp_path):
    other = save_random_adapter(tmp_path / "other", 1, modules=("self_attn.x_proj",))
    with pytest.raises(InputError, match="to fit the base"):
        evaluate([str(other)], options(world, tmp_path / "out"))


def test_a_damaged_line_is_named(world, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "samples.jsonl").write_text('{"subject": 1}\n')
    with pytest.raises(StoreError, match=r"samples.jsonl, line 1: expected a sample's"):
        evaluate(["base"], options(world, out))


def test_without_an_experiment_the_context_is_the_bases(world, tmp_path):
    plain = options(world, tmp_path, overrides=())
    assert measured(plain).engine.max_model_len == 512


def test_an_experiment_names_base_engine_and_skills(tmp_path):
    tiny = Path(__file__).parents[2] / "configs" / "tiny.yaml"
    plain = EvaluateOptions(
        tiny, None, (), (), "test", tmp_path, ("engine.max_loras=2",), (), False, False
    )
    config = measured(plain)
    assert config.skills == ("code", "database", "shell")
    assert config.retention == ("general",)
    assert config.engine.max_loras == 2


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
    line = refusal("evaluate", "base", "--skills", "code", "--out", tmp_path / "out")
    assert "expected the base model of 'base'" in line
