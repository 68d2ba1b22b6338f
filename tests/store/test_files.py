"""Whole files or none, one writer per run."""

import os
import subprocess
import sys

import pytest

from lora_qd.errors import InputError, StoreError
from lora_qd.store.files import new_directory, write_bytes
from lora_qd.store.run_directory import RunDirectory


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError, match="bytes-like"):
        write_bytes(path, "text")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    run = RunDirectory(tmp_path)
    run.members.mkdir()
    kept = [run.config, run.genome("a"), tmp_path / ".hidden"]
    for path in kept:
        path.write_bytes(b"x")
    for directory in (tmp_path, run.members):
        (directory / ".file.123.tmp").write_bytes(b"half")
    run.remove_leftovers()
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert files == set(kept)


def test_a_file_where_a_directory_is_needed_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="expected to write .*Not a directory"):
        write_bytes(tmp_path / "file" / "below", b"x")


def write_half(path):
    with new_directory(path) as beside:
        (beside / "first").write_text("x")
        assert not path.exists()
        raise RuntimeError("half way")


def test_a_directory_appears_only_when_it_is_whole(tmp_path):
    with pytest.raises(RuntimeError, match="half way"):
        write_half(tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def test_a_new_directory_replaces_an_old_one_only_if_told(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").write_text("x")
    with (
        pytest.raises(StoreError, match="not to exist"),
        new_directory(tmp_path / "d"),
    ):
        pass
    with new_directory(tmp_path / "d", replace=True) as d:
        (d / "new").write_text("y")
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["new"]


def test_a_second_writer_is_refused(tmp_path):
    with (
        RunDirectory(tmp_path / "run").lock(),
        pytest.raises(InputError, match="to be free, but another process"),
        RunDirectory(tmp_path / "run").lock(),
    ):
        pass


def test_a_killed_writer_leaves_no_lock(tmp_path):
    code = (
        "import os, sys, pathlib\n"
        "from lora_qd.store.run_directory import RunDirectory\n"
        "RunDirectory(pathlib.Path(sys.argv[1])).lock().__enter__()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    with RunDirectory(tmp_path).lock():
        assert os.path.exists(tmp_path / "lock")


def test_a_lock_that_is_let_go_in_a_moment_is_waited_for(tmp_path):
    """As after a kill while a process was being started, which shares the lock."""
    code = (
        "import os, sys, time, pathlib\n"
        "from lora_qd.store.run_directory import RunDirectory\n"
        "RunDirectory(pathlib.Path(sys.argv[1])).lock().__enter__()\n"
        "if os.fork(): os.kill(os.getpid(), 9)\n"
        "time.sleep(0.4)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    with RunDirectory(tmp_path).lock() as lock:
        assert lock is not None


def test_a_directory_that_is_no_run_is_not_cleared(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"but it holds thesis\.txt"):
        RunDirectory(tmp_path).clear()
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_clearing_a_run_leaves_an_empty_directory(tmp_path):
    run = RunDirectory(tmp_path)
    run.members.mkdir()
    run.genome("a").write_bytes(b"x")
    run.ledger.write_bytes(b"x")
    run.clear()
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_run_says_how_to_go_on(tmp_path):
    run = RunDirectory(tmp_path)
    with pytest.raises(InputError, match="there is none; start one"):
        run.require_finished()
    run.ledger.write_bytes(b"x")
    with pytest.raises(InputError, match="no results yet.*loraqd resume"):
        run.require_finished()
