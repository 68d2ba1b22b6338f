"""Upload and download by the real client, against a hub that fails in every way."""

import json

import pytest

from lora_qd.errors import InputError, LoraQDError, StoreError
from lora_qd.hub.download import download
from lora_qd.hub.manifest import Manifest, SharedBase, listed
from lora_qd.hub.upload import upload
from tests.fakes.hub_repo import TOKEN

# The client's own, when it uploads a large file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")
ID = "owner/run"
RUN_ID = "1" * 64
STEPS = (
    "GET /api/models/owner/run",
    "POST /api/repos/create",
    "POST /api/models/owner/run/preupload",
    "POST /owner/run.git/info/lfs",
    "PUT /lfs/",
    "POST /lfs-verify",
    "POST /api/validate-yaml",
    "POST /api/models/owner/run/commit",
)


@pytest.fixture(autouse=True)
def logged_in(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def impatient(monkeypatch):
    """Let the client retry, as it does on the fifth second, at once."""
    import huggingface_hub.utils._http as http

    monkeypatch.setattr(http.time, "sleep", lambda _: None)


def tensors(value, num=64):
    """Return a safetensors file of ``num`` bytes."""
    entry = {"dtype": "U8", "shape": [num], "data_offsets": [0, num]}
    header = json.dumps({"x": entry}).encode()
    return len(header).to_bytes(8, "little") + header + bytes([value]) * num


def files(seed=1):
    return {
        "adapter_config.json": b'{"peft_type": "LORA"}',
        "adapter_model.safetensors": tensors(seed),
        "code/adapter_config.json": b"{}",
        "code/adapter_model.safetensors": tensors(seed + 1, 3000),
        "run/run.json": b"{}",
        f"run/genomes/{seed}.safetensors": tensors(seed + 2, 500),
        "LICENSE": b"yours",
    }


def folder(path, content=None, run_id=RUN_ID):
    """Write a folder as it is shared, and return it."""
    for name, data in (content or files()).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    (path / "README.md").write_text("---\nbase_model: a/base\n---\n# A card\n")
    manifest = Manifest(
        run_id=run_id,
        base=SharedBase(model="a/base", hash="hub:1", quantization="none"),
        adapters={"aggregate": "", "code": "code"},
        files=listed(path),
    )
    manifest.save(path)
    return path


def push(path, **options):
    said = []
    done = upload(path, ID, say=lambda *words: said.append(words), **options)
    return done, said


def content_of(path):
    paths = [each for each in path.rglob("*") if each.is_file()]
    return {each.relative_to(path).as_posix(): each.read_bytes() for each in paths}


def without_attributes(repo):
    return {name: c for name, c in repo.main.items() if name != ".gitattributes"}


def test_what_is_pushed_is_what_is_pulled(hub, tmp_path):
    path = folder(tmp_path / "hub")
    done, said = push(path)
    assert done.is_new
    assert done.url == f"{hub.url}/{ID}"
    assert without_attributes(hub.repos[ID]) == content_of(path)
    assert hub.repos[ID].num_commits == 1
    assert said[-1][1] == said[-1][2] == sum(map(len, content_of(path).values()))
    snapshot = download(ID)
    fetched = {name: (snapshot.directory / name).read_bytes() for name in files()}
    assert fetched == files()
    assert snapshot.manifest.run_id == RUN_ID


def test_only_what_is_wanted_is_fetched(hub, tmp_path):
    push(folder(tmp_path / "hub"))
    hub.seen.clear()
    download(ID, is_wanted=lambda path: path.startswith("code/"))
    code = {"code/adapter_config.json", "code/adapter_model.safetensors"}
    assert hub.fetched() == {"loraqd.json", *code}


def test_pushing_again_changes_nothing(hub, tmp_path):
    path = folder(tmp_path / "hub")
    push(path)
    sent = hub.num_bytes("PUT")
    done, _ = push(path)
    assert not done.is_new
    assert hub.repos[ID].num_commits == 1
    assert hub.num_bytes("PUT") == sent


def test_an_update_replaces_what_changed_and_deletes_what_is_gone(hub, tmp_path):
    push(folder(tmp_path / "one", files(1)))
    repo = hub.repos[ID]
    repo.move({**repo.main, ".gitattributes": b"mine"})
    newer = folder(tmp_path / "two", files(7))
    done, _ = push(newer)
    assert done.is_new
    assert without_attributes(repo) == content_of(newer)
    assert repo.main[".gitattributes"] == b"mine"
    assert "run/genomes/1.safetensors" not in repo.main


def test_a_name_that_is_taken_is_refused(hub, tmp_path):
    path = folder(tmp_path / "hub")
    hub.add(ID, {".gitattributes": b"", "model.safetensors": b"somebody's work"})
    with pytest.raises(InputError, match=r"holds model.safetensors; choose another"):
        push(path)
    other = folder(tmp_path / "other", run_id="2" * 64)
    hub.add(ID, content_of(other))
    with pytest.raises(InputError, match="holds another run; choose another name"):
        push(path)
    assert hub.repos[ID].main == content_of(other)


def test_an_empty_repository_made_by_hand_is_taken(hub, tmp_path):
    hub.add(ID, {".gitattributes": b"", "README.md": b"soon"})
    path = folder(tmp_path / "hub")
    push(path)
    assert without_attributes(hub.repos[ID]) == content_of(path)


def test_private_means_private(hub, tmp_path):
    path = folder(tmp_path / "hub")
    push(path, is_private=True)
    assert hub.repos[ID].is_private
    hub.repos[ID].is_private = False
    with pytest.raises(InputError, match="exists and is public; change that in its"):
        push(path, is_private=True)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("is_late", [False, True])
def test_a_push_that_was_cut_anywhere_goes_on(hub, tmp_path, impatient, step, is_late):
    path = folder(tmp_path / "hub")
    hub.fail(step, after=40, times=99, is_late=is_late)
    with pytest.raises(StoreError, match="repeat the push, which goes on"):
        push(path)
    committed = hub.repos[ID].num_commits if ID in hub.repos else 0
    is_commit = step.endswith("commit") and is_late
    assert committed == is_commit  # nothing half is ever seen
    hub.faults.clear()
    push(path)
    assert without_attributes(hub.repos[ID]) == content_of(path)
    assert hub.repos[ID].num_commits == 1


def test_what_went_up_before_the_cut_is_not_sent_again(hub, tmp_path, impatient):
    path = folder(tmp_path / "hub")
    hub.fail("/commit/", 503)
    with pytest.raises(StoreError, match=r"status 503.*repeat the push"):
        push(path)
    sent = hub.num_bytes("PUT")
    assert sent > 3000
    push(path)
    assert hub.num_bytes("PUT") == sent


@pytest.mark.parametrize(
    ("status", "kind", "match"),
    [
        (401, InputError, "does not know this login .401.*hf auth login"),
        (402, InputError, "storage is used up"),
        (403, InputError, r"refuses this login \(403\): Private storage limit"),
        (404, InputError, "no such repository"),
        (409, InputError, "in use or exists already"),
        (412, InputError, "somebody else changed it meanwhile .412.*repeat"),
        (413, InputError, "too large for the Hub"),
        (418, InputError, r"refuses it \(418\)"),
        (500, StoreError, "status 500"),
    ],
)
def test_a_refusal_is_one_line_with_what_the_hub_says(
    hub, tmp_path, impatient, status, kind, match
):
    path = folder(tmp_path / "hub")
    said = "Private storage limit\nreached\x1b[31m, " + 500 * "x"
    headers = {"X-Error-Message": "Private storage limit reached"}
    if status == 404:
        headers["X-Error-Code"] = "RepoNotFound"
    hub.fail("/commit/", status, message=said[:21], headers=headers)
    with pytest.raises(kind, match=match) as error:
        push(path)
    assert "\n" not in str(error.value)
    assert TOKEN not in str(error.value)


def test_a_hub_that_is_busy_says_how_long(hub, tmp_path, impatient):
    path = folder(tmp_path / "hub")
    hub.fail("/commit/", 429, headers={"Retry-After": "120"})
    with pytest.raises(StoreError, match="takes no more requests for now.*wait 120 s"):
        push(path)


def test_nobody_is_logged_in(hub, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="log in with: hf auth login"):
        push(folder(tmp_path / "hub"))


def test_a_gitignore_that_drops_files_is_noticed(hub, tmp_path):
    path = folder(tmp_path / "hub")
    repo = hub.add(ID, {})
    repo.ignored = frozenset({"LICENSE"})
    with pytest.raises(StoreError, match=r"expected LICENSE in owner/run.*gitignore"):
        push(path)


def test_a_commit_that_came_between_is_not_overwritten(hub, tmp_path, monkeypatch):
    path = folder(tmp_path / "hub")
    push(path)
    from lora_qd.hub import upload as module

    def interfere(*arguments):
        hub.repos[ID].move({**hub.repos[ID].main, "README.md": b"by somebody"})
        return []

    monkeypatch.setattr(module, "_deletions", interfere)
    with pytest.raises(InputError, match="somebody else changed it meanwhile"):
        push(folder(tmp_path / "newer", files(5)))
    assert hub.repos[ID].main["README.md"] == b"by somebody"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda p: (p / "notes.txt").write_text("x"), "but it holds notes.txt"),
        (lambda p: (p / "code/x.bin").write_text("x"), "but it holds code/x.bin"),
        (lambda p: (p / "link").symlink_to("/etc/passwd"), "but it holds link"),
        (lambda p: (p / "LICENSE").write_text("other"), "LICENSE .* missing or chan"),
        (lambda p: (p / "LICENSE").unlink(), "LICENSE .* missing or changed"),
        (lambda p: (p / "README.md").unlink(), "the card README.md"),
        (lambda p: (p / "loraqd.json").unlink(), "a folder with loraqd.json"),
        (lambda p: (p / "loraqd.json").write_text("[]"), "expected the manifest"),
    ],
)
def test_a_folder_that_is_not_its_manifest_is_not_uploaded(
    hub, tmp_path, change, match
):
    path = folder(tmp_path / "hub")
    change(path)
    with pytest.raises(InputError, match=match):
        push(path)
    assert hub.seen == []


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
        (relist(size=-1), "greater than or equal to 0"),
        (relist(sha256="0"), "should match pattern"),
        (put("loraqd.json", b"{" * 5000), "expected the manifest of a loraqd run"),
        (put("loraqd.json", b"[" * 100_000), "expected the manifest of a loraqd run"),
        (put("loraqd.json", b'{"format": 9}'), "expected the manifest"),
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
