"""``loraqd push`` and ``loraqd pull``: what they print, write, refuse and leave."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_qd.cli.main import app
from lora_qd.errors import InputError, StoreError
from lora_qd.runs.run import Run
from lora_qd.store.adapters import load_adapter
from tests.fakes.hub_repo import TOKEN
from tests.hub import shared

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")
ID = "owner/run"
BASE = ("--base-model", shared.BASE_ID)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return shared.finished(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished.directory.path, tmp_path / "home" / "run")


@pytest.fixture(autouse=True)
def logged_in(hub, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def loraqd(*arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_a_dry_run_writes_the_folder_and_uploads_nothing(hub, run):
    printed = loraqd("push", run, ID, *BASE, "--dry-run")
    assert "what is shared" in printed
    assert f"Nothing was uploaded. The card: {run / 'hub' / 'README.md'}" in printed
    assert "the base's licence was not looked up" in printed
    assert (run / "hub/loraqd.json").is_file()
    assert (run / "hub/pictures/archive-code.png").is_file()
    assert hub.repos == {}
    assert not [seen for seen in hub.seen if seen.method != "GET"]


def test_a_pushed_run_is_pulled_by_default_below_runs(hub, run, finished, tmp_path):
    printed = loraqd("push", run, ID, *BASE)
    assert f"Pushed: {hub.url}/{ID}" in printed
    assert f'AutoPeftModelForCausalLM.from_pretrained("{ID}")' in printed
    printed = loraqd("pull", ID, "--base", finished.config.base)
    assert "Wrote runs/run: 17 members, every file and score checked." in printed
    assert "loraqd resume runs/run --children +200" in printed
    assert Run.open(tmp_path / "here/runs/run").children == finished.children
    assert "nothing is wrong" in loraqd("verify", "runs/run")
    assert "nothing was changed" in loraqd("push", run, ID, *BASE)


def test_the_licence_of_the_base_is_looked_up(hub, run):
    hub.add(
        shared.BASE_ID, {"README.md": b"---\nlicense: mit\n---\n", "LICENSE": b"MIT"}
    )
    loraqd("push", run, ID, *BASE, "--dry-run")
    assert "license: mit" in (run / "hub/README.md").read_text()
    assert (run / "hub/LICENSE").read_bytes() == b"MIT"


def test_llama_3_asks_for_a_name_and_a_licence(run, tmp_path):
    llama = ("--base-model", "meta-llama/Meta-Llama-3-8B-Instruct", "--dry-run")
    with pytest.raises(InputError, match="a name that begins with Llama-3"):
        loraqd("push", run, ID, *llama)
    with pytest.raises(InputError, match="pass --licence-file"):
        loraqd("push", run, "owner/Llama-3-mine", *llama)
    text = tmp_path / "LICENSE"
    text.write_text("META LLAMA 3 COMMUNITY LICENSE AGREEMENT")
    loraqd("push", run, "owner/Llama-3-mine", *llama, "--licence-file", text)
    card = (run / "hub/README.md").read_text()
    assert "Built with Meta Llama 3" in card
    assert "license: llama3" in card
    assert (run / "hub/LICENSE").read_text() == text.read_text()
    assert "Meta Llama 3 is licensed under" in (run / "hub/NOTICE").read_text()


def test_adapters_alone_are_pulled_as_peft_directories(hub, run, finished):
    loraqd("push", run, ID, *BASE)
    hub.seen.clear()
    printed = loraqd("pull", ID, "--adapters", "mine")
    assert "Wrote mine: aggregate, balanced, code, database, shell" in printed
    assert not [name for name in hub.fetched() if name.startswith(("run/", "experts/"))]
    by_hand = loraqd("export", run, "--member", "code", "--out", "by-hand")
    assert "rank 4" in by_hand
    ours, theirs = load_adapter_of("mine/code"), load_adapter_of("by-hand")
    assert ours == theirs
    config = json.loads(Path("mine/code/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == shared.BASE_ID


def load_adapter_of(path):
    vector = load_adapter(Path(path)).task_vector
    return {m: (u.B.tobytes(), u.A.tobytes()) for m, u in vector.items()}


def test_what_cannot_be_pushed_is_one_line(run, tmp_path):
    with pytest.raises(InputError, match="pass --base-model owner/name"):
        loraqd("push", run, ID)
    with pytest.raises(InputError, match="expected owner/name for the repository"):
        loraqd("push", run, "no-owner", *BASE)
    with pytest.raises(InputError, match="expected a run in"):
        loraqd("push", tmp_path / "nothing", ID, *BASE)
    (run / "results.json").unlink()
    with pytest.raises(InputError, match="expected a finished run"):
        loraqd("push", run, ID, *BASE)


def test_a_push_that_failed_is_repeated(hub, run, monkeypatch):
    import huggingface_hub.utils._http as http

    monkeypatch.setattr(http.time, "sleep", lambda _: None)
    hub.fail("/commit/", 503)
    with pytest.raises(StoreError, match="repeat the push, which goes on"):
        loraqd("push", run, ID, *BASE)
    assert hub.repos[ID].num_commits == 0
    assert "Pushed" in loraqd("push", run, ID, *BASE)


def test_what_cannot_be_pulled_is_one_line_and_leaves_nothing(
    hub, run, finished, tmp_path
):
    loraqd("push", run, ID, *BASE)
    base = ("--base", finished.config.base)
    with pytest.raises(InputError, match="as a directory.*pass --base"):
        loraqd("pull", ID)
    with pytest.raises(InputError, match="expected --run or --adapters, but got both"):
        loraqd("pull", ID, "--run", "a", "--adapters", "b")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"other": 1}')
    with pytest.raises(InputError, match="is another one"):
        loraqd("pull", ID, "--base", other)
    with pytest.raises(InputError, match="is another one"):
        loraqd("pull", ID, "--adapters", "mine", "--base", other)
    (tmp_path / "here/taken").mkdir()
    with pytest.raises(InputError, match="choose another --run"):
        loraqd("pull", ID, "--run", "taken", *base)
    with pytest.raises(InputError, match="choose another --adapters"):
        loraqd("pull", ID, "--adapters", "taken")
    hub.repos[ID].move({**hub.repos[ID].main, "run/evil.pkl": b"x"})
    with pytest.raises(InputError, match=r"holds 'run/evil.pkl'"):
        loraqd("pull", ID, *base)
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["taken"]


def test_a_revision_is_pulled(hub, run, finished, tmp_path):
    loraqd("push", run, ID, *BASE)
    first = hub.repos[ID].commit("main")
    hub.repos[ID].move({**hub.repos[ID].main, "evil.py": b"x"})
    base = ("--base", finished.config.base)
    with pytest.raises(InputError, match="holds 'evil.py'"):
        loraqd("pull", ID, *base)
    loraqd("pull", f"{ID}@{first}", *base, "--run", "old")
    assert Run.open(tmp_path / "here/old").results == finished.results
