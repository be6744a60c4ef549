"""One writer per folder of a bucket: an object that names its owner, and that its owner writes again and again.

What it promises: the service itself decides who creates the object, or replaces the version that was read, so of
several processes that try at once one gets the lease. A lease is taken over only after it has not changed for
`STALE_SECONDS` of the taker's own clock; clocks of machines are not compared. A process that lost its lease notices at
the next publication, and writes nothing more.

What it cannot promise: a process that is held up for longer than `STALE_SECONDS` in the middle of a publication, and
then goes on, still sends the objects that it had begun to send. Where a service has no conditional writes, nothing is
promised, and a warning says so.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from itm_jax.buckets.store import RETRY_SECONDS, Bucket, NoConditionalWrites
from itm_jax.errors import InputError
from itm_jax.files import parse_json
from itm_jax.terminal import say

NAME = ".lease"
BEAT_SECONDS = 15.0
STALE_SECONDS = RETRY_SECONDS + 2 * BEAT_SECONDS  # a request may be tried again for so long before it is given up
LOOK_SECONDS = 1.0


class Lease:
    """The lease of this process. `beat` writes it again; a thread calls this too."""

    def __init__(self, bucket: Bucket, version: Mapping[str, Any], content: dict[str, Any]):
        self._bucket, self._version, self._content = bucket, version, content
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beats, name="lease", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Writes the lease again.

        Raises:
            InputError: another process took it over, or the service does not answer.
        """
        with self._lock:
            self._content["beat"] += 1
            version = self._bucket.replace(NAME, _to_bytes(self._content), self._version)
            if version is None:
                version = self._own_version()
            self._version = version

    def _own_version(self) -> Mapping[str, Any]:
        """Returns the version of the object where it is still ours: an answer may have been lost.

        Raises:
            InputError: it is not ours.
        """
        found = self._bucket.read(NAME)
        content = _content(found[0]) if found else {}
        if found and content.get("token") == self._content["token"]:
            return found[1]
        who = f"now it belongs to {_owner(content)}" if found else "it was removed"
        raise InputError(
            f"{self._bucket.url}: this process no longer holds the lease ({who}); nothing more is written there. Start "
            "the same command again to continue"
        )

    def _beats(self) -> None:
        while not self._end.wait(BEAT_SECONDS):
            with contextlib.suppress(InputError):  # the next publication says so
                self.beat()

    def release(self) -> None:
        """Removes the lease, if it is still ours."""
        self._end.set()
        self._thread.join()
        with contextlib.suppress(InputError):
            self.beat()
            self._bucket.delete([NAME])


class NoLease:
    """Stands for a lease where the service has no conditional writes."""

    def beat(self) -> None:
        """Does nothing."""

    release = beat


@contextlib.contextmanager
def held(bucket: Bucket) -> Iterator[Lease | NoLease]:
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
    content = {
        "token": uuid.uuid4().hex,
        "beat": 0,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": " ".join(sys.argv),
    }
    try:
        version = bucket.create(NAME, _to_bytes(content))
    except NoConditionalWrites:
        say(f"warning: {bucket.url}: no conditional writes in this service; let only one process write there")
        return NoLease()
    if version is None:
        version = _take_over(bucket, content)
    return Lease(bucket, version, content)


def _take_over(bucket: Bucket, content: dict[str, Any]) -> Mapping[str, Any]:
    """Waits for a sign of life of the owner; returns the version of our own lease where there is none."""
    found = bucket.read(NAME)
    began, first = time.monotonic(), found
    if found:
        say(f"{bucket.url}: in use by {_owner(_content(found[0]))}, or left by it; waiting for a sign of life")
    while found and found[0] == (first or found)[0]:
        if time.monotonic() - began > STALE_SECONDS:
            version = bucket.replace(NAME, _to_bytes(content), found[1])
            if version is None:
                break
            say(f"{bucket.url}: no sign of life for {STALE_SECONDS:.0f} s; taking over")
            return version
        time.sleep(LOOK_SECONDS)
        found = bucket.read(NAME)
    if found is None:
        version = bucket.create(NAME, _to_bytes(content))
        if version is not None:
            return version
        found = bucket.read(NAME)
    raise InputError(
        f"{bucket.url}: in use by {_owner(_content(found[0])) if found else 'another process'}; wait for it, stop it, "
        "or take another place"
    )


def _to_bytes(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content) + "\n").encode()


def _content(data: bytes) -> dict[str, Any]:
    try:
        value = parse_json(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _owner(content: Mapping[str, Any]) -> str:
    if not {"pid", "host", "since", "command"} <= content.keys():
        return "a process that left no name"
    return f"process {content['pid']} on {content['host']} since {content['since']} ({content['command']})"
