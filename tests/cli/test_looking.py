"""``loraqd report`` and ``loraqd watch`` on runs of every kind, good and bad."""

import contextlib
import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from lora_qd.cli.main import app
from lora_qd.errors import InputError, StoreError
from lora_qd.store.ledger import Ledger
from tests.dashboard.made_up import MadeUpRun


def loraqd(*arguments):
    """Run a verb in this process; an error of ours is raised as it is."""
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def data_of(run):
    """Return what the page of a run's report holds."""
    page = (run.directory.report / "index.html").read_text()
    return json.loads(re.search(r'id="data">(.*?)</script>', page)[1])


@pytest.mark.parametrize("skills", range(2, 9))
def test_a_report_is_one_page_of_one_to_eight_skills(tmp_path, skills):
    run = MadeUpRun(tmp_path / "run", skills, budget=20).add(25 + skills).finish()
    printed = loraqd("report", run.directory.path, "--no-pictures")
    assert f"{run.directory.report / 'index.html'}" in printed
    data = data_of(run)
    assert (data["status"], data["live"]) == ("finished", False)
    assert {f"archive-{skill}" for skill in run.skills} <= {
        figure["group"] or figure["id"] for figure in data["figures"]
    }


def test_a_page_needs_no_other_file_and_no_host(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(20)
    loraqd("report", run.directory.path, "--no-pictures")
    page = (run.directory.report / "index.html").read_text()
    assert not re.findall(
        r"""(?:src|href)\s*=\s*["'](?!#|data:,)""", page.partition("<script>")[0]
    )
    assert not re.findall(r"""@import|url\((?!["'`]?#)""", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("num", [0, 2, 20])
def test_a_run_that_is_not_finished_has_a_report(tmp_path, num):
    run = MadeUpRun(tmp_path / "run").add(num)
    loraqd("report", run.directory.path, "--no-pictures")
    assert data_of(run)["notes"]


def test_a_running_run_has_a_report(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(20)
    with run.directory.lock():
        loraqd("report", run.directory.path, "--no-pictures")
    assert data_of(run)["status"] == "running"


def test_members_of_all_charts_can_be_looked_up_offline(tmp_path):
    run = MadeUpRun(tmp_path / "run", budget=100).add(108).finish()
    loraqd("report", run.directory.path, "--no-pictures")
    data = data_of(run)
    figure = next(f for f in data["figures"] if f["id"] == "archive-code")
    assert {row[-1] for row in figure["rows"]} <= set(data["members"])


def test_a_report_replaces_the_one_before(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(20)
    loraqd("report", run.directory.path)
    assert (run.directory.report / "archive-code.png").is_file()
    assert (run.directory.report / "archive-code.svg").is_file()
    assert (run.directory.report / "archive-code.csv").is_file()
    loraqd("report", run.directory.path, "--no-pictures")
    assert [path.name for path in run.directory.report.iterdir()] == ["index.html"]


@pytest.mark.parametrize("verb", ["report", "watch"])
def test_a_missing_run_is_one_line(tmp_path, verb):
    with pytest.raises(InputError, match="there is none; start one with loraqd evolve"):
        loraqd(verb, tmp_path / "nothing")


@pytest.mark.parametrize("verb", ["report", "watch"])
def test_a_damaged_ledger_is_one_line(tmp_path, verb):
    run = MadeUpRun(tmp_path / "run").add(20)
    run.directory.ledger.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(StoreError, match=r"expected to use the ledger .* but got"):
        loraqd(verb, run.directory.path)


@pytest.mark.parametrize("verb", ["report", "watch"])
def test_a_locked_ledger_is_one_line(tmp_path, verb):
    run = MadeUpRun(tmp_path / "run").add(20)
    with contextlib.closing(sqlite3.connect(run.directory.ledger)) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="database is locked; another program"):
            loraqd(verb, run.directory.path)


def test_a_port_in_use_is_one_line(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(20)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            InputError, match=rf"port {port} .* choose another with --p"
        ):
            loraqd("watch", run.directory.path, f"--port={port}")


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_one_line(tmp_path, port):
    run = MadeUpRun(tmp_path / "run").add(20)
    with pytest.raises(InputError, match=f"from 0 to 65535, but got {port}"):
        loraqd("watch", run.directory.path, f"--port={port}")


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    run = MadeUpRun(tmp_path / "run").add(20)
    loraqd("report", run.directory.path, "--no-pictures")
    before = (run.directory.report / "index.html").read_bytes()

    def full(*_):
        raise StoreError("expected to write, but got: No space left on device; free")

    monkeypatch.setattr("lora_qd.dashboard.report.write_bytes", full)
    with pytest.raises(StoreError, match="No space left"):
        loraqd("report", run.directory.path)
    assert (run.directory.report / "index.html").read_bytes() == before
    assert not [p for p in run.directory.path.iterdir() if p.name.startswith(".report")]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_watch_serves_until_it_is_stopped_and_changes_nothing(tmp_path, stop):
    run = MadeUpRun(tmp_path / "run").add(20)
    before = run.directory.ledger.read_bytes()
    command = [
        sys.executable,
        "cli.py",
        "watch",
        str(run.directory.path),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = re.search(r"http://\S+", process.stdout.readline())[0]
            with httpx.stream("GET", f"{url}events", trust_env=False) as stream:
                lines = stream.iter_lines()
                assert any(line.startswith("data: ") for line in lines)
                process.send_signal(stop)  # while a page is open
                assert process.wait(timeout=20) == 0
        finally:
            process.kill()
        assert "Stopped. The run was only read." in process.stdout.read()
    assert run.directory.ledger.read_bytes() == before
    with Ledger(run.directory.ledger) as ledger:
        assert ledger.num_children == 20
