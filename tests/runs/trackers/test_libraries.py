"""The four libraries as they are, offline, on a synthetic run."""

import os
import socket
import time

import pytest

from lora_qd.runs.results import load_results
from lora_qd.runs.trackers import track_training
from lora_qd.runs.trackers.reporting import result_values
from lora_qd.store.run_directory import RunDirectory
from tests.runs import synthetic
from tests.runs.trackers.readers import (
    mlflow_client,
    mlflow_runs,
    of_ledger,
    read,
    read_tensorboard,
    read_trackio,
)

LIBRARIES = ("tensorboard", "wandb", "trackio", "mlflow")
SPEEDS = {"children_per_minute", "tokens_per_second", "busy_share"}
pytestmark = [
    # The libraries' own, none of which a run shows.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class StoppedError(Exception):
    pass


@pytest.fixture(autouse=True)
def nobody_outside(monkeypatch):
    """Let nothing in this process reach further than this machine, or try to."""
    tried = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            tried.append(address)
            raise OSError(f"somebody connects to {address}")
        return connect(self, address)

    def resolved(host, *rest, **options):
        if host not in (None, "localhost", "127.0.0.1", "::1"):
            tried.append(host)
            raise OSError(f"somebody looks for {host}")
        return resolve(host, *rest, **options)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    # A token must tempt nobody to ask whose it is.
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name in list(os.environ):
        if name.startswith(("WANDB_", "TRACKIO_", "MLFLOW_")):
            monkeypatch.delenv(name)
    yield
    assert tried == []


@pytest.fixture
def said():
    return []


def stop_after(num):
    def progress(shown):
        if shown.num_done == num:
            raise StoppedError

    return progress


def notes(said):
    return [sentence for sentence in said if "tracker" in sentence]


def check_equal(found, expected):
    """Compare to single precision, which is what TensorBoard keeps."""
    assert set(expected) <= set(found)
    for name, by_step in expected.items():
        assert found[name] == pytest.approx(by_step, rel=1e-6), name


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_logged_is_what_the_ledger_has(library, tmp_path, monkeypatch, said):
    config = synthetic.config(tmp_path, report_to=library, engine__price_per_hour=2)
    synthetic.run(config, stage=said.append)
    assert notes(said) == []
    directory = RunDirectory(config.run)
    found = read(library, directory.trackers, monkeypatch)
    check_equal(found, of_ledger(config))
    last = max(found["score/mean"])
    results = result_values(load_results(directory.results))
    check_equal(found, {name: {last: v} for name, v in results.items()})
    rest = {name for name in found if name.startswith(("search/", "cost/"))}
    assert rest == {
        "cost/money",
        *(f"search/{n}" for n in {"coverage", "qd_score", "best_mean"} | SPEEDS),
    }


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_run_that_goes_on_has_every_step_exactly_once(
    library, tmp_path, monkeypatch, said
):
    config = synthetic.config(tmp_path, report_to=[library])
    for num in (3, 9):
        with pytest.raises(StoppedError):
            synthetic.run(config, progress=stop_after(num), stage=said.append)
    synthetic.run(config, stage=said.append)
    assert notes(said) == []
    found = read(library, config.run / "trackers", monkeypatch)
    assert sorted(found["search/busy_share"]) == list(range(17))
    check_equal(found, of_ledger(config))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_tracker_that_joins_later_is_told_of_earlier_children(
    library, tmp_path, monkeypatch, said
):
    config = synthetic.config(tmp_path)
    with pytest.raises(StoppedError):
        synthetic.run(config, progress=stop_after(7))
    config = synthetic.config(tmp_path, report_to=[library])
    synthetic.run(config, stage=said.append)
    assert notes(said) == []
    found = read(library, config.run / "trackers", monkeypatch)
    check_equal(found, of_ledger(config))
    assert sorted(found["search/best_mean"]) == list(range(17))
    assert sorted(found["search/busy_share"]) == list(range(7, 17))


def test_all_together_leave_ledger_and_environment_as_they_would_be(tmp_path, said):
    plain = synthetic.config(tmp_path / "plain")
    synthetic.run(plain)
    before = dict(os.environ)
    tracked = synthetic.config(tmp_path / "tracked", report_to=list(LIBRARIES))
    synthetic.run(tracked, stage=said.append)
    assert notes(said) == []
    assert dict(os.environ) == before
    assert synthetic.footprint(tracked.run) == synthetic.footprint(plain.run)
    kept = sorted(p.name for p in (tracked.run / "trackers").iterdir() if p.is_dir())
    assert kept == sorted(LIBRARIES)


def test_a_new_run_in_the_place_of_another_is_another_to_the_trackers(tmp_path, said):
    # MLflow remembers directories that it made, as long as its process lives.
    libraries = [each for each in LIBRARIES if each != "mlflow"]
    config = synthetic.config(tmp_path, report_to=libraries)
    directory = RunDirectory(config.run)
    synthetic.run(config)
    first = {p.name: p.read_text() for p in directory.trackers.glob("*.id")}
    directory.clear()
    assert not directory.trackers.exists()
    synthetic.run(config, stage=said.append)
    second = {p.name: p.read_text() for p in directory.trackers.glob("*.id")}
    assert notes(said) == []
    assert len(first) == len(second) == 3
    assert not set(first.values()) & set(second.values())


def test_mlflow_has_the_config_once_and_names_that_it_allows(tmp_path, monkeypatch):
    config = synthetic.config(
        tmp_path, report_to="mlflow", retention=["humaneval+", "lm-eval:arc"]
    )
    synthetic.run(config)
    client = mlflow_client(config.run / "trackers", monkeypatch)
    (run,) = mlflow_runs(client)
    assert run.info.run_name == "run"
    assert run.data.params["search.children"] == "12"
    assert "test/base/humaneval_" in run.data.metrics
    assert "test/base/lm-eval:arc" in run.data.metrics


def test_wandb_and_trackio_are_told_the_config(tmp_path):
    config = synthetic.config(tmp_path, report_to=["wandb", "trackio"])
    synthetic.run(config)
    trackers = config.run / "trackers"
    (file,) = trackers.glob("wandb/wandb/offline-run-*/*.wandb")
    assert b"search.children" in file.read_bytes()
    assert b"search.children" in (trackers / "trackio/loraqd.db").read_bytes()


def test_the_users_own_names_and_stores_come_first(tmp_path, monkeypatch, said):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "own").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "own-wandb"))
    (tmp_path / "own-wandb").mkdir()
    config = synthetic.config(tmp_path, report_to=["mlflow", "wandb"])
    synthetic.run(config, stage=said.append)
    assert notes(said) == []
    assert list((tmp_path / "own").glob("*/*/metrics"))
    assert "mine" in "".join(p.read_text() for p in tmp_path.glob("own/*/meta.yaml"))
    (file,) = tmp_path.glob("own-wandb/wandb/offline-run-*/*.wandb")
    assert b"mine" in file.read_bytes()


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_expert_is_a_run_of_its_own(library, tmp_path, monkeypatch, said):
    config = synthetic.config(tmp_path, report_to=library)
    for skill in ("code", "shell"):
        with track_training(config, skill, said.append) as tracked:
            for step in (5, 10):
                tracked.step(step, 1 / step)
    assert said == []
    trackers = config.experts_dir / "trackers"
    if library == "mlflow":
        runs = mlflow_runs(mlflow_client(trackers, monkeypatch))
        names = sorted(run.info.run_name for run in runs)
        losses = [run.data.metrics for run in runs]
        assert all(list(each.values()) == [0.1] for each in losses)
        assert names == ["code", "shell"]
        return
    read_one = {"tensorboard": read_tensorboard, "trackio": read_trackio}.get(library)
    expected = {f"train/{s}/loss": {5: 0.2, 10: 0.1} for s in ("code", "shell")}

    def found():
        if read_one:
            return read_one(trackers, "code") | read_one(trackers, "shell")
        return read(library, trackers, monkeypatch)

    # W&B's process may still be writing the last lines when its run has ended.
    deadline = time.monotonic() + 20
    while not set(expected) <= set(found()) and time.monotonic() < deadline:
        time.sleep(0.1)
    check_equal(found(), expected)


def test_a_server_that_is_not_there_is_named_once_and_the_run_goes_on(
    tmp_path, monkeypatch, said
):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    config = synthetic.config(tmp_path, report_to="mlflow")
    synthetic.run(config, stage=said.append)
    (note,) = notes(said)
    assert "the tracker mlflow failed" in note
    assert RunDirectory(config.run).results.is_file()
