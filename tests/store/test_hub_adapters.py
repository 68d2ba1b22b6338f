"""Hub ids: the real client against a stub of the Hub, which never leaves 127.0.0.1."""

import huggingface_hub.constants
import numpy as np
import pytest

from lora_qd.errors import InputError, StoreError
from lora_qd.store.adapters import load_adapter
from lora_qd.store.hub_adapters import fetch_adapter
from tests.fakes.hub_server import TOKEN
from tests.store.peft_files import (
    CONFIG_NAME,
    MODULE,
    WEIGHTS_NAME,
    dense,
    factors,
    peft_directory,
    shard,
)

ID = "owner/name"


@pytest.fixture
def files(tmp_path):
    """The files of an adapter, and what a repo holds beside it."""
    return content(peft_directory(tmp_path / "made")) | {
        "README.md": b"# an adapter",
        "adapter_model.bin": b"a pickle",
        "optimizer.pt": b"another",
        "training.py": b"raise SystemExit",
        "model.safetensors": b"not the adapter",
    }


def content(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def refusal(reference, kind=InputError, **options):
    with pytest.raises(kind, match="expected .* but .*;") as error:
        fetch_adapter(reference, **options)
    assert "\n" not in str(error.value)
    assert TOKEN not in str(error.value)
    return str(error.value)


def test_only_the_config_and_the_weights_are_fetched(hub, files, tmp_path):
    hub.add(ID, files)
    path = fetch_adapter(ID)
    assert hub.fetched() == {CONFIG_NAME, WEIGHTS_NAME}
    assert {file.name for file in path.iterdir()} == hub.fetched()
    expected = load_adapter(tmp_path / "made").task_vector[MODULE]
    read = load_adapter(path).task_vector[MODULE]
    np.testing.assert_array_equal(dense(read), dense(expected))


def test_shards_are_fetched_with_their_index(hub, tmp_path):
    hub.add(ID, content(shard(peft_directory(tmp_path / "made"))))
    assert list(load_adapter(fetch_adapter(ID)).task_vector) == [MODULE]


def test_an_adapter_is_fetched_once(hub, files):
    hub.add(ID, files)
    first = fetch_adapter(ID)
    hub.seen.clear()
    assert fetch_adapter(ID) == first
    assert hub.fetched() == set()


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub, files, tmp_path):
    repo = hub.add(ID, files)
    other = peft_directory(tmp_path / "v1", tensors=factors(seed=1))
    repo.revisions["v1"] = content(other)
    repo.revisions["refs/pr/1"] = content(other) | {"x": b""}
    expected = (other / WEIGHTS_NAME).read_bytes()
    for revision in ("v1", "refs/pr/1", repo.commit("v1")):
        named = fetch_adapter(f"{ID}@{revision}")
        assert (named / WEIGHTS_NAME).read_bytes() == expected
        assert fetch_adapter(ID, revision=revision) == named
        assert fetch_adapter(f"{ID}@{revision}", revision=revision) == named
    assert (fetch_adapter(ID) / WEIGHTS_NAME).read_bytes() == files[WEIGHTS_NAME]


def test_a_folder_of_a_repo_is_fetched_alone(hub, files):
    below = {f"runs/[1] best/{name}": c for name, c in files.items()}
    hub.add(ID, {"README.md": b""} | files | below)
    path = fetch_adapter(f"{ID}/runs/[1] best")
    assert load_adapter(path).rank == 4
    assert hub.fetched() == {
        f"runs/[1] best/{name}" for name in (CONFIG_NAME, WEIGHTS_NAME)
    }
    assert fetch_adapter(f"{ID}/runs/[1] best/@main") == path


def test_a_local_directory_wins(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    local = tmp_path / "owner" / "name"
    local.parent.mkdir()
    peft_directory(local)
    assert fetch_adapter(ID).resolve() == local
    assert hub.seen == []


def test_a_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").mkdir()
    assert fetch_adapter("~/a") == tmp_path / "a"


def test_what_was_fetched_is_found_without_a_network(hub, files, monkeypatch):
    hub.add(ID, files)
    path = fetch_adapter(ID)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fetch_adapter(ID) == path
    assert "HF_HUB_OFFLINE is set and it was not fetched before; unset it" in refusal(
        f"{ID}@v1", StoreError
    )


def test_what_was_fetched_in_part_is_not_found_without_a_network(
    hub, files, monkeypatch
):
    hub.add(ID, files)
    (fetch_adapter(ID) / WEIGHTS_NAME).unlink()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "was not fetched before" in refusal(ID, StoreError)


def test_a_hub_that_is_down_is_one_line(hub, files):
    hub.add(ID, files)
    hub.failure = 503
    assert "the Hub does not answer" in refusal(ID, StoreError)
    hub.failure = None
    path = fetch_adapter(ID)
    hub.failure = 503
    assert fetch_adapter(ID) == path


def test_a_network_that_is_down_is_one_line(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    message = refusal(ID, StoreError)
    assert "does not answer and it was not fetched before; check the network" in message


def test_a_disk_that_refuses_is_one_line(hub, files, tmp_path):
    hub.add(ID, files)
    (tmp_path / "hub-cache").write_text("a file where the cache should be")
    message = refusal(ID, StoreError)
    assert "but got: " in message
    assert "free space or change permissions" in message


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_repo_that_is_not_there_is_one_line(hub, monkeypatch, token):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    message = refusal("owner/typo")
    assert "no such directory here, and on the Hub no such repo" in message


def test_a_private_repo_needs_a_login(hub, files, monkeypatch):
    hub.add(ID, files, is_private=True)
    assert "or a private one; check the name, or log in with: hf auth" in refusal(ID)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert load_adapter(fetch_adapter(ID)).rank == 4


def test_a_gated_repo_is_named_as_such(hub, files, monkeypatch):
    hub.add(ID, files, is_gated=True)
    assert "but it is gated; ask for access on its page" in refusal(ID)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert load_adapter(fetch_adapter(ID)).rank == 4


@pytest.mark.parametrize("status", [403, 418])
def test_any_other_refusal_is_one_line(hub, status):
    hub.failure = status
    assert str(status) in refusal(ID)


def test_a_revision_that_is_not_there_is_named(hub, files):
    hub.add(ID, files)
    commit = "0123456789abcdef0123456789abcdef01234567"
    for message in (refusal(f"{ID}@v9"), refusal(ID, revision=commit)):
        assert "but it has no such revision; pass a branch, tag or commit" in message
    assert f"{ID}@v9" in refusal(f"{ID}@v9")


def test_a_repo_without_an_adapter_says_where_there_are_some(hub, files):
    hub.add(ID, {"config.json": b"{}", "model.safetensors": b""})
    assert "no adapter_config.json; pass the repo of a PEFT" in refusal(ID)
    hub.add("o/many", {f"{d}/{CONFIG_NAME}": b"{}" for d in ("code", "shell")})
    assert "pass one of its adapters: o/many/code, o/many/shell" in refusal("o/many")
    hub.add("o/top", files)
    assert "pass one of its adapters: o/top" in refusal("o/top/none")
    assert hub.fetched() == set()


def test_pickled_weights_are_never_fetched(hub, files):
    del files[WEIGHTS_NAME]
    hub.add(ID, files)
    assert "it has only the pickle adapter_model.bin; ask its" in refusal(ID)
    hub.add("o/config", {CONFIG_NAME: files[CONFIG_NAME]})
    assert "it has only a config" in refusal("o/config")
    assert hub.fetched() == set()


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "name",
        "./owner/name",
        "/owner/name",
        "~/x/y",
        "~nobody/x",
        "n" * 999,
        "a\0b",
        "a b/c",
        "a/b@",
        "a/b@x y",
    ],
)
def test_a_malformed_reference_is_refused(hub, reference):
    assert "which is neither; pass a directory that exists or" in refusal(reference)
    assert hub.seen == []


@pytest.mark.parametrize("reference", ["a--b/c", "a/b.git", "a/-b", "a/" + 99 * "b"])
def test_an_id_that_the_hub_does_not_allow_is_refused(hub, reference):
    assert "the Hub does not allow that name" in refusal(reference)
    assert hub.seen == []


@pytest.mark.parametrize("folder", ["../x", "a/../b", "a//b", "."])
def test_a_folder_that_leaves_the_repo_is_refused(hub, folder):
    assert "expected a folder of owner/name" in refusal(f"{ID}/{folder}")
    assert hub.seen == []


def test_contradictions_are_refused(hub, tmp_path):
    assert "but got 'v1' and 'v2'" in refusal(f"{ID}@v1", revision="v2")
    assert "no revision for a local adapter" in refusal(str(tmp_path), revision="v1")
    (tmp_path / "file").write_text("")
    assert "is a file; pass the directory" in refusal(str(tmp_path / "file"))


def test_nothing_about_this_machine_is_told(hub, files, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", False)
    hub.add(ID, files)
    fetch_adapter(ID)
    agents = {request.headers.get("user-agent", "") for request in hub.seen}
    assert not any("torch" in agent or "agent/" in agent for agent in agents)
    assert huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY is False


def test_an_interrupted_download_is_resumed(hub, files, tmp_path):
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get

    hub.add(ID, files)
    whole = files[WEIGHTS_NAME]
    part = tmp_path / "part"
    part.write_bytes(whole[:10])
    with part.open("ab") as stream:
        http_get(
            hf_hub_url(ID, WEIGHTS_NAME),
            stream,
            resume_size=10,
            expected_size=len(whole),
        )
    assert part.read_bytes() == whole
