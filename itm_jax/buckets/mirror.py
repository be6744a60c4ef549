"""A local copy of a folder of a bucket: what was fetched, and what has changed since and is to be published.

The bucket decides: fetching makes the copy equal to the bucket, and throws away what was never published. Objects are
whole or missing, but several of them do not appear at once. So a folder that counts only as a whole, such as a
checkpoint, has a seal: a file that is published after all others of its folder, and removed before them. A folder
without its seal is not fetched.
"""

import json
import pathlib
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from itm_jax.buckets.lease import NAME as LEASE
from itm_jax.buckets.store import Bucket, Entry
from itm_jax.errors import InputError
from itm_jax.files import write_whole

INDEX = ".bucket.json"  # in the copy: what of it equals the bucket
NOT_PUBLISHED = {INDEX, ".lock", LEASE}
AT_ONCE = 16  # requests


class Mirror:
    """A local copy of a folder of a bucket.

    Attributes:
        bucket: the folder of the bucket.
        local: the local folder.
    """

    def __init__(self, bucket: Bucket, local: pathlib.Path, *, seal: str, unfinished: str):
        """Takes the two folders.

        Args:
            bucket: the folder of the bucket.
            local: the local folder; it need not exist.
            seal: name of the file that makes its folder count.
            unfinished: pattern of names of local files and folders that are never published.
        """
        self.bucket, self.local = bucket, local
        self._seal, self._unfinished = seal, unfinished
        self._known: dict[str, dict[str, Any]] = {}  # of each path of the copy: size, tag, and time of the local file

    def fetch(self, wanted: Callable[[str], bool] = lambda path: True) -> int:
        """Makes the copy equal to the bucket, but for paths that are not `wanted`. Returns the bytes that it read.

        Raises:
            InputError: the bucket cannot be read, or the local disk cannot be written.
        """
        entries = {
            path: entry
            for path, entry in self.bucket.entries().items()
            if path not in NOT_PUBLISHED and _is_inside(path) and wanted(path)
        }
        entries = self._sealed(entries)
        try:
            known = json.loads((self.local / INDEX).read_text(encoding="utf-8"))
            known = {path: record for path, record in known.items() if path in entries}
        except (OSError, ValueError, AttributeError):
            known = {}
        missing = [p for p, entry in entries.items() if not self._is_copy(p, entry, known.get(p))]
        try:
            for path in self._local_files():
                if path not in entries:
                    (self.local / path).unlink()
            for folder in sorted((p for p in self.local.rglob("*") if p.is_dir()), reverse=True):
                if not any(folder.iterdir()):
                    folder.rmdir()
            self._at_once(lambda path: self.bucket.download(path, self.local / path), missing)
        except OSError as e:
            raise InputError(f"{self.local}: cannot be written ({e.strerror or e})") from None
        self._known = {path: self._record(path, entry) for path, entry in entries.items()}
        self._write_index()
        return sum(entries[path].size for path in missing)

    def publish(self) -> None:
        """Makes the bucket equal to the copy: new and changed files first, seals after them, removals at the end.

        Raises:
            InputError: the bucket cannot be written.
        """
        if not (self.local / INDEX).is_file():
            raise InputError(
                f"{self.local}: the local copy of {self.bucket.url} was removed; nothing more is published. Start the "
                "same command again to continue from what is published"
            )
        now = {path: self._stamp(path) for path in self._local_files()}
        changed = [p for p, stamp in now.items() if self._known.get(p, {}).get("stamp") != stamp]
        # A run itself removes nothing but whole checkpoints. What else is missing was not removed by it, and stays.
        gone = [p for p in self._known if (folder := self._counted_folder(p)) and not (self.local / folder).exists()]
        for paths in (
            [p for p in changed if not self._is_seal(p)],
            [p for p in changed if self._is_seal(p)],
        ):
            for path, entry in zip(paths, self._at_once(self._upload, paths), strict=True):
                self._known[path] = {"size": entry.size, "tag": entry.tag, "stamp": now[path]}
        for paths in ([p for p in gone if self._is_seal(p)], [p for p in gone if not self._is_seal(p)]):
            self.bucket.delete(paths)
            for path in paths:
                del self._known[path]
        self._write_index()

    def remove_remains(self) -> None:
        """Removes objects that the copy does not have: what an interrupted publication left."""
        entries = self.bucket.entries()
        self.bucket.delete([p for p in entries if p not in self._known and p not in NOT_PUBLISHED and _is_inside(p)])

    def _upload(self, path: str) -> Entry:
        return self.bucket.upload(path, self.local / path)

    def _sealed(self, entries: dict[str, Entry]) -> dict[str, Entry]:
        """The entries without the folders that lack their seal: `checkpoints/<step>/` without its `files.json`."""
        return {
            path: entry
            for path, entry in entries.items()
            if (folder := self._counted_folder(path)) is None or f"{folder}/{self._seal}" in entries
        }

    def _counted_folder(self, path: str) -> str | None:
        """The folder of a path that counts only as a whole: two levels down, with a number as its name."""
        parts = path.split("/")
        return "/".join(parts[:2]) if len(parts) > 2 and parts[1].isdigit() else None

    def _is_seal(self, path: str) -> bool:
        folder = self._counted_folder(path)
        return folder is not None and path == f"{folder}/{self._seal}"

    def _local_files(self) -> list[str]:
        """The paths of the copy that are to be published."""
        if not self.local.is_dir():
            return []
        unfinished = set(self.local.rglob(self._unfinished))
        return [
            path.relative_to(self.local).as_posix()
            for path in sorted(self.local.rglob("*"))
            if path.is_file()
            and path.name not in NOT_PUBLISHED
            and path.suffix != ".tmp"
            and not unfinished.intersection((path, *path.parents))
        ]

    def _stamp(self, path: str) -> list[int]:
        status = (self.local / path).stat()
        return [status.st_size, status.st_mtime_ns]

    def _record(self, path: str, entry: Entry) -> dict[str, Any]:
        return {"size": entry.size, "tag": entry.tag, "stamp": self._stamp(path)}

    def _is_copy(self, path: str, entry: Entry, record: dict[str, Any] | None) -> bool:
        """Whether the local file is what the object is."""
        return (
            record is not None
            and record.get("tag") == entry.tag
            and (self.local / path).is_file()
            and record.get("stamp") == self._stamp(path)
        )

    def _at_once(self, work: Callable[[str], Any], paths: Iterable[str]) -> list[Any]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(work, paths))

    def _write_index(self) -> None:
        self.local.mkdir(parents=True, exist_ok=True)
        write_whole(self.local / INDEX, json.dumps(self._known))


def _is_inside(path: str) -> bool:
    """Whether a path stays in its folder. Services allow any text as a path."""
    parts = path.split("/")
    return not {"", ".", ".."} & set(parts) and "\0" not in path and "\\" not in path


class Publisher:
    """Publishes a copy in the background."""

    def __init__(self, mirror: Mirror, check: Callable[[], None]):
        """Takes the copy, and what must not raise before each publication: a look at the lease."""
        self._mirror, self._check = mirror, check
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def start(self, ready: Callable[[], None]) -> None:
        """Publishes when `ready` has come back. Call `wait` before the copy is changed."""
        self.wait()
        self._thread = threading.Thread(target=self._publish, args=(ready,), name="publish", daemon=True)
        self._thread.start()

    def _publish(self, ready: Callable[[], None]) -> None:
        try:
            ready()
            self._check()
            self._mirror.publish()
        except Exception as e:  # it is raised by the thread that waits
            self._error = e

    def wait(self) -> None:
        """Waits for the end of a publication, and raises what went wrong there, usually an InputError."""
        if self._thread:
            self._thread.join()
            self._thread = None
        if error := self._error:
            self._error = None
            raise error

    def last(self) -> None:
        """Publishes what is left. Raises as `wait` does."""
        self.start(lambda: None)
        self.wait()


class NoPublisher:
    """Stands for `Publisher` where the workdir is local: each method does nothing."""

    def _nothing(self, *_: Any) -> None:
        pass

    start = wait = last = _nothing
