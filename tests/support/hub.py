"""A local stand-in for the Hugging Face hub, on 127.0.0.1: huggingface_hub reads from it and writes to it.

    with Hub(tmp_path / "hub") as hub:                   # serves the repositories ROOT/user/name/...
        hub.folder("user/tiny").mkdir(parents=True)      # the branch main; write its files there, at any time
        commit = hub.keep("user/tiny", "v1")             # what main has now is also the revision v1, and `commit`
        done = hub.python(tmp_path, "import huggingface_hub; ...", HF_TOKEN="hf_write")

huggingface_hub reads its address when it is imported. So a client is a process of its own, with `hub.environment(...)`:
the address, a cache below tmp_path, no token, no proxy, no progress bars, no Xet (a client that has hf_xet uploads only
through Xet, which the stand-in has not). `hub.python` runs such a process;
hub_client.py has one that answers the questions of many tests.

- `hub.url`, `hub.stop()`: a stopped hub refuses connections; `Hub(root, hub.port)` is there again.
- `hub.requests`: what was asked, in order, each `Request(method, path, status, headers)`; `hub.fetched("user/tiny")`
  has the files whose content was sent; `hub.forget()` empties the list.
- `hub.private`, `hub.gated`: sets of names. A private repository needs the token of its user. A gated one shows its
  listing to everybody and its files to nobody.
- `hub.tokens`: {token: user}; `hub.read_only`: tokens that may not write.
- `hub.fault("pattern of the path", status=500)`: requests for it get this answer; `wait=60`: they wait so many seconds
  (or until the hub is stopped); `cut=1000`: the connection ends after so many bytes of the content; `times=1`: only
  the first of them; `method="GET"`: only these.
- Writing (hub_writing.py): create_repo, preupload, LFS upload, commit, whoami. Only main can be written.

LFS files are sent by the hub itself, without the redirect to another server. Listings have one page.
"""

import contextlib
import dataclasses
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import urllib.parse

from support.hub_store import Store
from support.paths import ROOT

CODES = {
    "RepoNotFound": "Repository not found",
    "RevisionNotFound": "Invalid rev id",
    "EntryNotFound": "Entry not found",
}


@dataclasses.dataclass(frozen=True)
class Request:
    method: str
    path: str  # without the query, unquoted
    status: int
    headers: dict


@dataclasses.dataclass
class Fault:
    pattern: str
    status: int | None = None
    wait: float = 0.0
    cut: int | None = None
    times: int | None = None
    method: str | None = None


class Hub(Store):
    """Serves the repositories below `root` until `stop()`; `port` is that of a hub that was stopped."""

    def __init__(self, root, port=0):
        super().__init__(root)
        self.tokens = {"hf_write": "user", "hf_read": "user"}
        self.read_only = {"hf_read"}
        self.private, self.gated = set(), set()
        self.requests, self.faults = [], []
        self.stopped = threading.Event()
        handler = type("HubHandler", (Handler,), {"hub": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Ends the server; connections are refused from then on."""
        if not self.stopped.is_set():
            self.stopped.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def fault(self, pattern, **how):
        self.faults.append(Fault(pattern, **how))

    def forget(self):
        self.requests.clear()

    def fetched(self, name):
        """The files of a repository whose content was sent, in order."""
        sent = (re.fullmatch(rf"/{name}/resolve/[0-9a-f]{{40}}/(.+)", r.path) for r in self._gets())
        return [match[1] for match in sent if match]

    def _gets(self):
        return [r for r in self.requests if r.method == "GET" and r.status in (200, 206)]

    def environment(self, tmp_path, **changes):
        """The environment of a client: its cache is below tmp_path. A change of None leaves a variable out."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
        ours = {
            "HF_ENDPOINT": self.url, "HF_HOME": str(tmp_path / "hf_home"), "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "JAX_PLATFORMS": "cpu",
            # one device; programs are compiled as fast as in the tests' own process
            "XLA_FLAGS": re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", "")),
        }  # fmt: skip
        return {k: v for k, v in (kept | ours | changes).items() if v is not None}

    def python(self, tmp_path, *command, timeout=120, **changes):
        """Runs `python -c CODE`, or `python ARGUMENTS...` where the first begins with `-`; the finished process."""
        whole = [sys.executable, *(() if command[0].startswith("-") else ("-c",)), *map(str, command)]
        return subprocess.run(
            whole, env=self.environment(tmp_path, **changes), cwd=tmp_path, capture_output=True, text=True,
            check=False, timeout=timeout,
        )  # fmt: skip


class Answer(Exception):
    """Ends a request with a status that is not a success."""

    def __init__(self, status, code=None, message=None):
        super().__init__(status)
        self.status, self.code, self.message = status, code, message or CODES.get(code, "refused")


class Handler(http.server.BaseHTTPRequestHandler):
    """One request: faults, then the token, then the route."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def handle_one_request(self):
        with contextlib.suppress(ConnectionError):  # the client has gone
            super().handle_one_request()

    def do_any(self):
        self.path, _, query = self.path.partition("?")
        self.query = urllib.parse.parse_qs(query)
        self.cut = None
        length = int(self.headers.get("Content-Length") or 0)
        self.body = (
            self.rfile.read(length)
            if "chunked" not in self.headers.get("Transfer-Encoding", "")
            else _chunks(self.rfile)
        )
        try:
            self._meet_faults()
            self.user = self._user()
            self._route()
        except Answer as e:
            headers = {"X-Error-Message": e.message} | ({"X-Error-Code": e.code} if e.code else {})
            self.json({"error": e.message}, status=e.status, headers=headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_any

    def _meet_faults(self):
        for fault in list(self.hub.faults):
            if not re.search(fault.pattern, urllib.parse.unquote(self.path)) or fault.method not in (
                None,
                self.command,
            ):
                continue
            with self.hub.lock:
                if fault.times == 0:
                    continue
                fault.times = None if fault.times is None else fault.times - 1
            self.hub.stopped.wait(fault.wait)
            self.cut = fault.cut
            if fault.status:
                raise Answer(fault.status, message="out of order")

    def _user(self):
        """Who asks; None without a token. A token that nobody has is refused everywhere."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise Answer(401, message="Invalid credentials in Authorization header")
        self.writes = bool(token) and token not in self.hub.read_only
        return self.hub.tokens.get(token)

    def _route(self):
        from support import hub_reading, hub_writing

        for method, pattern, serve in (*hub_reading.ROUTES, *hub_writing.ROUTES):
            if method in (self.command, None) and (match := re.fullmatch(pattern, self.path)):
                return serve(self, *(urllib.parse.unquote(x) for x in match.groups()))
        raise Answer(404, message=f"the stand-in has no {self.command} {self.path}")

    def repository(self, name):
        """Refuses a name that there is not, or that this user may not see; the real hub does not say which."""
        hidden = name in self.hub.private and name.split("/")[0] != self.user
        if not self.hub.exists(name) or hidden:
            raise Answer(404 if self.user else 401, "RepoNotFound")

    def commit_of(self, name, revision):
        self.repository(name)
        commit = self.hub.resolve(name, revision)
        if commit is None:
            raise Answer(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def json(self, value, *, status=200, headers=None):
        self.send(
            json.dumps(value).encode(), status=status, headers={"Content-Type": "application/json"} | (headers or {})
        )

    def send(self, content, *, status=200, headers=None):
        """Sends an answer and closes the connection, so that a stopped hub has none left."""
        self.hub.requests.append(Request(self.command, urllib.parse.unquote(self.path), status, dict(self.headers)))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "Connection": "close", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content if self.cut is None else content[: self.cut])
        self.close_connection = True


def _chunks(file):
    out = b""
    while size := int(file.readline().split(b";")[0], 16):
        out += file.read(size)
        file.readline()
    file.readline()
    return out
