"""What must not be shared is found, and never shown; what may be passes."""

import json
import struct
from pathlib import Path

import pytest

from lora_qd.errors import InputError
from lora_qd.hub.secrets import Private, kinds_in, private_to, refuse_secrets

NOBODY = Private({}, ())


def joined(*parts):
    """Return a made-up secret; in pieces here, so that no scanner stumbles over it."""
    return "".join(parts)


SECRETS = {
    "a Hugging Face token": joined("hf", "_", "AbCdEfGhIjKlMnOpQrStUvWxYz"),
    "an API key": joined("sk", "-proj-", "aB3dE6gH9jK2mN5pQ8sT1vW4"),
    "a GitHub token": joined("ghp", "_", "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hI6"),
    "an AWS key": joined("AKIA", "ABCDEFGHIJKLMNOP"),
    "a bearer token": "Authorization: Bearer 0123456789abcdef0123",
    "a web token": joined("eyJ", "hbGciOiJIUzI1NiJ9", ".eyJ", "zdWIiOiIxMjM0NTY3"),
    "a private key": joined("-----BEGIN ", "OPENSSH PRIVATE KEY-----"),
    "a URL with a password": "postgresql+psycopg://me:hunter2@db.example.com/x",
    "a path of this machine": "see file:///srv/models",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_every_kind_of_secret_is_found(kind):
    assert list(kinds_in(f"before {SECRETS[kind]} after", NOBODY)) == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/meta-llama/Meta-Llama-3-8B/blob/main/LICENSE",
        "http://127.0.0.1:8000/v1/chat/completions",
        "POST /v1/chat/completions and/or GET /health",
        "runs/demo/results.json, ./runs/demo, ../data, ~/runs",
        "A = V^T, B = U C, a/b, 1/2, w ~ U[-0.1, 0.1]",
        "<p>text</p><br/></body>",
        "#!/usr/bin/env python\n#!/bin/bash\ncat /etc/hosts > /dev/null",
        "find /home/user -name '*.txt'; ls /srv",
        "def f(x): return x // 2  # a/b/c",
        "hf_hub_download(repo_id); sk-learn; ask-me-anything-about-this-long-name",
        "token: str, api_key_env: MY_KEY, Bearer of bad news, AKIA, eyJ",
        "git@github.com:owner/name.git, me@example.com, https://a@b.com/c",
        "owner/name/folder@revision, lm-eval:arc_easy, inspect:inspect_evals/gsm8k",
        r"C:\Users, s/^a/b/g, ${HOME}/x/y, {path}/usr/y, %/a/b",
        "sha256 0af5e215880a4c2feace7492ae60992329ccc2ef29f4f4cceb66e9b32ef32dc3",
    ],
)
def test_ordinary_text_passes(text):
    assert list(kinds_in(text, private_to([]))) == []


@pytest.mark.parametrize(
    "inside", ["{}", "in {}.", '"{}/x"', "a={},b", "({})", "x\n{}"]
)
def test_paths_that_the_run_knows_are_found(inside):
    private = private_to([Path("/srv/a project/run")])
    text = inside.format("/srv/a project/run")
    assert list(kinds_in(text, private)) == ["a path of this machine"]
    assert list(kinds_in(text.replace("project", "dance"), private)) == []


def test_paths_that_exist_here_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr("lora_qd.hub.secrets._TEMPORARY", NEVER)
    (tmp_path / "here").mkdir()
    assert list(kinds_in(f"in {tmp_path}/here/.", NOBODY)) == ["a path of this machine"]
    assert list(kinds_in(f"in {tmp_path}/gone", NOBODY)) == []


@pytest.mark.parametrize(
    "path", ["/home/alice/x", "/Users/bob", "/tmp/x", "/var/tmp/x"]
)
def test_homes_and_temporary_files_are_found(path):
    assert list(kinds_in(f"'{path}'", NOBODY)) == ["a path of this machine"]


def test_home_and_working_directory_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/nowhere/else")
    monkeypatch.chdir(tmp_path)
    private = private_to([])
    assert "/nowhere/else" in private.paths
    assert str(tmp_path) in private.paths


def test_a_home_at_the_root_is_no_secret(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert "/" not in private_to([]).paths


def test_values_of_secret_variables_are_found(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_KEY", "correct-horse")
    monkeypatch.setenv("A_SHORT_KEY", "true")
    private = private_to([])
    kinds = list(kinds_in("x=correct-horse; y=true", private))
    assert kinds == ["the value of MY_SERVICE_KEY"]


def test_the_hubs_own_token_is_found(monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "a-token-of-old-days")
    assert list(kinds_in("a-token-of-old-days", private_to([]))) == ["the Hub's token"]


def test_a_hit_names_file_and_kind_but_not_the_secret(tmp_path):
    secret = SECRETS["a Hugging Face token"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({"a": secret}))
    (tmp_path / "NOTICE").write_text("/home/alice/notes")
    expected = (
        r"NOTICE holds a path of this machine, run/run\.json holds a Hugging Face "
        r"token; take it out of"
    )
    with pytest.raises(InputError, match=expected) as raised:
        refuse_secrets(tmp_path, NOBODY)
    assert secret not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_many_hits_are_counted(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text("/home/alice")
    with pytest.raises(
        InputError, match="3.txt holds a path.* and 2 more; take it out"
    ):
        refuse_secrets(tmp_path, NOBODY)


def test_metadata_and_names_of_tensors_are_read(tmp_path):
    header = {"__metadata__": {"from": "/home/alice/run"}}
    save_tensors(tmp_path / "adapter_model.safetensors", header, b"")
    with pytest.raises(InputError, match="adapter_model.safetensors holds a path of"):
        refuse_secrets(tmp_path, NOBODY)


def test_weights_themselves_are_not_read(tmp_path):
    save_tensors(tmp_path / "x.safetensors", {}, SECRETS["an AWS key"].encode())
    refuse_secrets(tmp_path, NOBODY)
    assert list(kinds_in(SECRETS["an AWS key"], NOBODY))


def save_tensors(path, header, values):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + values)


def test_what_json_escapes_is_read(tmp_path):
    private = Private({}, ("/srv/Zoë",))
    (tmp_path / "a.json").write_text(json.dumps(["/srv/Zoë/run"]))
    assert "Zoë" not in (tmp_path / "a.json").read_text()
    with pytest.raises(InputError, match="a.json holds a path of this machine"):
        refuse_secrets(tmp_path, private)
    (tmp_path / "a.json").write_text(json.dumps({"text": "first\n/home/alice/x"}))
    with pytest.raises(InputError, match="a.json holds a path of this machine"):
        refuse_secrets(tmp_path, NOBODY)


class NEVER:
    """A pattern that matches nothing."""

    @staticmethod
    def search(_):
        return None
