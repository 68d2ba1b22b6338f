"""What vLLM's processes find of us: nothing, unless a run is named."""

import asyncio
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from lora_qd.errors import InputError, StoreError
from lora_qd.runs.run import Run
from lora_qd.serving import plugin
from lora_qd.store.adapters import load_adapter
from tests.runs import synthetic


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = synthetic.config(tmp_path_factory.mktemp("runs"), search__children=12)
    synthetic.run(config)
    return Run.open(config.run)


@pytest.fixture
def shelf(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LORAQD_SERVE_RUN", str(run.directory.path))
    monkeypatch.setenv("LORAQD_ADAPTERS", str(tmp_path))
    plugin._open.cache_clear()
    yield plugin.shelf()
    plugin._open.cache_clear()


def test_vllm_finds_the_plugin():
    (found,) = entry_points(group="vllm.general_plugins", name="loraqd")
    assert found.load() is plugin.register


def test_without_a_run_it_does_and_imports_nothing():
    code = (
        "import sys, os\n"
        "os.environ.pop('LORAQD_SERVE_RUN', None)\n"
        "from lora_qd.serving.plugin import register\n"
        "register()\n"
        "print([m for m in ('numpy', 'torch', 'vllm', 'httpx') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_guard_without_a_run_says_what_is_missing(monkeypatch):
    monkeypatch.delenv("LORAQD_SERVE_RUN", raising=False)
    plugin._open.cache_clear()
    with pytest.raises(InputError, match="expected LORAQD_SERVE_RUN to name a run"):
        plugin.shelf()


def test_a_run_that_is_not_there_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("LORAQD_SERVE_RUN", str(tmp_path / "none"))
    plugin._open.cache_clear()
    with pytest.raises(InputError, match="expected a run in .*none, but there is none"):
        plugin.shelf()


def test_whoever_is_asked_for_is_what_export_writes(run, shelf, tmp_path):
    cell = run.archives["code"].elites[0]
    names = ("balanced", "expert-code", f"code[{cell.index[0]},{cell.index[1]}]")
    for number, name in enumerate((*names, run.children[-1].member)):
        out = tmp_path / f"out-{number}"
        run.export(name, out)
        here, there = (
            load_adapter(path).task_vector for path in (shelf.find(name), out)
        )
        assert {m: (u.A.tobytes(), u.B.tobytes()) for m, u in here.items()} == {
            m: (u.A.tobytes(), u.B.tobytes()) for m, u in there.items()
        }


def test_a_name_is_never_part_of_a_path(run, shelf, tmp_path):
    path = shelf.find("balanced")
    assert path.parent.parent == tmp_path
    assert "balanced" not in str(path)
    before = {*tmp_path.rglob("*")}
    for name in ("../../etc", "../balanced", "/etc/passwd", "code[../0,0]", "\0", ""):
        with pytest.raises((InputError, StoreError), match="expected a member of"):
            shelf.find(name)
    assert {*tmp_path.rglob("*")} == before


def test_vllm_asks_for_members_by_their_names(run, shelf):
    resolver = pytest.importorskip("vllm.lora.resolver")
    plugin.register()
    registry = resolver.LoRAResolverRegistry
    ours = registry.get_resolver("loraqd")
    try:
        found = asyncio.run(ours.resolve_lora("the base", "code"))
        assert found.lora_name == "code"
        assert found.lora_path == str(shelf.find("code"))
        assert asyncio.run(ours.resolve_lora("the base", "nobody")) is None
    finally:
        registry.resolvers.pop("loraqd")
