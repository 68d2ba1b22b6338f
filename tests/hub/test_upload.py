"""A push by the real client, against a hub that fails in every way."""

import pytest

from lora_qd.errors import InputError, StoreError
from lora_qd.hub.download import download
from tests.fakes.hub_repo import TOKEN
from tests.hub.transport import (
    ID,
    RUN_ID,
    content_of,
    files,
    folder,
    push,
    without_attributes,
)

# The client's own, when it uploads a large file.
pytestmark = [
    pytest.mark.usefixtures("logged_in"),
    pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning"),
]
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
