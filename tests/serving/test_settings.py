"""How a run's server is started: what it is told, and what it must not inherit."""

import os

import pytest

from lora_qd.runs.run import Run
from lora_qd.serving.server import Access, export_named, serve_settings
from tests.runs import synthetic


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = synthetic.config(tmp_path_factory.mktemp("runs"), search__children=12)
    synthetic.run(config)
    return Run.open(config.run)


def variables(run, path, access):
    settings = serve_settings(run, path, access)
    return os.environ | settings.environment(is_cpu=True)


@pytest.mark.parametrize("access", [Access(), Access(8000)])
def test_a_key_of_the_shell_is_not_asked_for(run, tmp_path, monkeypatch, access):
    monkeypatch.setenv("VLLM_API_KEY", "somebody's")
    assert variables(run, tmp_path, access)["VLLM_API_KEY"] == ""


def test_answers_in_the_background_are_off(run, tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_ENABLE_RESPONSES_API_STORE", "1")
    given = variables(run, tmp_path, Access(8000))
    assert given["VLLM_ENABLE_RESPONSES_API_STORE"] == "0"


def test_a_list_of_plugins_is_kept_and_has_ours(run, tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_PLUGINS", "one,two")
    assert variables(run, tmp_path, Access())["VLLM_PLUGINS"] == "one,two,loraqd"


def test_named_members_are_written_anew_as_a_whole(run):
    folder = run.directory.path / "adapters"
    first = export_named(run)
    (folder / "code" / "adapter_config.json").unlink()
    (folder / "stranger").mkdir()
    assert export_named(run) == first
    assert {p.name for p in folder.iterdir()} == set(run.results.members)
    for path in first.lora_modules.values():
        assert {p.name for p in path.iterdir()} == {
            "adapter_config.json",
            "adapter_model.safetensors",
        }
    assert [p for p in run.directory.path.iterdir() if p.name.startswith(".ad")] == []


def test_the_plain_command_says_what_a_member_needs(run):
    command = export_named(run).plain_command()
    assert command[:4] == ["vllm", "serve", run.config.base, "--enable-lora"]
    assert "--dtype=bfloat16" in command
    assert f"--max-lora-rank={8}" in command  # of 4, padded to the next that vLLM has
    targets = command.index("--lora-target-modules")
    modules = command.index("--lora-modules")
    assert command[targets + 1 : modules] == ["q_proj", "v_proj"]
    assert f"code={run.directory.path / 'adapters' / 'code'}" in command
