"""The main job on real vLLM: a whole small run, served, exported, repeated."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lora_qd.errors import InputError, StoreError
from lora_qd.records import Split
from lora_qd.runs.run import Run
from lora_qd.store.ledger import Ledger
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.tiny import tiny_tasks
from tests.runs.small import ROOT, evolve

SEEDS = ["expert-code", "expert-database", "expert-shell", "merge-0.5", "merge-0.7"]


def children_of(run):
    with Ledger(run / "ledger.sqlite") as ledger:
        return ledger.children()


def test_a_run_leaves_table_pictures_and_ledger(finished_run):
    run, printed = finished_run
    assert (run / "report/archive-code.png").read_bytes().startswith(b"\x89PNG")
    assert "best bred member" in (run / "results.md").read_text()
    rows = children_of(run)
    assert [row.member for row in rows[:5]] == SEEDS
    assert [row.index for row in rows] == list(range(11))
    assert all(row.parents and row.task for row in rows[5:])
    assert "Serve the elites:  loraqd serve" in printed


def test_the_table_compares_everybody_on_the_test_split(finished_run):
    run, printed = finished_run
    results = json.loads((run / "results.json").read_text())
    names = [row["name"] for row in results["rows"]]
    assert names[:4] == ["base", "expert code", "expert database", "expert shell"]
    assert names[4].startswith("best static merge 0.")
    assert names[5:] == ["best bred member", "aggregate"]
    assert results["num_samples"] == dict.fromkeys(
        ["code", "database", "shell", "general"], 24
    )
    assert all(name in printed for name in names)


def test_an_expert_is_best_at_its_own_skill(finished_run):
    run, _ = finished_run
    rows = json.loads((run / "results.json").read_text())["rows"]
    score = {row["name"]: row["by_skill"] for row in rows}
    for skill in ("code", "database", "shell"):
        own = score[f"expert {skill}"][skill]["mean"]
        assert own > score["base"][skill]["mean"]


def test_the_manifest_fixes_config_hashes_and_versions(finished_run):
    run, _ = finished_run
    with Ledger(run / "ledger.sqlite") as ledger:
        manifest = ledger.manifest()
    assert manifest["config"]["search"]["children"] == 6
    assert set(manifest["experts"]) == {"code", "database", "shell"}
    assert len(manifest["splits"]) == 12
    trained = dict.fromkeys(["code", "database", "shell"], "none")
    assert manifest["quantization"] == {"served": "none", "trained": trained}
    assert "torch" in manifest["versions"]


def test_the_test_split_is_read_for_the_table_only(finished_run):
    run, _ = finished_run
    bred = [row.member for row in children_of(run)[5:]]
    with Ledger(run / "ledger.sqlite") as ledger:
        read = [member for member in bred if ledger.values(member, Split.TEST)]
    assert len(read) <= 1  # the best bred member


def test_only_elites_and_named_members_keep_their_genomes(finished_run):
    run, _ = finished_run
    kept = list((run / "members").iterdir())
    members = Run.open(run)
    for name in members.results.members:
        assert members.lineage.path(members.member(name).id) in kept
    assert len(kept) <= 5 + 6 + 2


def test_an_exported_member_gives_the_same_text_in_peft(finished_run, tmp_path):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run, _ = finished_run
    Run.open(run).export("expert-shell", tmp_path / "out")
    base = AutoModelForCausalLM.from_pretrained(
        ROOT / "adapters/tiny-llama", dtype=torch.bfloat16
    )
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "adapters/tiny-llama")
    model = PeftModel.from_pretrained(base, tmp_path / "out")
    with Ledger(run / "ledger.sqlite") as ledger:
        outcomes = ledger.outcomes("expert-shell", Split.TEST, "shell")
    samples = {s.id: s for s in tiny_tasks(Sandbox())["shell"].samples(Split.TEST)}
    equal = 0
    for sample, outcome in outcomes.items():
        chat = [{"role": "user", "content": samples[sample].prompt}]
        ids = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        out = model.generate(**ids, max_new_tokens=32, do_sample=False)
        text = tokenizer.decode(
            out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True
        )
        equal += text == outcome.answer
    assert len(outcomes) == 24
    assert equal >= 23  # bfloat16 sums differ between engines; a near tie may flip


def test_an_unknown_member_is_named_with_those_that_exist(finished_run):
    run, _ = finished_run
    with pytest.raises(InputError, match=r"got 'nobody'; it has aggregate, balanced"):
        Run.open(run).member("nobody")


@pytest.mark.parametrize("name", ["../ledger", "../../etc/passwd", ""])
def test_a_members_name_is_no_path(finished_run, name):
    run, _ = finished_run
    with pytest.raises((InputError, StoreError), match="a member of"):
        Run.open(run).member(name)


def test_export_does_not_overwrite(finished_run, tmp_path):
    run, _ = finished_run
    with pytest.raises(InputError, match="not to exist, but it does"):
        Run.open(run).export("aggregate", tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_seed_gives_one_history_whatever_is_in_flight_wherever(
    finished_run, tmp_path
):
    first = children_of(finished_run[0])
    for number, change in enumerate(("max_loras=4", "max_loras=1", "servers=2")):
        run = tmp_path / str(number)
        done = evolve(run, f"engine.{change}")
        assert done.returncode == 0, done.stderr
        assert children_of(run) == first


@pytest.mark.slow
def test_an_interrupted_run_stops_cleanly_and_says_how_to_go_on(tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "cli.py", "evolve", "--config", "configs/tiny.yaml"]
    process = subprocess.Popen(
        [*command, "--run", str(run), "experts_dir=adapters/tiny-experts"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not (run / "ledger.sqlite").is_file() or len(children_of(run)) < 2:
        time.sleep(0.5)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"loraqd resume {run}" in printed
    assert len(children_of(run)) >= 2
    group = Path(f"/proc/{process.pid}")
    assert not group.exists()
    servers = [p for p in Path("/proc").glob("[0-9]*/cmdline") if is_ours(p, run)]
    assert servers == []


def is_ours(cmdline, run):
    try:
        return str(run).encode() in cmdline.read_bytes() and cmdline.parent.name != str(
            os.getpid()
        )
    except OSError:
        return False


@pytest.mark.slow
def test_a_base_that_vllm_cannot_serve_shows_its_last_words(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    shipped = ROOT / "adapters/tiny-llama"
    for file in shipped.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    config = json.loads((base / "config.json").read_text())
    config["architectures"] = ["NoSuchForCausalLM"]
    (base / "config.json").write_text(json.dumps(config))
    experts = tmp_path / "experts"
    for skill in ("code", "database", "shell"):
        target = experts / skill
        target.mkdir(parents=True)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            source = ROOT / "adapters/tiny-experts" / skill / name
            (target / name).write_bytes(source.read_bytes())
        adapter = json.loads((target / "adapter_config.json").read_text())
        adapter["base_model_name_or_path"] = str(base)
        (target / "adapter_config.json").write_text(json.dumps(adapter))
    done = evolve(tmp_path / "run", f"base={base}", f"experts_dir={experts}")
    assert done.returncode == 2
    assert "expected vLLM to serve" in done.stderr
    assert "NoSuchForCausalLM" in done.stderr


def loraqd(*arguments):
    done = subprocess.run(
        [sys.executable, "cli.py", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_real_run_is_audited_without_a_finding(finished_run):
    printed = loraqd("verify", finished_run[0], "--derive")
    assert "derive    ok: 8 members bred anew" in printed
    assert "nothing is wrong" in printed


def test_a_real_runs_archives_and_lineage_are_read(finished_run):
    run, _ = finished_run
    archives = json.loads(loraqd("archive", run, "--json"))
    assert list(archives) == ["code", "database", "shell"]
    members = [row.member for row in children_of(run)]
    for archive in archives.values():
        assert archive["num_elites"] == len(archive["elites"]) > 0
        assert {elite["id"] for elite in archive["elites"]} <= set(members)
    tree = json.loads(loraqd("lineage", run, members[-1], "--json"))
    assert tree[0]["member"] == members[-1]
    assert {a["member"] for a in tree} >= set(children_of(run)[-1].parents)
