"""``loraqd evolve --dry-run``: shows a plan and leaves nothing behind."""

import json
import shutil

import pytest

from lora_qd.cli.planning import PlanOptions, show_plan
from tests.cli.test_main import TINY, loraqd, refusal, write_config


def files_below(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*"))


def test_a_dry_run_shows_memory_work_time_and_price_and_writes_nothing(tmp_path):
    shutil.copytree(TINY, tmp_path / "base")
    config = write_config(tmp_path, base="base")
    before = files_below(tmp_path)
    done = loraqd(
        *("evolve", "--config", config, "--dry-run", "--device", "cpu"),
        "engine.price_per_hour=1.5",
        cwd=tmp_path,
        HOME=str(tmp_path),
        HF_HUB_OFFLINE="1",
    )
    assert done.returncode == 0, done.stderr
    for text in ("Memory of one accelerator", "491.5 kB each", "validation", "Price: "):
        assert text in done.stdout
    assert "Not trained yet: code, shell" in done.stdout
    assert files_below(tmp_path) == before


def test_a_plan_without_a_price_says_how_to_give_it(tmp_path, capsys):
    show_plan(write_config(tmp_path), [], PlanOptions(device="l40s", as_json=False))
    printed = capsys.readouterr().out
    assert "Price: say engine.price_per_hour=" in printed
    assert "l40s: 48 GB" in printed


def test_a_dry_run_is_read_by_programs(tmp_path):
    done = loraqd(
        *("evolve", "--config", write_config(tmp_path), "--dry-run", "--json"),
        "--device=h100",
    )
    plan = json.loads(done.stdout)
    assert plan["memory"]["slot"] == 491_520
    assert [part["split"] for part in plan["passes"]] == [
        "search",
        "validation",
        "test",
    ]
    assert plan["cost"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dry-run", "--device", "abacus"], "expected a device out of cpu"),
        (["--dry-run", "base=nobody/nothing"], "but it is neither a directory nor in"),
        (["--json"], "--device and --json with --dry-run only"),
    ],
)
def test_a_plan_that_cannot_be_made_is_one_line(tmp_path, arguments, message):
    config = write_config(tmp_path)
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    line = refusal("evolve", "--config", config, *arguments, **environment)
    assert message in line
    assert not (tmp_path / "run").exists()
