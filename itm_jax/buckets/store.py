"""The objects of a folder of a bucket, through obstore, which speaks to Google Cloud Storage, S3 and Azure.

obstore takes the address and the credentials of the service from the environment (AWS_ENDPOINT, GOOGLE_SERVICE_ACCOUNT
and so on), as LanceDB does, and tries a request again where the service does not answer.
"""

import contextlib
import datetime
import os
import pathlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from itm_jax.errors import InputError

SCHEMES = ("gs", "s3", "s3a", "az", "azure", "abfs", "abfss")
RETRY_SECONDS = 60  # how long a request is tried again; a lease is not taken over sooner
RETRY = {
    "retry_timeout": datetime.timedelta(seconds=RETRY_SECONDS),
    "max_retries": 10_000,  # the time decides
    "backoff": {
        "init_backoff": datetime.timedelta(milliseconds=100),
        "max_backoff": datetime.timedelta(seconds=5),
        "base": 2,
    },
}
AT_ONCE = 16  # requests
PART_BYTES = 8 << 20  # of an object that a request asks for
PARTS_AT_ONCE = 4  # of an object: with AT_ONCE objects they take half a GB of memory


class MissingObjectError(InputError):
    """There is no such object."""


class ChangedObjectError(Exception):
    """The object is no longer the one with this ETag."""


class NoConditionalWritesError(Exception):
    """The service cannot write an object on the condition that there is none, or that it is unchanged."""


class ObjectInfo(NamedTuple):
    """What is known of an object: its size in bytes, and its ETag, which changes with its content."""

    size: int
    etag: str


def is_url(place: Any) -> bool:
    """Returns whether a place is an address, not a local path."""
    return "://" in os.fspath(place)


class Bucket:
    """A folder of a bucket. Paths are relative to it, with `/` between their parts.

    Every method raises InputError where the service refuses or does not answer.

    Attributes:
        url: the address of the folder, without `/` at its end.
    """

    def __init__(self, url: str):
        """Opens the folder; nothing is read yet.

        Raises:
            InputError: the address has a scheme that is not known, or obstore is not installed.
        """
        self.url = os.fspath(url).rstrip("/")
        scheme = self.url.partition("://")[0]
        if scheme not in SCHEMES:
            raise InputError(f"{self.url}: {scheme}:// is not known; pass gs://, s3:// or az://, or a local path")
        try:
            import obstore
            from obstore import store
        except ImportError:
            raise InputError(f"{self.url}: obstore is not installed; pip install -e '.[buckets]'") from None
        self._obstore: Any = obstore
        self._unsupported = (RuntimeError, obstore.exceptions.NotSupportedError)  # what the service cannot do
        with self._errors(""):
            self._store = store.from_url(self.url, retry_config=RETRY)  # type: ignore[arg-type, call-overload]

    def where(self, path: str) -> str:
        """Returns the address of an object."""
        return f"{self.url}/{path}" if path else self.url

    def objects(self, prefix: str = "") -> dict[str, ObjectInfo]:
        """Returns the objects whose path begins with `prefix/`; all where it is empty."""
        with self._errors(prefix):
            return {
                meta["path"]: _info(meta) for part in self._obstore.list(self._store, prefix or None) for meta in part
            }

    def read(self, path: str) -> tuple[bytes, Mapping[str, Any]] | None:
        """Returns the bytes of an object and the version of them, for `replace`; None where there is no object."""
        with self._errors(path):
            try:
                got = self._obstore.get(self._store, path)
            except FileNotFoundError:
                return None
            return bytes(got.bytes()), _version(got.meta)

    def ranges(self, path: str, ranges: Sequence[tuple[int, int]], etag: str) -> list[bytes]:
        """Returns the bytes [start, end) of an object for each pair; they are asked for at once.

        Raises:
            ChangedObjectError: the object no longer has this ETag.
        """
        if len(ranges) == 1:
            return [self._range(path, ranges[0], etag)]
        with ThreadPoolExecutor(min(AT_ONCE, len(ranges) or 1)) as pool:
            return list(pool.map(lambda pair: self._range(path, pair, etag), ranges))

    def _range(self, path: str, pair: tuple[int, int], etag: str) -> bytes:
        with self._errors(path):
            try:
                got = self._obstore.get(self._store, path, options={"range": pair, "if_match": etag})
                return bytes(got.bytes())
            except self._obstore.exceptions.PreconditionError:
                raise ChangedObjectError(self.where(path)) from None

    def write(self, path: str, content: bytes) -> None:
        """Writes a whole object, in place of one of this path."""
        with self._errors(path):
            self._obstore.put(self._store, path, content)

    def create(self, path: str, content: bytes) -> Mapping[str, Any] | None:
        """Writes an object and returns its version; None where there is one of this path, which stays.

        Raises:
            NoConditionalWritesError: the service cannot do that.
        """
        with self._errors(path):
            try:
                return _version(self._obstore.put(self._store, path, content, mode="create"))
            except self._obstore.exceptions.AlreadyExistsError:
                return None
            except self._unsupported as e:
                raise NoConditionalWritesError(short_text(e)) from None

    def replace(self, path: str, content: bytes, version: Any) -> Mapping[str, Any] | None:
        """Writes an object in place of this version, and returns the new one; None where it has changed since.

        Raises:
            NoConditionalWritesError: the service cannot do that.
        """
        with self._errors(path):
            try:
                return _version(self._obstore.put(self._store, path, content, mode=version))
            except (self._obstore.exceptions.PreconditionError, FileNotFoundError):
                return None
            except self._unsupported as e:
                raise NoConditionalWritesError(short_text(e)) from None

    def upload(self, path: str, file: pathlib.Path) -> ObjectInfo:
        """Writes a local file to an object, whole or not at all."""
        size = file.stat().st_size
        with self._errors(path):
            return ObjectInfo(size, self._obstore.put(self._store, path, file)["e_tag"] or "")

    def download(self, path: str, info: ObjectInfo, file: pathlib.Path) -> None:
        """Writes an object to a local file, whole or not at all.

        It asks for a part at a time: a request that takes longer than half a minute is given up.

        Raises:
            MissingObjectError: there is no such object.
            ChangedObjectError: the object is no longer the one of `info`.
            OSError: the local file cannot be written.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f"{file.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("wb") as out:
                starts = range(0, info.size, PART_BYTES)
                pairs = [(start, min(start + PART_BYTES, info.size)) for start in starts]
                for k in range(0, len(pairs), PARTS_AT_ONCE):
                    out.writelines(self.ranges(path, pairs[k : k + PARTS_AT_ONCE], info.etag))
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)

    def delete(self, paths: Sequence[str]) -> None:
        """Removes objects; one that is missing is no error."""
        try:
            with self._errors(paths[0] if paths else ""):
                self._obstore.delete(self._store, list(paths))
        except MissingObjectError:  # some services say so, and leave the others
            for path in paths:
                with contextlib.suppress(MissingObjectError), self._errors(path):
                    self._obstore.delete(self._store, path)

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Makes an InputError of what obstore raises."""
        exceptions = self._obstore.exceptions
        try:
            yield
        except FileNotFoundError as e:
            if "NoSuchBucket" in str(e):
                raise InputError(f"{self.url}: no such bucket") from None
            raise MissingObjectError(f"{self.where(path)}: no such object") from None
        except exceptions.PreconditionError:
            raise
        except (exceptions.BaseError, OSError, ValueError) as e:
            raise InputError(f"{self.where(path)}: {short_text(e)}; look at the address and the credentials") from None


class RemoteFile:
    """An object as a file to read: what `itm_jax.files.read_json` takes."""

    def __init__(self, url: str):
        """Takes the address of the object."""
        self._url = url

    def __str__(self) -> str:
        return self._url

    def exists(self) -> bool:
        """Returns whether there is such an object."""
        folder, _, name = self._url.rpartition("/")
        return Bucket(folder).read(name) is not None

    def read_text(self, encoding: str) -> str:
        """Returns its text. Raises FileNotFoundError where there is no such object."""
        folder, _, name = self._url.rpartition("/")
        stored = Bucket(folder).read(name)
        if stored is None:
            raise FileNotFoundError(2, "No such object", self._url)
        return stored[0].decode(encoding)


def _info(meta: Mapping[str, Any]) -> ObjectInfo:
    if not meta["e_tag"]:  # nothing else says which version an object has
        raise InputError(f"{meta['path']}: the service gives no ETags; mount the bucket, and pass the local path")
    return ObjectInfo(meta["size"], meta["e_tag"])


def _version(meta: Mapping[str, Any]) -> Any:
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name) is not None}


def short_text(error: Exception) -> str:
    """Returns what an error says, without the details that obstore puts below it."""
    return " ".join(str(error).split("\n\nDebug source")[0].split())[:300]
