"""One writer per folder of a bucket: an object that names its owner, and that its owner renews again and again.

What it promises: the service itself decides who creates the object, or replaces the version that was read, so of
several processes that try at once one gets the lease. A lease is taken over only after it has not changed for
`STALE_SECONDS` of the taker's own clock; clocks of machines are not compared. A process that lost its lease notices it
when it renews it, and before each part of a publication, and writes nothing more.

What it cannot promise: a process that is held up for longer than `STALE_SECONDS` in the middle of a part of a
publication, and then goes on, still sends the objects that it had begun to send. One that is held up while it removes
its lease may remove that of its successor. A service that says that it has no conditional writes gets a warning. One
that ignores the conditions is not recognised.
"""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from itm_jax.buckets.store import RETRY_SECONDS, Bucket, NoConditionalWritesError
from itm_jax.errors import InputError
from itm_jax.files import describe_owner, owner_record, parse_json
from itm_jax.terminal import say

NAME = ".lease"
RENEW_SECONDS = 15.0
# Longer than it can take to renew a lease: the pause, and two requests with a last try each, where an answer was lost.
STALE_SECONDS = RENEW_SECONDS + 2 * (RETRY_SECONDS + 30.0)
POLL_SECONDS = 1.0


class Lease:
    """The lease of this process, which a thread renews."""

    def __init__(self, bucket: Bucket, version: Mapping[str, Any], content: dict[str, Any]):
        """Starts the thread.

        Args:
            bucket: the folder.
            version: of the object that this process wrote.
            content: of this object.
        """
        self._bucket, self._version, self._content = bucket, version, content
        self._lost: InputError | None = None
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._renew_again, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises InputError if this process is known to have lost the lease; asks nobody."""
        if self._lost:
            raise self._lost

    def renew(self) -> None:
        """Writes the lease again.

        Raises:
            InputError: another process took it over, or the service does not answer.
        """
        with self._lock:
            self.check()
            self._content["renewed"] += 1
            version = self._bucket.replace(NAME, _to_bytes(self._content), self._version)
            self._version = self._own_version() if version is None else version

    def _own_version(self) -> Mapping[str, Any]:
        """Returns the version of the object where it is still ours: an answer may have been lost.

        Raises:
            InputError: it is not ours.
        """
        stored = self._bucket.read(NAME)
        content = _content(stored[0]) if stored else {}
        if stored and content.get("token") == self._content["token"]:
            return stored[1]
        who = f"now it belongs to {describe_owner(content)}" if stored else "it was removed"
        self._lost = InputError(
            f"{self._bucket.url}: this process no longer holds the lease ({who}); nothing more is written there. Start "
            "the same command again to continue"
        )
        raise self._lost

    def _renew_again(self) -> None:
        while not self._end.wait(RENEW_SECONDS) and not self._lost:
            with contextlib.suppress(InputError, NoConditionalWritesError):  # `check` says it, and the next publication
                self.renew()

    def release(self) -> None:
        """Removes the lease, if it is still ours. Where the service does not answer, the lease grows old instead."""
        self._end.set()
        with contextlib.suppress(InputError, NoConditionalWritesError):
            if self._thread.is_alive():
                self._thread.join(RENEW_SECONDS)  # it may be waiting for the service
            if not self._thread.is_alive():
                self.renew()
                self._bucket.delete([NAME])
        self._lost = self._lost or InputError(f"{self._bucket.url}: this process gave the lease back")  # for `check`


class NoLease:
    """Stands for a lease where the service has no conditional writes."""

    def check(self) -> None:
        """Does nothing."""

    renew = release = check


@contextlib.contextmanager
def hold_lease(bucket: Bucket) -> Iterator[Lease | NoLease]:
    """Holds the lease of a folder.

    A lease whose owner shows no sign of life for `STALE_SECONDS` is taken over.

    Raises:
        InputError: another process holds it, or the bucket cannot be written.
    """
    lease = _acquire(bucket)
    try:
        yield lease
    finally:
        lease.release()


def _acquire(bucket: Bucket) -> Lease | NoLease:
    content = {"token": uuid.uuid4().hex, "renewed": 0} | owner_record()
    try:
        version = bucket.create(NAME, _to_bytes(content))
        if version is None:
            version = _take_over(bucket, content)
        lease = Lease(bucket, version, content)
        try:
            lease.renew()  # some services can create an object on a condition, and not replace it
        except BaseException:
            lease.release()
            raise
    except NoConditionalWritesError:
        say(f"warning: {bucket.url}: no conditional writes in this service; let only one process write there")
        with contextlib.suppress(InputError):
            stored = bucket.read(NAME)
            if stored and _content(stored[0]).get("token") == content["token"]:
                bucket.delete([NAME])
        return NoLease()
    return lease


def _take_over(bucket: Bucket, content: dict[str, Any]) -> Mapping[str, Any]:
    """Waits for a sign of life of the owner, and returns the version of our own lease where there is none.

    Raises:
        InputError: the owner lives, or another process was faster.
    """
    stored, began = bucket.read(NAME), time.monotonic()
    first = stored[0] if stored else b""
    if stored and _content(first).get("token") == content["token"]:  # we created it, and the answer was lost
        return stored[1]
    if stored:
        say(f"{bucket.url}: in use by {describe_owner(_content(first))}, or left by it; waiting for a sign of life")
    while stored and stored[0] == first:
        waited = time.monotonic() - began
        if waited > STALE_SECONDS:
            version = bucket.replace(NAME, _to_bytes(content), stored[1])
            if version is not None:
                say(f"{bucket.url}: no sign of life for {STALE_SECONDS:.0f} s; taking over")
                return version
        if waited > 2 * STALE_SECONDS:
            raise InputError(f"{bucket.where(NAME)}: cannot be replaced; remove it if no other process writes there")
        time.sleep(POLL_SECONDS)
        stored = bucket.read(NAME)
    if stored is None:
        version = bucket.create(NAME, _to_bytes(content))
        if version is not None:
            return version
        stored = bucket.read(NAME)
    if stored and _content(stored[0]).get("token") == content["token"]:  # it is ours, and the answer was lost
        return stored[1]
    owner = describe_owner(_content(stored[0])) if stored else "another process"
    raise InputError(f"{bucket.url}: in use by {owner}; wait for it, stop it, or choose another address")


def _to_bytes(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content) + "\n").encode()


def _content(data: bytes) -> dict[str, Any]:
    try:
        value = parse_json(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
