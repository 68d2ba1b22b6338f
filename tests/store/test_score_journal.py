"""Scores of samples as they come: whole lines, one writer, nothing lost."""

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from lora_qd.errors import InputError, StoreError
from lora_qd.records import Score
from lora_qd.store.score_journal import Entry, ScoreJournal


def entry(sample, value=0.5, answer="hm"):
    return Entry(
        subject="base",
        identity="b0",
        skill="code",
        skill_hash="c0",
        sample=sample,
        target="gold",
        answer=answer,
        value=value,
        reason="why",
        num_prompt_tokens=3,
        num_tokens=2,
        seconds=0.1,
    )


def test_what_is_appended_is_known_the_next_time(tmp_path):
    path = tmp_path / "new" / "samples.jsonl"
    with ScoreJournal(path) as journal:
        for n in range(3):
            journal.append(entry(f"s{n}", answer="\ud800 ü \0"))
    with ScoreJournal(path) as journal:
        known = journal.known("b0", "c0")
        assert list(known) == ["s0", "s1", "s2"]
        assert known["s1"] == Score(0.5, "why", "\ud800 ü \0", 3, 2, 0.1)
        assert journal.known("b1", "c0") == journal.known("b0", "c1") == {}


@pytest.mark.parametrize("num_bytes", [1, 20, -1])
def test_half_a_line_at_the_end_is_dropped(tmp_path, num_bytes):
    path = tmp_path / "samples.jsonl"
    with ScoreJournal(path) as journal:
        journal.append(entry("s0"))
        journal.append(entry("s1"))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:num_bytes])
    with ScoreJournal(path) as journal:
        assert list(journal.known("b0", "c0")) == ["s0"]
        journal.append(entry("s2"))
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("line", ["{", "[]", '{"subject": 1}', "\xff"])
def test_a_damaged_line_is_named_and_nothing_is_deleted(tmp_path, line):
    path = tmp_path / "samples.jsonl"
    path.write_text(f"{line}\n")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="samples.jsonl, line 1: expected a sample's"):
        ScoreJournal(path).__enter__()
    assert path.read_bytes() == before


def test_a_second_writer_is_refused(tmp_path):
    path = tmp_path / "samples.jsonl"
    with (
        ScoreJournal(path),
        pytest.raises(InputError, match="another process is writing it"),
    ):
        ScoreJournal(path).__enter__()


def test_a_killed_writer_leaves_whole_lines_and_no_lock(tmp_path):
    path = tmp_path / "samples.jsonl"
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from tests.store.test_score_journal import entry, ScoreJournal\n"
        f"with ScoreJournal(Path({str(path)!r})) as journal:\n"
        "    for n in range(10**9): journal.append(entry(str(n), answer='x' * 500))\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code])
    while not path.exists() or path.stat().st_size < 100_000:
        assert writer.poll() is None
        time.sleep(0.01)
    writer.kill()
    writer.wait()
    with ScoreJournal(path) as journal:
        known = journal.known("b0", "c0")
    assert list(known) == [str(n) for n in range(len(known))]
    assert len(known) > 100


def test_a_full_disk_is_an_error_and_leaves_whole_lines(tmp_path, monkeypatch):
    path = tmp_path / "samples.jsonl"

    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, line):
            self.file.write(line[:30])  # half of it fits
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with ScoreJournal(path) as journal:
        journal.append(entry("s0"))
        whole = path.read_bytes()
        file, journal._file = journal._file, Full(journal._file)
        with pytest.raises(StoreError, match="No space left on device; free space"):
            journal.append(entry("s1"))
        journal._file = file
        assert path.read_bytes() == whole
        journal.append(entry("s1"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["sample"] for line in lines] == ["s0", "s1"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another directory with --out"):
        ScoreJournal(tmp_path / "file" / "samples.jsonl").__enter__()


def test_a_journal_that_is_not_open_takes_nothing(tmp_path):
    with pytest.raises(ValueError, match="expected an open journal"):
        ScoreJournal(tmp_path / "samples.jsonl").append(entry("s0"))
