"""The repositories of the local stand-in for the hub: folders, commits and named revisions.

`ROOT/user/name` is what the branch main has now; change its files and main has another commit. `keep` copies it aside
under a name, so that a repository has several revisions.
"""

import dataclasses
import hashlib
import json
import pathlib
import shutil
import threading

ASIDE = ".hub"  # the folder of ROOT for earlier commits, their names and uploads
LFS_SIZE = 10 << 20  # bytes from which a file goes through LFS, whatever its name
LFS_ENDINGS = (".safetensors", ".bin", ".npy", ".h5", ".msgpack")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file of a commit: its place, its size, its git object and, for an LFS file, its SHA-256."""

    path: pathlib.Path
    size: int
    blob: str
    sha256: str | None

    @property
    def etag(self):
        return self.sha256 or self.blob


class Store:
    """The repositories below a folder."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.lock = threading.RLock()
        self._entries = {}  # (path, size, time) -> Entry

    def folder(self, name):
        """The folder of main."""
        return self.root / name

    def exists(self, name):
        return name.count("/") == 1 and not name.startswith(".") and ".." not in name and self.folder(name).is_dir()

    def commit(self, name):
        """The hash of main's commit: of the names and contents of its files."""
        listing = {path: entry.etag for path, entry in self._files(self.folder(name)).items()}
        return hashlib.sha1(json.dumps([name, listing], sort_keys=True).encode()).hexdigest()

    def keep(self, name, *revisions):
        """Copies main's commit aside and gives it further names (a tag, a branch, `refs/pr/1`); returns its hash."""
        with self.lock:
            commit = self.commit(name)
            kept = self.root / ASIDE / name / commit
            if not kept.exists():
                shutil.copytree(self.folder(name), kept)
            named = self._named(name) | dict.fromkeys(revisions, commit)
            (kept.parent / "names.json").write_text(json.dumps(named))
            return commit

    def resolve(self, name, revision):
        """The commit of a revision; None where there is none."""
        main = self.commit(name)
        if revision in ("main", main):
            return main
        commit = self._named(name).get(revision, revision)
        kept = self.root / ASIDE / name
        return commit if kept.is_dir() and commit in {p.name for p in kept.iterdir() if p.is_dir()} else None

    def files(self, name, commit):
        """{path in the repository: Entry} of a commit."""
        main = commit == self.commit(name)
        return self._files(self.folder(name) if main else self.root / ASIDE / name / commit)

    def uploaded(self, sha256):
        """Where the content of an uploaded LFS file is."""
        path = self.root / ASIDE / "lfs" / sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _named(self, name):
        path = self.root / ASIDE / name / "names.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def _files(self, folder):
        paths = sorted(p for p in folder.rglob("*") if p.is_file())
        return {p.relative_to(folder).as_posix(): self._entry(p) for p in paths}

    def _entry(self, path):
        status = path.stat()
        key = (path, status.st_size, status.st_mtime_ns, status.st_ino)
        if key not in self._entries:
            content = path.read_bytes()
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            lfs = goes_through_lfs(path.name, len(content))
            self._entries[key] = Entry(path, len(content), blob, hashlib.sha256(content).hexdigest() if lfs else None)
        return self._entries[key]


def goes_through_lfs(name, size):
    """Whether a file of this name and size is an LFS file."""
    return size >= LFS_SIZE or name.endswith(LFS_ENDINGS)
