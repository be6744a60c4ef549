"""Faults of a workdir in a bucket, against the local stand-in for S3."""

import shutil
import time

from support.bucket import empty_bucket

from faults.trial import Trial
from itm_jax.buckets.store import Bucket
from itm_jax.buckets.workdir import local_copy

HURRY = """
import sys
from itm_jax import main
from itm_jax.buckets import lease
from itm_jax.cli import commands

lease.BEAT_SECONDS, lease.STALE_SECONDS = 0.5, 5.0
sys.exit(commands.start(main, sys.argv))
"""


class Place:
    """A run in a bucket."""

    def __init__(self, trial: Trial, url: str):
        self.trial, self.bucket = trial, Bucket(url)
        self.copy = local_copy(url, str(trial.folder / "cache"))

    def start(self, *flags):
        return self.trial.start(*flags, workdir=self.bucket.url, script=("-c", HURRY))

    def until_published(self, process, count: int = 1) -> None:
        """Waits until so many checkpoints are in the bucket."""
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < 100:
            if sum(path.endswith("/files.json") for path in self.bucket.entries("checkpoints")) >= count:
                return
            time.sleep(0.05)

    def killed(self) -> None:
        process = self.start()
        self.until_published(process, 2)
        process.kill()
        process.wait()
        process.said.close()


def killed_and_continued_elsewhere(place):
    """killed; the same command on a machine without the local copy"""
    place.killed()
    shutil.rmtree(place.copy)
    return place.trial.ended(place.start())


def second_writer(place):
    """A second machine starts the same run"""
    first = place.start()
    place.until_published(first)
    second = place.trial.start("--config.data.cache_dir=/nonexistent", workdir=place.bucket.url, script=("-c", HURRY))
    ended = place.trial.ended(second)
    first.kill()
    first.wait()
    first.said.close()
    return ended


def lease_taken(place):
    """Another process takes the lease while it trains"""
    process = place.start()
    place.until_published(process)
    place.bucket.write(".lease", b'{"token": "other", "pid": 1, "host": "far", "since": "now", "command": "train"}')
    ended = place.trial.ended(process)
    place.bucket.delete([".lease"])
    return ended


def copy_removed(place):
    """The local copy is removed while it trains"""
    process = place.start()
    place.until_published(process)
    shutil.rmtree(place.copy)
    return place.trial.ended(process)


def object_lost(place):
    """killed; an object of the newest checkpoint is lost"""
    place.killed()
    steps = {int(path.split("/")[1]) for path in place.bucket.entries("checkpoints")}
    prefix = f"checkpoints/{max(steps)}/variables"
    place.bucket.delete([max(place.bucket.entries(prefix))])
    return place.trial.ended(place.start())


def seal_lost(place):
    """Killed while it published: the newest checkpoint has no files.json"""
    place.killed()
    steps = {int(path.split("/")[1]) for path in place.bucket.entries("checkpoints")}
    place.bucket.delete([f"checkpoints/{max(steps)}/files.json"])
    return place.trial.ended(place.start())


FAULTS = [killed_and_continued_elsewhere, second_writer, lease_taken, copy_removed, object_lost, seal_lost]


def service_gone(trial: Trial):
    """The service of the bucket is gone while it trains"""
    with empty_bucket("faults-gone") as url:
        place = Place(trial, f"{url}/run")
        process = place.start()
        place.until_published(process)
    return trial.ended(process)
