"""Faults of a workdir in a bucket, against the local stand-in for S3."""

import contextlib
import os
import pathlib
import shutil
import socket
import threading
import time

from faults import slow_scenes
from faults.trial import SECONDS, Ended, Trial, fault, faults_of, outcome_of
from itm_jax.buckets.copies import local_copy
from itm_jax.buckets.store import Bucket
from itm_jax.runs.bucket import fetch_workdir

HURRY = """
import datetime
import sys
from itm_jax import main
from itm_jax.buckets import lease, store
from itm_jax.cli import commands

store.RETRY["retry_timeout"] = datetime.timedelta(seconds=5)
lease.RENEW_SECONDS, lease.STALE_SECONDS = 0.5, 5.0
sys.exit(commands.start(main, sys.argv))
"""


class InBucket(Trial):
    """A run in a bucket."""

    def __init__(self, folder: pathlib.Path, url: str):
        super().__init__(folder)
        self.bucket = Bucket(url)
        self.copy = local_copy(url, str(folder / "cache"), use="run")

    def start(self, *flags, **environment):
        """Starts the run; its lease grows old, and requests are given up, at least ten times as fast as usual."""
        return super().start(*flags, workdir=self.bucket.url, script=("-c", HURRY), **environment)

    def until_published(self, process, count: int = 1) -> None:
        """Waits until so many checkpoints are in the bucket."""
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < SECONDS:
            if sum(path.endswith("/files.json") for path in self.bucket.objects("checkpoints")) >= count:
                return
            time.sleep(0.05)
        raise AssertionError(f"{count} checkpoints were not published: {self.text(process)[-2000:]}")

    def killed(self) -> Ended:
        """Kills the run when two checkpoints are published."""
        process = self.start()
        self.until_published(process, 2)
        return self.stop(process)

    def newest_step(self) -> int:
        """The newest checkpoint of the bucket."""
        return max(int(path.split("/")[1]) for path in self.bucket.objects("checkpoints"))

    def outcome(self):
        """What a reader of the bucket sees."""
        return outcome_of(fetch_workdir(self.bucket.url, str(self.folder / "read")))


class Relay:
    """A port of this machine that leads to the service, until it is closed."""

    def __init__(self, address: str):
        host, _, port = address.removeprefix("http://").rpartition(":")
        self._service, self._open = (host, int(port)), []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                ends = self._listener.accept()[0], socket.create_connection(self._service)
            except OSError:
                return
            self._open += ends
            for source, target in (ends, ends[::-1]):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        """Ends it with all its connections."""
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@fault(0, "evaluating step")
def killed_and_continued_elsewhere(place):
    """Killed; the same command on a machine without the local copy"""
    place.killed()
    shutil.rmtree(place.copy)
    return place.finish()


@fault(2, "in use by process")
def second_writer(place):
    """A second machine starts the same run"""
    first = place.start(**{slow_scenes.SECONDS: "1"})  # so that it does not end before the second one looks
    place.until_published(first)
    ended = place.ended(place.start(f"--config.data.cache_dir={place.folder / 'cache-of-the-second'}"))
    place.stop(first)
    return ended


@fault(2, "no longer holds the lease")
def lease_taken(place):
    """Another process takes the lease while it trains"""
    process = place.start()
    place.until_published(process)
    place.bucket.write(".lease", b'{"token": "other", "pid": 1, "host": "far", "since": "now", "command": "train"}')
    ended = place.ended(process)
    place.bucket.delete([".lease"])
    return ended


@fault(2, "was removed")
def copy_removed(place):
    """The local copy is removed while it trains"""
    process = place.start()
    place.until_published(process)
    removed = place.copy.rename(place.folder / "removed")  # at once; the run is still writing there
    ended = place.ended(process)
    shutil.rmtree(removed)
    return ended


@fault(0, "going on without it")
def object_lost(place):
    """Killed; an object of the newest checkpoint is lost"""
    place.killed()
    place.bucket.delete([max(place.bucket.objects(f"checkpoints/{place.newest_step()}/variables"))])
    return place.finish()


@fault(0, "continuing from step")
def seal_lost(place):
    """Killed while it published: the newest checkpoint has no files.json"""
    place.killed()
    place.bucket.delete([f"checkpoints/{place.newest_step()}/files.json"])
    return place.finish()


@fault(2, "look at the address and the credentials")
def service_gone(place):
    """The service of the bucket is gone while it trains"""
    relay = Relay(os.environ["AWS_ENDPOINT"])
    process = place.start(AWS_ENDPOINT=relay.address)
    place.until_published(process)
    relay.close()
    return place.ended(process)


FAULTS = faults_of(globals())
