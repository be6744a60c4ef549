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
from typing import Any, NamedTuple

from itm_jax.errors import InputError

SCHEMES = ("gs", "s3", "s3a", "az", "azure", "abfs", "abfss")
RETRY_SECONDS = 60  # how long a request is tried again; a lease is not taken over sooner


class NoConditionalWrites(Exception):
    """The service cannot write an object only if there is none."""


class Entry(NamedTuple):
    """An object: its size in bytes, and its tag, which is another one after each writing."""

    size: int
    tag: str


def is_url(place: Any) -> bool:
    """Returns whether a place is an address, not a local path."""
    return "://" in os.fspath(place)


def parent_and_name(url: str) -> tuple[str, str]:
    """Returns the address of the folder, and the name in it, of `scheme://bucket/folder/name`."""
    folder, _, name = url.rstrip("/").rpartition("/")
    return folder, name


class Bucket:
    """A folder of a bucket. Paths are relative to it, with `/` between their parts.

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
        self._obstore = obstore
        with self._errors(""):
            self._store = store.from_url(
                self.url, retry_config={"retry_timeout": datetime.timedelta(seconds=RETRY_SECONDS)}
            )

    def where(self, path: str) -> str:
        """Returns the address of an object."""
        return f"{self.url}/{path}" if path else self.url

    def entries(self, prefix: str = "") -> dict[str, Entry]:
        """Returns the objects whose path begins with `prefix/`; all where it is empty."""
        with self._errors(prefix):
            return {
                meta["path"]: Entry(meta["size"], meta["e_tag"] or str(meta["last_modified"]))
                for part in self._obstore.list(self._store, prefix or None)
                for meta in part
            }

    def entry(self, path: str) -> Entry | None:
        """Returns what is known of an object; None where there is none."""
        with self._errors(path):
            try:
                meta = self._obstore.head(self._store, path)
            except FileNotFoundError:
                return None
            return Entry(meta["size"], meta["e_tag"] or str(meta["last_modified"]))

    def read(self, path: str) -> tuple[bytes, Mapping[str, Any]] | None:
        """Returns the bytes of an object and the version of them, for `replace`; None where there is no object."""
        with self._errors(path):
            try:
                got = self._obstore.get(self._store, path)
            except FileNotFoundError:
                return None
            return bytes(got.bytes()), _version(got.meta)

    def ranges(self, path: str, starts: Sequence[int], ends: Sequence[int]) -> list[bytes]:
        """Returns the bytes [start, end) of an object, for each pair; they are asked for at once."""
        with self._errors(path):
            return [bytes(x) for x in self._obstore.get_ranges(self._store, path, starts=starts, ends=ends)]

    def write(self, path: str, content: bytes) -> None:
        """Writes a whole object, in place of one of this path."""
        with self._errors(path):
            self._obstore.put(self._store, path, content)

    def create(self, path: str, content: bytes) -> Mapping[str, Any] | None:
        """Writes an object and returns its version; None where there is one of this path, which stays.

        Raises:
            NoConditionalWrites: the service cannot do that.
        """
        with self._errors(path):
            try:
                return _version(self._obstore.put(self._store, path, content, mode="create"))
            except self._obstore.exceptions.AlreadyExistsError:
                return None
            except (NotImplementedError, self._obstore.exceptions.NotSupportedError) as e:
                raise NoConditionalWrites(first_line(e)) from None

    def replace(self, path: str, content: bytes, version: Any) -> Mapping[str, Any] | None:
        """Writes an object in place of this version, and returns the new version; None where it is another one now."""
        with self._errors(path):
            try:
                return _version(self._obstore.put(self._store, path, content, mode=version))
            except (self._obstore.exceptions.PreconditionError, FileNotFoundError):
                return None

    def upload(self, path: str, file: pathlib.Path) -> Entry:
        """Writes a local file to an object, whole or not at all."""
        with self._errors(path):
            put = self._obstore.put(self._store, path, file)
            return Entry(file.stat().st_size, put["e_tag"] or "")

    def download(self, path: str, file: pathlib.Path) -> None:
        """Writes an object to a local file, whole or not at all."""
        with self._errors(path):
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary = file.with_name(f"{file.name}.{uuid.uuid4().hex}.tmp")
            try:
                with temporary.open("wb") as out:
                    for part in self._obstore.get(self._store, path).stream():
                        out.write(part)
                temporary.replace(file)
            finally:
                temporary.unlink(missing_ok=True)

    def delete(self, paths: Sequence[str]) -> None:
        """Removes objects; one that is missing is no error."""
        for path in paths:
            with self._errors(path), contextlib.suppress(FileNotFoundError):
                self._obstore.delete(self._store, path)

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Makes an InputError of what obstore raises."""
        exceptions = self._obstore.exceptions
        try:
            yield
        except FileNotFoundError as e:
            what = "no such bucket" if "NoSuchBucket" in str(e) else "no such object"
            raise InputError(f"{self.where(path)}: {what}") from None
        except (exceptions.BaseError, OSError, ValueError) as e:
            raise InputError(f"{self.where(path)}: {first_line(e)}; look at the address and the credentials") from None


class RemoteFile:
    """An object as a file to read: what `itm_jax.files.read_json` takes."""

    def __init__(self, url: str):
        """Takes the address of the object."""
        self._url = url

    def __str__(self) -> str:
        return self._url

    def read_text(self, encoding: str) -> str:
        """Returns its text. Raises FileNotFoundError where there is no such object."""
        folder, name = parent_and_name(self._url)
        found = Bucket(folder).read(name)
        if found is None:
            raise FileNotFoundError(2, "No such object", self._url)
        return found[0].decode(encoding)


def _version(meta: Mapping[str, Any]) -> Any:
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name) is not None}


def first_line(error: Exception) -> str:
    """Returns what an error says, without the details that obstore puts below it."""
    return " ".join(str(error).split("\n\nDebug source")[0].split())[:300]
