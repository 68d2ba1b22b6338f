"""A search on the paper's three skills: real vLLM, a real sandbox, real systems."""

import json

import pytest

from lora_qd.records import Split
from lora_qd.store.ledger import Ledger
from tests.cli.test_main import loraqd, write_config
from tests.tasks.agentbench.fake_systems import entry
from tests.tasks.agentbench.tables import ROWS, write
from tests.tasks.coding.problems import HUMANEVAL
from tests.tiny_base import save_random_adapter, save_tiny_base

SKILLS = ("humaneval", "agentbench-db", "agentbench-os")
MANY = 24


def write_data(directory):
    """Write some samples of each benchmark and return the config's part."""
    problems = [HUMANEVAL | {"task_id": f"Own/{n}"} for n in range(MANY)]
    rows = [row | {"description": f"{row['description']} {n}"}
            for n in range(MANY // 3) for row in ROWS[:3]]  # fmt: skip
    entries = [entry(description=f"Number {n}?") for n in range(MANY)]
    files = [
        write(directory / "problems.jsonl", *problems),
        write(directory / "pets.jsonl", *rows),
        directory / "problems.json",
    ]
    files[2].write_text(json.dumps(entries))
    settings = {"max_tokens": 24, "shares": {"search": 0.5, "validation": 0.25}}
    settings["shares"]["test"] = 0.25
    return {
        skill: {"path": str(file)} | settings
        for skill, file in zip(SKILLS, files, strict=True)
    }


def make_run(directory, debian_root, name):
    base = directory / "base"
    if not base.exists():
        save_tiny_base(base)
        path = base / "config.json"
        config = json.loads(path.read_text()) | {"max_position_embeddings": 4096}
        path.write_text(json.dumps(config))
        for seed, skill in enumerate(SKILLS):
            save_random_adapter(directory / "experts" / skill, seed)
    return write_config(
        directory,
        base=str(base),
        run=str(directory / name),
        skills=list(SKILLS),
        benchmarks=write_data(directory),
        systems={"root": str(debian_root)},
        search={"children": 4, "batch": 2},
        merge_gains=[0.5],
        engine={"max_model_len": 4096, "max_loras": 2, "max_num_seqs": 32},
    )


def values_of(run):
    with Ledger(run / "ledger.sqlite") as ledger:
        members = [row.member for row in ledger.children()]
        return {m: ledger.values(m, Split.SEARCH) for m in members}


@pytest.mark.slow
def test_a_search_on_the_papers_skills_ends_with_a_table_twice_the_same(
    tmp_path, debian_root
):
    for name in ("one", "two"):
        config = make_run(tmp_path, debian_root, name)
        done = loraqd("evolve", "--config", config, HOME=str(tmp_path))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "aggregate" in done.stdout
    one, two = values_of(tmp_path / "one"), values_of(tmp_path / "two")
    assert len(one) == 3 + 1 + 4
    assert one == two
    with Ledger(tmp_path / "one" / "ledger.sqlite") as ledger:
        sources = [key for key in ledger.manifest()["splits"] if "source" in key]
    assert len(sources) == 3
    assert loraqd("verify", tmp_path / "one", "--derive").returncode == 0
