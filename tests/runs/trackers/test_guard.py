"""Nothing that a tracker does changes a run; nothing is left unsaid."""

import os
from types import MappingProxyType

import pytest

from lora_qd.errors import InputError, MissingExtraError
from lora_qd.experts.config import TrainingConfig
from lora_qd.experts.training import Expert, ExpertRecord
from lora_qd.runs.config import parse_config
from lora_qd.runs.continuing import require_same_search
from lora_qd.runs.reproduce import repeated
from lora_qd.runs.trackers import opening, require_trackers, track_training
from lora_qd.store.run_directory import RunDirectory
from tests.runs import synthetic


class Recorder:
    """A tracker in memory that can fail where it is told to."""

    def __init__(self, run, fails_at=""):
        self.run, self.fails_at = run, fails_at
        self.logged, self.is_closed = [], False
        if fails_at == "open":
            raise OSError("no space left\nsecond line")

    def log(self, values, step):
        if self.fails_at == f"log {step}":
            raise RuntimeError("the server is gone")
        os.environ["WANDB_LEFT_BEHIND"] = "1"
        self.logged.append((step, dict(values)))

    def close(self):
        self.is_closed = True
        if self.fails_at == "close":
            raise ValueError


def install(monkeypatch, **fails_at):
    """Put recorders in the place of libraries; return those that were opened."""
    opened = {}

    def library(name, where):
        def tracker(run):
            opened[name] = Recorder(run, where)
            return opened[name]

        return opening._Library("json", "json", tracker)

    libraries = {name: library(name, where) for name, where in fails_at.items()}
    monkeypatch.setattr(opening, "_LIBRARIES", MappingProxyType(libraries))
    return opened


@pytest.mark.parametrize("where", ["open", "log 0", "log 9", "log 16", "close"])
def test_a_tracker_that_fails_changes_nothing_and_is_named_once(
    where, tmp_path, monkeypatch
):
    plain = synthetic.config(tmp_path / "plain")
    synthetic.run(plain)
    opened = install(monkeypatch, wandb=where, mlflow="")
    config = synthetic.config(tmp_path / "tracked", report_to=["wandb", "mlflow"])
    said = []
    synthetic.run(config, stage=said.append)
    (note,) = [sentence for sentence in said if "tracker" in sentence]
    assert note.startswith("Note: the tracker wandb failed")
    assert "\n" not in note
    assert synthetic.footprint(config.run) == synthetic.footprint(plain.run)
    assert [step for step, _ in opened["mlflow"].logged] == [*range(17), 16]
    assert opened["mlflow"].is_closed


def test_a_tracker_that_failed_is_closed_and_told_nothing_more(tmp_path, monkeypatch):
    opened = install(monkeypatch, wandb="log 3")
    synthetic.run(synthetic.config(tmp_path, report_to="wandb"))
    assert [step for step, _ in opened["wandb"].logged] == [0, 1, 2]
    assert opened["wandb"].is_closed


def test_the_environment_is_left_as_it_was_and_the_users_own_kept(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    install(monkeypatch, wandb="")
    before = dict(os.environ)
    synthetic.run(synthetic.config(tmp_path, report_to="wandb"))
    assert dict(os.environ) == before


def test_a_library_that_is_missing_is_named_before_anything_is_written(
    tmp_path, monkeypatch
):
    libraries = {"trackio": opening._Library("no_such_package", "x", Recorder)}
    monkeypatch.setattr(opening, "_LIBRARIES", libraries)
    config = synthetic.config(tmp_path, report_to="trackio")
    with pytest.raises(MissingExtraError, match=r"pip install 'loraqd\[trackio\]'"):
        require_trackers(config)
    with pytest.raises(MissingExtraError, match="report_to: trackio needs the extra"):
        synthetic.run(config)
    assert not RunDirectory(config.run).is_run


@pytest.mark.parametrize("given", ["none", [], None, ["none"]])
def test_nobody_is_told_by_default_or_by_none(given, tmp_path):
    assert synthetic.config(tmp_path, report_to=given).report_to == ()
    assert synthetic.config(tmp_path).report_to == ()


@pytest.mark.parametrize(
    "given", ["all", ["comet"], ["wandb", "wandb"], ["none", "wandb"], [["wandb"]]]
)
def test_unknown_names_and_duplicates_are_refused(given, tmp_path):
    raw = synthetic.config(tmp_path).model_dump(mode="json")
    with pytest.raises(InputError, match="report_to: .*tensorboard, wandb, trackio"):
        parse_config({**raw, "report_to": given}, source="a test")


def test_who_is_told_may_change_when_a_run_goes_on(tmp_path):
    config = synthetic.config(tmp_path)
    synthetic.run(config)
    other = synthetic.config(tmp_path, report_to=["mlflow"])
    require_same_search(RunDirectory(config.run), config, other)
    assert other != config


def test_a_run_that_is_reproduced_reports_to_nobody(tmp_path):
    config = synthetic.config(tmp_path, report_to="wandb")
    assert repeated(config, tmp_path / "again").report_to == ()


def test_an_expert_is_a_run_of_its_own_with_its_losses(tmp_path, monkeypatch):
    opened = install(monkeypatch, wandb="")
    config = synthetic.config(tmp_path, report_to="wandb")
    with track_training(config, "code", synthetic.nobody) as tracked:
        assert opened == {}
        tracked.step(5, 0.5)
        tracked.step(10, 0.25)
        tracked.end(expert(tmp_path, was_trained=True))
    tracker = opened["wandb"]
    assert (tracker.run.name, tracker.run.is_new) == ("code", True)
    assert tracker.run.directory == config.experts_dir / "trackers" / "wandb"
    assert tracker.is_closed
    assert tracker.logged == [
        (5, {"train/code/loss": 0.5}),
        (10, {"train/code/loss": 0.25}),
        (12, {"train/code/loss_before": 2.0, "train/code/loss_after": 0.2}),
    ]


def test_an_expert_that_is_kept_is_not_reported(tmp_path, monkeypatch):
    opened = install(monkeypatch, wandb="")
    config = synthetic.config(tmp_path, report_to="wandb")
    with track_training(config, "code", synthetic.nobody) as tracked:
        tracked.end(expert(tmp_path, was_trained=False))
    assert opened == {}


def expert(directory, *, was_trained):
    record = ExpertRecord(
        config_hash="",
        base="",
        base_hash="",
        data_hash="",
        training=TrainingConfig(),
        num_examples=10,
        num_too_long=0,
        num_steps=12,
        loss_before=2.0,
        loss_after=0.2,
        seconds=1.0,
        versions={},
    )
    return Expert(directory, record, was_trained=was_trained)
