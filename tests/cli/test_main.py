"""The command line: instant help, one-line errors with exit code 2, docs that agree."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TINY = ROOT / "adapters" / "tiny-llama"


def loraqd(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", **environment},
        timeout=240,
        check=False,
    )


def refusal(*arguments, **more):
    """Run a command that must fail; return its one line."""
    done = loraqd(*arguments, **more)
    assert done.returncode == 2, done
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("loraqd: ")
    return lines[0]


def write_config(path, **changes):
    config = {
        "base": str(TINY),
        "experts_dir": str(path / "experts"),
        "run": str(path / "run"),
        "skills": ["code", "shell"],
    }
    file = path / "config.yaml"
    file.write_text(yaml.safe_dump(config | changes))
    return file


def write_expert(path, *, base="adapters/tiny-llama", d_out=192, fill=0.01):
    import torch
    from safetensors.torch import save_file

    path.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"}
    config["base_model_name_or_path"] = base
    (path / "adapter_config.json").write_text(json.dumps(config))
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {
        f"{prefix}.lora_A.weight": torch.full((2, 192), fill),
        f"{prefix}.lora_B.weight": torch.full((d_out, 2), fill),
    }
    save_file(tensors, path / "adapter_model.safetensors")


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from lora_qd.cli.main import app\n"
        "print([m for m in ('torch', 'numpy', 'pydantic', 'vllm') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_every_verb_has_a_help_text():
    for verb in ("train-experts", "evolve", "resume", "serve", "export", "tiny build"):
        done = loraqd(*verb.split(), "--help")
        assert done.returncode == 0
        assert "Usage: " in done.stdout


@pytest.mark.parametrize("page", ["cli", "config"])
def test_the_generated_pages_agree_with_the_code(page):
    spec = importlib.util.spec_from_file_location(
        "reference", ROOT / "setup" / "reference.py"
    )
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    written = (ROOT / "docs" / f"{page}.md").read_text()
    assert written == getattr(reference, f"{page}_page")(), "run: make docs"


def test_a_missing_config_is_one_line(tmp_path):
    assert "expected a config at" in refusal("evolve", "--config", tmp_path / "no.yaml")


def test_an_unknown_key_is_one_line(tmp_path):
    config = write_config(tmp_path, childs=3)
    assert "childs: unknown key" in refusal("evolve", "--config", config)


def test_an_unknown_skill_is_one_line(tmp_path):
    config = write_config(tmp_path, skills=["code", "knitting"])
    line = refusal("evolve", "--config", config)
    assert "expected a skill out of agentbench-db, " in line
    assert "knitting" in line


def test_a_missing_base_is_one_line(tmp_path):
    config = write_config(tmp_path, base=str(tmp_path / "none"))
    assert "no such directory" in refusal("evolve", "--config", config)


def test_a_missing_expert_is_one_line_and_nothing_is_written(tmp_path):
    config = write_config(tmp_path)
    line = refusal("evolve", "--config", config)
    assert "expected the expert of 'code'" in line
    assert "train-experts" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        ({"base": "somebody/else"}, "it names somebody/else"),
        ({"d_out": 64}, r"has shape (64, 192) in the adapter"),
        ({"fill": float("nan")}, "NaN or inf"),
    ],
)
def test_a_foreign_or_broken_expert_is_one_line(tmp_path, expert, message):
    config = write_config(tmp_path, base="adapters/tiny-llama")
    write_expert(tmp_path / "experts" / "code", **expert)
    assert message in refusal("evolve", "--config", config)


def test_a_directory_that_is_no_adapter_is_one_line(tmp_path):
    config = write_config(tmp_path)
    (tmp_path / "experts" / "code").mkdir(parents=True)
    assert "adapter_config.json is missing" in refusal("evolve", "--config", config)


def test_a_run_in_use_is_one_line(tmp_path):
    from lora_qd.store.run_directory import RunDirectory

    config = write_config(tmp_path, base="adapters/tiny-llama")
    for skill in ("code", "shell"):
        write_expert(tmp_path / "experts" / skill)
    with RunDirectory(tmp_path / "run").lock():
        line = refusal("evolve", "--config", config)
    assert "another process is writing this run" in line


def test_a_directory_with_other_files_is_never_replaced(tmp_path):
    config = write_config(tmp_path, base="adapters/tiny-llama")
    for skill in ("code", "shell"):
        write_expert(tmp_path / "experts" / skill)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    line = refusal("evolve", "--config", config, "--overwrite")
    assert "but it holds thesis.txt" in line
    assert (tmp_path / "run" / "thesis.txt").read_text() == "precious"


def test_without_bubblewrap_the_search_refuses(tmp_path):
    config = write_config(tmp_path, base="adapters/tiny-llama")
    for skill in ("code", "shell"):
        write_expert(tmp_path / "experts" / skill)
    line = refusal("evolve", "--config", config, PATH=str(tmp_path))
    assert "bwrap is not on the PATH; install bubblewrap" in line


def test_empty_data_is_one_line(tmp_path):
    data = tmp_path / "empty.jsonl"
    data.write_text("")
    experts = [{"name": "code", "data": {"file": str(data)}}]
    config = write_config(tmp_path, base="adapters/tiny-llama", experts=experts)
    assert "expected examples in" in refusal("train-experts", "--config", config)


@pytest.mark.parametrize("verb", ["serve", "resume"])
def test_a_directory_without_a_run_is_one_line(tmp_path, verb):
    assert "there is none; start one with" in refusal(verb, tmp_path)


def test_exporting_from_no_run_is_one_line(tmp_path):
    line = refusal("export", tmp_path, "--out", tmp_path / "out")
    assert "there is none; start one with" in line
    assert not (tmp_path / "out").exists()


def test_building_the_tiny_base_over_something_is_refused(tmp_path):
    line = refusal("tiny", "build", "--out", tmp_path)
    assert "not to exist, but it does; choose another --out" in line


def test_debug_shows_the_trace(tmp_path):
    done = loraqd("--debug", "evolve", "--config", tmp_path / "none.yaml")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
