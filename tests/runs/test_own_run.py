"""From a data file to an evolved adapter, by the commands of docs/skills.md."""

import json

import pytest

from lora_qd.records import Split
from lora_qd.runs.results import load_results
from lora_qd.store.ledger import Ledger
from tests.cli.test_main import ROOT, loraqd

pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "configs" / "examples" / "own.yaml"


def done(*arguments):
    finished = loraqd(*arguments)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def values_of(out, name):
    lines = (out / "samples.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return {
        skill: {
            e["sample"]: e["value"]
            for e in entries
            if (e["subject"], e["skill"]) == (name, skill)
        }
        for skill in ("orders", "shell", "general")
    }


@pytest.mark.timeout(900)
def test_a_skill_of_ones_own_becomes_an_adapter_and_a_row_of_a_table(tmp_path):
    experts, run, out = tmp_path / "experts", tmp_path / "run", tmp_path / "out"
    skill = ROOT / "configs" / "examples" / "orders.yaml"
    checked = done("skills", "check", skill, "--base", ROOT / "adapters/tiny-llama")
    assert "the base scores 0.0" in checked
    assert "\n  sound" in checked
    small = (f"experts_dir={experts}", f"run={run}", "search.children=8")
    trained = done("train-experts", "--config", EXAMPLE, *small)
    assert "orders: trained on " in trained
    done("evolve", "--config", EXAMPLE, *small)
    rows = {row.name: row for row in load_results(run / "results.json").rows}
    assert rows["base"].by_skill["orders"].mean < 0.1
    assert rows["expert orders"].by_skill["orders"].mean > 0.9
    assert rows["best bred member"].mean.mean > rows["base"].mean.mean + 0.2

    member = f"{run}:balanced"
    settings = [part for value in small for part in ("--set", value)]
    done(
        *("evaluate", "base", experts / "orders", member, "--config", EXAMPLE),
        *(*settings, "--out", out),
    )
    table = json.loads((out / "results.json").read_text())
    assert [row["name"] for row in table["rows"]][::2] == ["base", member]
    assert table["rows"][0]["retained"] == {"general": 1.0}
    with Ledger(run / "ledger.sqlite") as ledger:
        balanced = load_results(run / "results.json").members["balanced"]
        recorded = ledger.values(balanced, Split.TEST)
    for skill, found in values_of(out, member).items():
        wanted = recorded[skill]
        assert len(found) == len(wanted)
        # Near ties may fall otherwise beside other requests.
        assert sum(found.values()) == pytest.approx(sum(wanted), abs=0.02 * len(wanted))
