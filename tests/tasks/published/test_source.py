"""Where published samples come from, and how they are dealt out to the splits."""

import gzip
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lora_qd.errors import InputError
from lora_qd.records import Sample, Split
from lora_qd.tasks.published import PublishedSamples, Shares, SourceSettings
from lora_qd.tasks.published.samples import split_by
from lora_qd.tasks.published.source import read_source
from lora_qd.tasks.task import sample_id

ROWS = [{"n": 1}, {"n": 2, "text": "Zoë"}]
LINES = "\n".join(json.dumps(row) for row in ROWS) + "\n\n"


def read(*paths, **more):
    return read_source(SourceSettings(path=tuple(map(str, paths)), **more))


def fields(source):
    return [row.fields for row in source.rows]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", LINES.encode()),
        ("a.jsonl.gz", gzip.compress(LINES.encode())),
        ("a.json", json.dumps(ROWS, indent=1).encode()),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode())),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    source = read(path)
    assert fields(source) == ROWS
    assert source.sha256 == hashlib.sha256(data).hexdigest()
    assert read(path, sha256=source.sha256).sha256 == source.sha256


def test_several_files_are_read_in_the_order_given_and_patterns_by_name(tmp_path):
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"from": name}]))
    both = read(tmp_path / "c.json", tmp_path / "a.json")
    assert fields(both) == [{"from": "c"}, {"from": "a"}]
    every = read(tmp_path / "*.json")
    assert [row["from"] for row in fields(every)] == ["a", "b", "c"]
    assert both.sha256 != every.sha256


def test_one_object_is_one_row(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"n": 1}')
    assert fields(read(path)) == [{"n": 1}]


def test_a_directory_like_a_data_set_of_the_hub_is_read(tmp_path):
    (tmp_path / "test.jsonl").write_text(LINES)
    source = read_source(SourceSettings(hub=str(tmp_path)))
    assert [row.fields["n"] for row in source.rows] == [1, 2]
    assert source.rows[1].where == f"{tmp_path}, row 1"
    again = read_source(SourceSettings(hub=str(tmp_path), sha256=source.sha256))
    assert again.sha256 == source.sha256
    with pytest.raises(InputError, match="with sha256 0000.*, but it has"):
        read_source(SourceSettings(hub=str(tmp_path), sha256="0" * 64))


def test_a_data_set_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match="expected the data set .*split 'test', but"):
        read_source(SourceSettings(hub=str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.jsonl",
            b'{"n": 1}\n{"n": \n',
            r"a.jsonl, line 2: expected one JSON object",
        ),
        ("a.jsonl", b"[1]\n", r"line 1: expected one JSON object, but got list"),
        ("a.json", b'[{"n": 1}, 3]', r"entry 2: expected one JSON object, but got int"),
        ("a.json", b"[\n{]", r"a.json: expected JSON, but got: .* at line 2, column 2"),
        ("a.jsonl", b"\xff\xfe", r"in UTF-8 at .*a.jsonl, but got"),
        ("a.jsonl.gz", b"no gzip", r"at .*a.jsonl.gz, but got: .*; fetch the file"),
        ("a.jsonl.gz", gzip.compress(LINES.encode())[:-9], r"a.jsonl.gz, but got"),
        ("a.jsonl", b"\n", r"expected samples in .*a.jsonl, but there are none"),
        ("a.json", b"[" * 100_000, r"a.json: expected JSON, but it is nested too"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_the_place(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read(path)


@pytest.mark.parametrize("name", ["none.jsonl", "*.none", "."])
def test_a_path_that_leads_nowhere_is_an_error(tmp_path, name):
    with pytest.raises(InputError, match=r"; check the path in the config"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "name either path"),
        ({"path": "a", "hub": "b/c"}, "name either path"),
        ({"path": "a", "sha256": "xyz"}, "sha256"),
        ({"path": "a", "shares": {"search": 0.9, "test": 0.9}}, "more than 1"),
        ({"path": "a", "shares": {"search": -1}}, "greater than or equal to 0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        SourceSettings.model_validate(settings)


@given(
    st.text(min_size=1),
    st.floats(0, 0.4, allow_nan=False),
    st.floats(0, 0.3, allow_nan=False),
)
def test_a_sample_stays_in_test_whatever_the_other_shares(text, search, validation):
    name = sample_id("skill", text)
    shares = Shares(search=search, validation=validation, test=0.3)
    is_test = split_by(name, shares) is Split.TEST
    assert is_test == (
        split_by(name, Shares(search=0.7, validation=0, test=0.3)) is Split.TEST
    )


def test_the_shares_are_kept():
    samples = {
        f"row {n}": Sample(sample_id("skill", str(n)), "q", "a", {})
        for n in range(4000)
    }
    published = PublishedSamples(samples, Shares(search=0.5, validation=0.2, test=0.1))
    counts = {split: len(published.samples(split)) for split in Split}
    assert sum(counts.values()) == 4000
    shares = {
        Split.SEARCH: 0.5,
        Split.VALIDATION: 0.2,
        Split.TEST: 0.1,
        Split.TRAIN: 0.2,
    }
    assert all(abs(counts[s] / 4000 - share) < 0.03 for s, share in shares.items())
