"""The routes by which the real client makes repos and uploads: LFS, then one commit."""

import base64
import hashlib
import json

import yaml

from tests.fakes.hub_repo import USER, HubRepo

_LARGE = (".safetensors", ".png")


def whoami(request):
    if request.require_token():
        request.json({"type": "user", "name": USER, "orgs": [], "auth": {}})


def create(request):
    order = json.loads(request.body)
    repo_id = f"{order.get('organization') or USER}/{order['name']}"
    if not request.require_token():
        return
    if repo_id in request.hub.repos:
        request.refuse(409, "", "You already created this model repo")
        return
    files = {".gitattributes": b"*.safetensors filter=lfs"}
    is_private = order.get("visibility") == "private"
    request.hub.repos[repo_id] = HubRepo({"main": files}, is_private=is_private)
    request.json({"url": f"{request.hub.url}/{repo_id}"})


def validate_yaml(request):
    content = json.loads(request.body)["content"]
    errors = []
    try:
        metadata = yaml.safe_load(content.split("---")[1])
        if not metadata.get("base_model"):
            errors = [{"message": '"base_model" is missing'}]
    except (yaml.YAMLError, IndexError, AttributeError) as error:
        errors = [{"message": f"no metadata: {error}"}]
    request.json({"errors": errors, "warnings": []}, status=400 if errors else 200)


def preupload(request, repo_id, revision):
    repo = request.writable(repo_id)
    if repo is None:
        return
    files = []
    for file in json.loads(request.body)["files"]:
        path, known = file["path"], repo.main.get(file["path"])
        mode = "lfs" if path.endswith(_LARGE) else "regular"
        oid = None
        if known is not None:
            git = b"blob %d\0" % len(known) + known
            oid = (
                hashlib.sha256(known) if mode == "lfs" else hashlib.sha1(git)
            ).hexdigest()
        files.append(
            {
                "path": path,
                "uploadMode": mode,
                "shouldIgnore": path in repo.ignored,
                "oid": oid,
            }
        )
    request.json({"files": files, "commitOid": repo.commit("main")})


def lfs_batch(request, repo_id):
    if request.writable(repo_id) is None:
        return
    objects = []
    for wanted in json.loads(request.body)["objects"]:
        entry = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in request.hub.objects:
            upload = {"href": f"{request.hub.url}/lfs/{wanted['oid']}", "header": {}}
            verify = {"href": f"{request.hub.url}/lfs-verify", "header": {}}
            entry["actions"] = {"upload": upload, "verify": verify}
        objects.append(entry)
    request.json({"transfer": "basic", "objects": objects})


def lfs_put(request, oid):
    if hashlib.sha256(request.body).hexdigest() != oid:
        request.refuse(400, "", "content and hash differ")
        return
    request.hub.objects[oid] = request.body
    request.answer(200, b"", {})


def lfs_verify(request):
    is_there = json.loads(request.body)["oid"] in request.hub.objects
    request.answer(200 if is_there else 404, b"{}", {})


def commit(request, repo_id, revision):
    repo = request.writable(repo_id)
    if repo is None:
        return
    files = dict(repo.main)
    for line in request.body.splitlines():
        order = json.loads(line)
        kind, value = order["key"], order["value"]
        if kind == "header":
            parent = value.get("parentCommit")
            if parent and parent != repo.commit("main"):
                request.refuse(412, "", "A commit has happened since.")
                return
        elif kind == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif kind == "lfsFile":
            files[value["path"]] = request.hub.objects[value["oid"]]
        elif kind == "deletedFile":
            del files[value["path"]]
    oid = repo.move(files)
    url = f"{request.hub.url}/{repo_id}/commit/{oid}"
    request.json({"commitOid": oid, "commitUrl": url, "success": True})


ROUTES = {
    "GET": ((r"/api/whoami-v2", whoami),),
    "POST": (
        (r"/api/repos/create", create),
        (r"/api/validate-yaml", validate_yaml),
        (r"/api/models/(?P<repo_id>[^/]+/[^/]+)/preupload/(?P<revision>.+)", preupload),
        (r"/(?P<repo_id>[^/]+/[^/]+)\.git/info/lfs/objects/batch", lfs_batch),
        (r"/lfs-verify", lfs_verify),
        (r"/api/models/(?P<repo_id>[^/]+/[^/]+)/commit/(?P<revision>.+)", commit),
    ),
    "PUT": ((r"/lfs/(?P<oid>[0-9a-f]{64})", lfs_put),),
}
