"""Faults of the storage: full disks, and files of the workdir that are damaged or gone."""

import contextlib
import os
import shutil
import subprocess

from faults.trial import Trial


def _killed_at(trial: Trial, step: int = 13) -> None:
    process = trial.start()
    trial.until(process, step)
    process.kill()
    process.wait()
    process.said.close()


def _damaged(trial: Trial, change):
    _killed_at(trial)
    change(trial)
    return trial.finish()


@contextlib.contextmanager
def _small_disk(trial: Trial, size: str):
    """The workdir on a disk of its own."""
    trial.workdir.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", trial.workdir], check=True)
    try:
        yield
    finally:
        kept = trial.folder / "kept"
        shutil.copytree(trial.workdir, kept)
        subprocess.run(["umount", "-l", trial.workdir], check=True)
        shutil.rmtree(trial.workdir)
        kept.rename(trial.workdir)


def disk_fills(trial):
    """The disk fills while it trains"""
    with _small_disk(trial, "16m"):
        process = trial.start()
        trial.until(process, 7)
        with contextlib.suppress(OSError), (trial.workdir / "other").open("wb", buffering=0) as other:
            while True:
                other.write(bytes(1 << 16))
        ended = trial.ended(process)
        (trial.workdir / "other").unlink()
        return ended


def disk_is_full(trial):
    """The disk is full before it starts"""
    with _small_disk(trial, "1m"):
        with contextlib.suppress(OSError):
            (trial.workdir / "other").write_bytes(bytes(1 << 21))
        ended = trial.finish()
        (trial.workdir / "other").unlink()
        return ended


def read_only(trial):
    """The disk becomes read-only while it trains"""
    with _small_disk(trial, "64m"):
        process = trial.start()
        trial.until(process, 7)
        subprocess.run(["mount", "-o", "remount,ro", trial.workdir], check=False)
        return trial.ended(process)


def workdir_removed(trial):
    """The workdir is removed while it trains"""
    process = trial.start()
    trial.until(process, 7)
    shutil.rmtree(trial.workdir)
    return trial.ended(process)


def lock_removed(trial):
    """The lock file is removed while it trains"""
    process = trial.start()
    trial.until(process, 7)
    (trial.workdir / ".lock").unlink()
    return trial.ended(process)


def cache_removed(trial):
    """The cache is removed while it trains"""
    process = trial.start()
    trial.until(process, 7)
    shutil.rmtree(trial.folder / "cache", ignore_errors=True)
    return trial.ended(process)


def _largest(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def file_cut(trial):
    """killed; a file of the newest checkpoint is cut in half"""
    return _damaged(trial, lambda t: os.truncate(path := _largest(t.newest()), path.stat().st_size // 2))


def bit_flipped(trial):
    """killed; a bit of the newest checkpoint is flipped"""

    def change(trial):
        path = _largest(trial.newest())
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))

    return _damaged(trial, change)


def record_removed(trial):
    """killed; the record of the newest checkpoint is removed"""
    return _damaged(trial, lambda t: shutil.rmtree(t.newest() / "meta"))


def newest_removed(trial):
    """killed; the newest checkpoint is removed"""
    return _damaged(trial, lambda t: shutil.rmtree(t.newest()))


def all_removed(trial):
    """killed; all checkpoints are removed"""
    return _damaged(trial, lambda t: shutil.rmtree(t.workdir / "checkpoints"))


def all_damaged(trial):
    """killed; all checkpoints are damaged"""

    def change(trial):
        for folder in (trial.workdir / "checkpoints").iterdir():
            os.truncate(_largest(folder), 10)

    _killed_at(trial)
    change(trial)
    first = trial.finish()
    return first if first[0] else trial.finish()


def metrics_cut(trial):
    """killed; metrics.jsonl ends in the middle of a line"""
    return _damaged(trial, lambda t: os.truncate(p := t.workdir / "metrics.jsonl", p.stat().st_size - 20))


def config_removed(trial):
    """killed; config.json is removed"""
    return _damaged(trial, lambda t: (t.workdir / "config.json").unlink())


def config_damaged(trial):
    """killed; config.json is cut"""
    return _damaged(trial, lambda t: os.truncate(t.workdir / "config.json", 100))


def data_record_removed(trial):
    """killed; data.json is removed"""
    return _damaged(trial, lambda t: (t.workdir / "data.json").unlink())


def tokenizer_removed(trial):
    """killed; the kept tokenizer is removed"""
    return _damaged(trial, lambda t: shutil.rmtree(t.workdir / "text"))


def a_file_in_place_of_the_workdir(trial):
    """A file has the name of the workdir"""
    trial.workdir.write_text("mine")
    ended = trial.finish()
    trial.workdir.unlink()
    return ended


FAULTS = [
    disk_fills, disk_is_full, read_only, workdir_removed, lock_removed, cache_removed, file_cut, bit_flipped,
    record_removed, newest_removed, all_removed, all_damaged, metrics_cut, config_removed, config_damaged,
    data_record_removed, tokenizer_removed, a_file_in_place_of_the_workdir,
]  # fmt: skip
