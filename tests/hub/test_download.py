"""A pull by the real client: what is refused by name, and what goes on after a cut."""

import json

import pytest

from lora_qd.errors import InputError, LoraQDError, StoreError
from lora_qd.hub.download import download
from tests.hub.transport import ID, files, folder, push, tensors

# The client's own, when it uploads a large file.
pytestmark = [
    pytest.mark.usefixtures("logged_in"),
    pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning"),
]


def hostile(hub, change):
    """Share files that somebody has tampered with."""
    content = dict(hub.repos[ID].main)
    change(content)
    hub.repos[ID].move(content)


def put(name, data=b"x"):
    return lambda content: content.update({name: data})


def relist(**changes):
    def change(content):
        manifest = json.loads(content["loraqd.json"])
        manifest["files"][0].update(changes)
        content["loraqd.json"] = json.dumps(manifest).encode()

    return change


def rename(name):
    def change(content):
        manifest = json.loads(content["loraqd.json"])
        manifest["adapters"][name] = ""
        content["loraqd.json"] = json.dumps(manifest).encode()

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (put("adapter_model.bin"), "holds 'adapter_model.bin', which may run code"),
        (put("training.pkl"), "holds 'training.pkl'"),
        (put("handler.py"), "holds 'handler.py'"),
        (put("code/modeling.py"), "holds 'code/modeling.py'"),
        (put("extra.safetensors"), "holds 'extra.safetensors'"),
        (put("LICENSE", b"YOURS"), "LICENSE of owner/run to have the hash"),
        (put("LICENSE", b"longer now"), "LICENSE of 5 bytes in owner/run"),
        (lambda content: content.pop("LICENSE"), "LICENSE in owner/run, .* missing"),
        (relist(path="../../x.json"), "no plain relative path"),
        (relist(path="/etc/x.json"), "no plain relative path"),
        (relist(path="x.pkl"), "is none of .safetensors"),
        (relist(path="a\\b.json"), "no plain relative path"),
        (rename("../../escaped"), "is no name of a member"),
        (rename("/etc/escaped"), "is no name of a member"),
        (rename("a\\b"), "is no name of a member"),
        (rename("a\x1b[2J"), "is no name of a member"),
        (relist(size=-1), "greater than or equal to 0"),
        (relist(sha256="0"), "should match pattern"),
        (put("loraqd.json", b"{" * 5000), "expected the manifest of a loraqd run"),
        (put("loraqd.json", b"[" * 100_000), "expected the manifest of a loraqd run"),
        (put("loraqd.json", b'{"format": "new"}'), "expected the manifest"),
        (put("loraqd.json", b'{"format": 9}'), "format 1, but it has 9; update loraqd"),
    ],
)
def test_a_hostile_repository_is_refused_by_name(hub, tmp_path, change, match):
    push(folder(tmp_path / "hub"))
    hostile(hub, change)
    with pytest.raises(InputError, match=match) as error:
        download(ID)
    assert "\n" not in str(error.value)


def test_a_repository_that_was_mended_is_pulled(hub, tmp_path):
    push(folder(tmp_path / "hub"))
    hostile(hub, put("LICENSE", b"YOURS"))
    with pytest.raises(InputError, match="hash"):
        download(ID)
    hostile(hub, put("LICENSE", b"yours"))
    assert (download(ID).directory / "LICENSE").read_bytes() == b"yours"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        tensors(1)[:-1],
        tensors(1) + b"x",
        (2**62).to_bytes(8, "little") + b"{}",
        tensors(1).replace(b'"U8"', b'"XX"'),
        tensors(1).replace(b"64]", b"-4]", 1),
        b"\x80\x04" + tensors(1)[2:],
        tensors(1).replace(b"[64]", b"[1.5, 1e999]", 1),
    ],
)
def test_what_is_no_safetensors_is_refused_although_its_hash_is_right(
    hub, tmp_path, data
):
    push(folder(tmp_path / "hub", files() | {"adapter_model.safetensors": data}))
    with pytest.raises(InputError, match="it is no safetensors file"):
        download(ID)


def test_what_is_no_shared_run_says_what_it_is_good_for(hub):
    hub.add(ID, {"adapter_config.json": b"{}"})
    with pytest.raises(InputError, match="it is a plain adapter: name it as it is"):
        download(ID)
    hub.add(ID, {"model.safetensors": b""})
    with pytest.raises(InputError, match="pass a repository that loraqd push made"):
        download(ID)
    with pytest.raises(InputError, match="no such repository, or a private one"):
        download("owner/nothing")
    with pytest.raises(InputError, match="does not allow that name"):
        download("owner/a/b")


def test_a_huge_manifest_is_not_fetched(hub, tmp_path, monkeypatch):
    push(folder(tmp_path / "hub"))
    monkeypatch.setattr("lora_qd.hub.download.MOST_BYTES", 100)
    hub.seen.clear()
    with pytest.raises(InputError, match="of at most 100 bytes"):
        download(ID)
    assert hub.fetched() == set()


def test_a_pull_that_was_cut_goes_on(hub, tmp_path, impatient):
    push(folder(tmp_path / "hub"))
    name = "code/adapter_model.safetensors"
    hub.fail(f"GET .*{name}", after=1000, times=30)
    with pytest.raises(StoreError, match="repeat the pull, which goes on"):
        download(ID)
    hub.faults.clear()
    assert (download(ID).directory / name).read_bytes() == files()[name]


def test_a_revision_is_pulled(hub, tmp_path):
    push(folder(tmp_path / "one", files(1)))
    first = download(ID).commit
    push(folder(tmp_path / "two", files(7)))
    assert download(ID).commit != first
    old = download(ID, revision=first)
    assert (old.directory / "adapter_model.safetensors").read_bytes() == tensors(1)
    with pytest.raises(InputError, match="no such revision"):
        download(ID, revision="v9")


def test_without_a_network_it_is_one_line(hub, tmp_path, monkeypatch, impatient):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for attempt in (lambda: push(folder(tmp_path / "hub")), lambda: download(ID)):
        with pytest.raises(LoraQDError, match="HF_HUB_OFFLINE is set; unset it"):
            attempt()
    assert hub.seen == []
