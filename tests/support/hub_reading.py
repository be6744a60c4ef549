"""What the local stand-in for the hub answers to clients that read: the model, its listing, its files."""

import re

NAME = r"([^/]+/[^/]+)"


def model(request, name, revision="main"):
    commit = request.commit_of(name, revision)
    files = request.hub.files(name, commit)
    request.json(
        {
            "_id": "0", "id": name, "modelId": name, "sha": commit, "private": name in request.hub.private,
            "gated": "manual" if name in request.hub.gated else False, "disabled": False, "downloads": 0, "likes": 0,
            "tags": [], "siblings": [{"rfilename": path} for path in files],
        }
    )  # fmt: skip


def tree(request, name, revision):
    files = request.hub.files(name, request.commit_of(name, revision))
    lfs = lambda e: {"lfs": {"oid": e.sha256, "size": e.size, "pointerSize": 134}} if e.sha256 else {}  # noqa: E731
    request.json([{"type": "file", "path": p, "size": e.size, "oid": e.blob} | lfs(e) for p, e in files.items()])


def resolve(request, name, revision, path):
    from support.hub import Answer

    commit = request.commit_of(name, revision)
    if name in request.hub.gated:
        raise Answer(403 if request.user else 401, "GatedRepo", f"Access to model {name} is restricted")
    entry = request.hub.files(name, commit).get(path)
    headers = {"X-Repo-Commit": commit}
    if entry is None:
        return request.send(b"", status=404, headers=headers | {"X-Error-Code": "EntryNotFound"})
    content, status = entry.path.read_bytes(), 200
    headers |= {"ETag": f'"{entry.etag}"', "Accept-Ranges": "bytes"}
    if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "")):
        begin, end = int(wanted[1]), min(int(wanted[2] or entry.size), entry.size - 1)
        if begin >= entry.size:
            return request.send(b"", status=416, headers=headers | {"Content-Range": f"bytes */{entry.size}"})
        content, status = content[begin : end + 1], 206
        headers["Content-Range"] = f"bytes {begin}-{end}/{entry.size}"
    return request.send(content, status=status, headers=headers)


ROUTES = (
    ("GET", rf"/api/models/{NAME}", model),
    ("GET", rf"/api/models/{NAME}/revision/([^/]+)", model),
    ("GET", rf"/api/models/{NAME}/tree/([^/]+)", tree),
    ("GET", rf"/{NAME}/resolve/([^/]+)/(.+)", resolve),
    ("HEAD", rf"/{NAME}/resolve/([^/]+)/(.+)", resolve),
)
