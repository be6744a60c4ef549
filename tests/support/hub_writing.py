"""What the local stand-in for the hub answers to clients that write: create_repo, LFS upload, commit, whoami."""

import base64
import hashlib
import json
import shutil

from support.hub_reading import NAME
from support.hub_store import goes_through_lfs


def _refuse(status, code=None, message=None):
    from support.hub import Answer

    raise Answer(status, code, message)


def _writer(request, name):
    """Refuses who may not write to a repository of this name."""
    if request.user is None:
        _refuse(401, message="Invalid username or password.")
    if not request.writes or name.split("/")[0] != request.user:
        _refuse(403, message=f"You don't have the rights to write to {name}")


def whoami(request):
    if request.user is None:
        _refuse(401, message="Invalid username or password.")
    role = "write" if request.writes else "read"
    token = {"displayName": "test", "role": role}
    request.json(
        {"type": "user", "name": request.user, "orgs": [], "auth": {"type": "access_token", "accessToken": token}}
    )


def create(request):
    wanted = json.loads(request.body)
    name = f"{wanted.get('organization') or request.user}/{wanted['name']}"
    _writer(request, name)
    there = request.hub.exists(name)
    request.hub.folder(name).mkdir(parents=True, exist_ok=True)
    if not there and (wanted.get("private") or wanted.get("visibility") == "private"):
        request.hub.private.add(name)
    answer = {"url": f"{request.hub.url}/{name}", "name": name, "id": "0"}
    if there:
        answer["error"] = "You already created this model repo"
    request.json(answer, status=409 if there else 200)


def preupload(request, name, revision):
    commit = request.commit_of(name, revision)
    _writer(request, name)
    present = request.hub.files(name, commit)
    files = []
    for file in json.loads(request.body)["files"]:
        path, lfs = file["path"], goes_through_lfs(file["path"], file["size"])
        files.append({"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False})
        if path in present:
            files[-1]["oid"] = present[path].etag
    request.json({"files": files, "commitOid": commit})


def batch(request, name):
    request.repository(name)
    _writer(request, name)
    objects = []
    for wanted in json.loads(request.body)["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        objects.append({"oid": oid, "size": size})
        if not request.hub.uploaded(oid).exists():
            objects[-1]["actions"] = {
                "upload": {"href": f"{request.hub.url}/upload/{oid}", "header": {}},
                "verify": {"href": f"{request.hub.url}/{name}/verify"},
            }
    request.json({"transfer": "basic", "objects": objects})


def upload(request, oid):
    """The address is the permission, as with a signed one of a file store: no token is sent."""
    if hashlib.sha256(request.body).hexdigest() != oid:
        _refuse(400, message="the content has another SHA-256")
    request.hub.uploaded(oid).write_bytes(request.body)
    request.send(b"", headers={"ETag": f'"{oid}"'})


def verify(request, name):
    _writer(request, name)
    wanted = json.loads(request.body)
    path = request.hub.uploaded(wanted["oid"])
    if not path.exists() or path.stat().st_size != wanted["size"]:
        _refuse(404, message="not uploaded")
    request.json({})


def commit(request, name, revision):
    with request.hub.lock:
        before = request.commit_of(name, revision)
        _writer(request, name)
        if before != request.hub.commit(name):
            _refuse(400, message="the stand-in writes only main")
        changes = [json.loads(line) for line in request.body.splitlines() if line.strip()]
        header = next(x["value"] for x in changes if x["key"] == "header")
        if header.get("parentCommit") not in (None, before):
            _refuse(412, message="A commit has happened since. Please refresh and try again.")
        missing = [
            x["value"]["path"]
            for x in changes
            if x["key"] == "lfsFile" and not request.hub.uploaded(x["value"]["oid"]).exists()
        ]
        if missing:
            _refuse(400, message=f"LFS pointer to a file that was not uploaded: {missing[0]}")
        request.hub.keep(name)
        for change in changes:
            _apply(request.hub, name, change["key"], change["value"])
        after = request.hub.commit(name)
    request.json({"success": True, "commitOid": after, "commitUrl": f"{request.hub.url}/{name}/commit/{after}"})


def _apply(hub, name, key, value):
    if key == "header":
        return
    path = hub.folder(name) / value["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    if key == "file":
        path.write_bytes(base64.b64decode(value["content"]))
    elif key == "lfsFile":
        shutil.copy(hub.uploaded(value["oid"]), path)
    elif key == "deletedFile":
        path.unlink()
    elif key == "deletedFolder":
        shutil.rmtree(path)


def validate_yaml(request):
    """Accepts every head of a README.md."""
    request.json({"errors": [], "warnings": []})


ROUTES = (
    ("GET", r"/api/whoami-v2", whoami),
    ("POST", r"/api/repos/create", create),
    ("POST", r"/api/validate-yaml", validate_yaml),
    ("POST", rf"/api/models/{NAME}/preupload/([^/]+)", preupload),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", batch),
    ("PUT", r"/upload/([0-9a-f]{64})", upload),
    ("POST", rf"/{NAME}/verify", verify),
    ("POST", rf"/api/models/{NAME}/commit/([^/]+)", commit),
)
