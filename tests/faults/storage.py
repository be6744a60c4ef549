"""Faults of the storage: full disks, and files of the workdir that are damaged or gone."""

import contextlib
import os
import shutil
import subprocess

from faults.trial import Ended, Trial, fault, faults_of


def _damaged(trial: Trial, change) -> Ended:
    """Kills the run, changes its workdir, and returns what the same command said to that."""
    process = trial.start()
    trial.until(process, 13)
    trial.stop(process)
    change(trial)
    return trial.finish()


@contextlib.contextmanager
def _small_disk(trial: Trial, size: int):
    """The workdir on a disk of its own, with ext4."""
    trial.workdir.mkdir()
    image = trial.folder / "disk"
    with image.open("wb") as file:
        file.truncate(size << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, trial.workdir], check=True)
    (trial.workdir / "lost+found").rmdir()
    try:
        yield
    finally:
        kept = trial.folder / "kept"
        shutil.copytree(trial.workdir, kept)
        subprocess.run(["umount", "-l", trial.workdir], check=True)
        shutil.rmtree(trial.workdir)
        kept.rename(trial.workdir)


@fault(2, "no space left on the disk", root=True)
def disk_fills(trial):
    """The disk fills while it trains"""
    with _small_disk(trial, 16):
        process = trial.start()
        trial.until(process, 7)
        with contextlib.suppress(OSError), (trial.workdir / "other").open("wb", buffering=0) as other:
            while True:
                other.write(bytes(1 << 16))
        ended = trial.ended(process)
        (trial.workdir / "other").unlink()
        return ended


@fault(2, "no space left on the disk", root=True)
def disk_is_full(trial):
    """The disk is full before it starts"""
    with _small_disk(trial, 1):
        with contextlib.suppress(OSError):
            (trial.workdir / "other").write_bytes(bytes(1 << 21))
        ended = trial.finish()
        (trial.workdir / "other").unlink()
        return ended


@fault(2, "the disk can only be read now", root=True)
def read_only(trial):
    """The disk becomes read-only while it trains"""
    with _small_disk(trial, 64):
        process = trial.start()
        trial.until(process, 7)
        subprocess.run(["mount", "-o", "remount,abort", trial.workdir], check=True)  # as after an error of the disk
        return trial.ended(process)


@fault(2, "was removed while the run saved there")
def workdir_removed(trial):
    """The workdir is removed while it trains"""
    process = trial.start()
    trial.until(process, 7)
    removed = trial.workdir.rename(trial.folder / "removed")  # at once; the run is still writing there
    ended = trial.ended(process)
    shutil.rmtree(removed)
    return ended


@fault(0, "evaluating step")
def lock_removed(trial):
    """The lock file is removed while it trains"""
    process = trial.start()
    trial.until(process, 7)
    (trial.workdir / ".lock").unlink()
    return trial.ended(process)


@fault(0, "evaluating step")
def cache_removed(trial):
    """The cache is removed while it trains"""
    process = trial.start()
    trial.until(process, 7)
    shutil.rmtree(trial.folder / "cache", ignore_errors=True)
    return trial.ended(process)


def _largest(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


@fault(0, "going on without it")
def file_cut(trial):
    """Killed; a file of the newest checkpoint is cut in half"""
    return _damaged(trial, lambda t: os.truncate(path := _largest(t.newest()), path.stat().st_size // 2))


@fault(0, "going on without it")
def bit_flipped(trial):
    """Killed; a bit of the newest checkpoint is flipped"""

    def change(trial):
        path = _largest(trial.newest())
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))

    return _damaged(trial, change)


@fault(0, "going on without it")
def record_removed(trial):
    """Killed; the record of the newest checkpoint is removed"""
    return _damaged(trial, lambda t: shutil.rmtree(t.newest() / "meta"))


@fault(0, "continuing from step")
def newest_removed(trial):
    """Killed; the newest checkpoint is removed"""
    return _damaged(trial, lambda t: shutil.rmtree(t.newest()))


@fault(0, "evaluating step")
def all_removed(trial):
    """Killed; all checkpoints are removed"""
    return _damaged(trial, lambda t: shutil.rmtree(t.workdir / "checkpoints"))


@fault(0, "going on without it")
def all_damaged(trial):
    """Killed; all checkpoints are damaged"""

    def change(trial):
        for folder in (trial.workdir / "checkpoints").iterdir():
            os.truncate(_largest(folder), 10)

    return _damaged(trial, change)


@fault(0, "continuing from step")
def metrics_cut(trial):
    """Killed; metrics.jsonl ends in the middle of a line"""
    return _damaged(trial, lambda t: os.truncate(p := t.workdir / "metrics.jsonl", p.stat().st_size - 20))


@fault(0, "continuing from step")
def config_removed(trial):
    """Killed; config.json is removed"""
    return _damaged(trial, lambda t: (t.workdir / "config.json").unlink())


@fault(2, "config.json: not JSON", refuses="config.json: not JSON")
def config_damaged(trial):
    """Killed; config.json is cut"""
    return _damaged(trial, lambda t: os.truncate(t.workdir / "config.json", 100))


@fault(0, "continuing from step")
def data_record_removed(trial):
    """Killed; data.json is removed"""
    return _damaged(trial, lambda t: (t.workdir / "data.json").unlink())


@fault(0, "continuing from step")
def tokenizer_removed(trial):
    """Killed; the kept tokenizer is removed"""
    return _damaged(trial, lambda t: shutil.rmtree(t.workdir / "text"))


@fault(2, "cannot be written (File exists)")
def a_file_in_place_of_the_workdir(trial):
    """A file has the name of the workdir"""
    trial.workdir.write_text("mine")
    ended = trial.finish()
    trial.workdir.unlink()
    return ended


FAULTS = faults_of(globals())
