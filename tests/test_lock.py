"""One writer per workdir, whatever ends it."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from support.paths import ROOT

from itm_jax.errors import InputError
from itm_jax.runs import lock
from itm_jax.runs.lock import workdir_lock

HOLD = textwrap.dedent(
    """
    import pathlib, sys, time
    from itm_jax.runs.lock import workdir_lock
    with workdir_lock(pathlib.Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
    """
)


def holder(workdir):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(workdir)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_writer_is_refused_and_told_who_holds_it(tmp_path):
    process = holder(tmp_path)
    try:
        with pytest.raises(InputError, match=rf"{tmp_path}: in use by process {process.pid} on .* since 2"):  # noqa: SIM117
            with workdir_lock(tmp_path):
                pass
    finally:
        process.kill()
        process.communicate()


def test_a_lock_that_ends_in_time_is_waited_for(tmp_path, monkeypatch):
    """A server of a network file system may keep the lock of a host that is gone."""
    monkeypatch.setenv(lock.WAIT, "30")
    process = holder(tmp_path)
    killer = threading.Timer(0.5, process.kill)
    killer.start()
    with workdir_lock(tmp_path):
        assert not killer.is_alive()
    process.communicate()
    monkeypatch.setenv(lock.WAIT, "1")
    with workdir_lock(tmp_path), pytest.raises(InputError, match="in use by"), workdir_lock(tmp_path):
        pass
    monkeypatch.setenv(lock.WAIT, "soon")
    with pytest.raises(InputError, match="ITM_JAX_LOCK_SECONDS=soon: must be a whole number"), workdir_lock(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, capsys):
    process = holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / ".lock").exists()
    with workdir_lock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert f"taking over from process {process.pid}" in capsys.readouterr().err
    assert not (tmp_path / ".lock").exists()


def test_a_broken_lock_file_is_no_obstacle(tmp_path):
    (tmp_path / ".lock").write_bytes(b"\xff{")
    with workdir_lock(tmp_path):
        pass


def test_a_directory_that_stays_empty_is_removed_and_an_error_releases(tmp_path):
    new = tmp_path / "new"
    with pytest.raises(RuntimeError), workdir_lock(new):
        raise RuntimeError
    assert not new.exists()
    with workdir_lock(new):
        (new / "file").touch()
    assert [p.name for p in new.iterdir()] == ["file"]


def test_a_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: cannot be written \(File exists\)"), workdir_lock(tmp_path / "file"):
        pass


def test_without_locks_there_is_a_warning(tmp_path, monkeypatch, capsys):
    def unsupported(*_):
        raise OSError(lock.NO_LOCKS[0], "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", unsupported)
    with workdir_lock(tmp_path):
        pass
    assert "no locks on this file system" in capsys.readouterr().err


def count(workdir, number):
    for _ in range(20):
        while True:
            try:
                with workdir_lock(workdir):
                    value = int(number.read_text())
                    number.write_text(str(value + 1))
                break
            except InputError:
                continue


def test_many_processes_take_turns(tmp_path):
    number = tmp_path / "number"
    number.write_text("0")
    (tmp_path / "dir").mkdir()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=count, args=(tmp_path / "dir", number)) for _ in range(3)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert number.read_text() == "60"
