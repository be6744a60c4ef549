"""Runs a cell as a process: with the command that the table prints, on a share of the machine, until it is stopped."""

import contextlib
import ctypes
import dataclasses
import glob
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec

from itm_jax.devices.environment import on_tpu
from itm_jax.devices.machine import machine
from itm_jax.errors import InputError, TerminatedError
from itm_jax.tables.cell import Cell

KILL_AFTER = 120.0  # seconds that a run has to save a checkpoint when it is told to stop


@dataclasses.dataclass(frozen=True)
class Share:
    """The cores and GPUs of this machine that one of several parallel runs may use; an empty field means all."""

    cores: frozenset[int] = frozenset()
    gpus: tuple[str, ...] = ()


@dataclasses.dataclass
class Running:
    """The process of a cell."""

    cell: Cell
    process: subprocess.Popen
    log: pathlib.Path
    began: float
    share: Share
    before: int  # bytes of the log that earlier attempts wrote


def shares(jobs: int) -> list[Share]:
    """Returns the share of cores, and of GPUs where there are any, for each of `jobs` parallel runs.

    Raises:
        InputError: there are more parallel runs than accelerators.
    """
    gpus = visible_gpus()
    if jobs > 1 and (on_tpu() or 0 < len(gpus) < jobs):
        room = f"GPUs: {len(gpus)}" if gpus else "a TPU takes one run"
        raise InputError(
            f"--jobs={jobs}: more parallel runs than accelerators ({room}); pass at most --jobs={len(gpus) or 1}"
        )
    each = len(gpus) // jobs  # the same number for every run, because the batch is divided by it
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []  # Linux
    parts = [tuple(gpus[k * each : (k + 1) * each]) if jobs > 1 else () for k in range(jobs)]
    return [Share(frozenset(cores[k::jobs] or cores), parts[k]) for k in range(jobs)]


def visible_gpus() -> list[str]:
    """Returns the NVIDIA GPUs that a run would see, named as in CUDA_VISIBLE_DEVICES."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in named.split(",") if gpu and gpu != "-1"]
    if not any(find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):  # JAX would not see them
        return []
    return [str(k) for k in range(len(glob.glob("/dev/nvidia[0-9]*")))]


def start(cell: Cell, workdir: pathlib.Path, share: Share) -> Running:
    """Starts the command of a cell and writes its output to a log.

    Raises:
        InputError: the log cannot be written.
    """
    log = workdir / "logs" / f"{cell.workdir.name}{'-' + cell.results.stem if cell.row.of else ''}.log"
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # The seeds of a row share compiled programs, and so do rows that differ only in their data.
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(workdir / "xla" / machine()))
    if share.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(share.gpus)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        before = log.stat().st_size if log.exists() else 0
        out = log.open("ab")
    except OSError as e:
        raise InputError(f"{log}: cannot be written ({e.strerror}); use another --workdir") from None
    with out:
        process = subprocess.Popen(
            [sys.executable, "-m", "itm_jax.main", *cell.arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches this process, which passes it on as SIGTERM
            preexec_fn=_begin if _LIBC else None,
        )
    if share.cores:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(process.pid, share.cores)
    return Running(cell, process, log, time.monotonic(), share, before)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
STOPS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def _begin() -> None:
    """Runs in the child (Linux): it gets SIGTERM when this process ends in any way, and then saves and ends."""
    assert _LIBC is not None  # `start` passes this function only where it is set
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def last_line(log: pathlib.Path) -> str:
    """Returns the last line of a log, without blank lines at the end."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def problem_of(one: Running) -> str:
    """Returns the error line of an ended run; empty where it succeeded.

    Another process that was just stopped may still write to the same log.
    """
    code = one.process.returncode
    if code == 0:
        missing = "before its last step" if one.cell.trial else f"without {one.cell.results.name}"
        return "" if one.cell.state == "finished" else f"ended {missing}"
    with one.log.open("rb") as file:
        file.seek(one.before)
        lines = file.read().decode(errors="replace").strip().splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = errors[-1] if errors else (lines or ["no message"])[-1]
    return f"diverged: {said}" if code == 3 else f"exit code {code}: {said}"


class Stops:
    """Turns SIGTERM, Ctrl-C and a closed terminal into TerminatedError or KeyboardInterrupt; a block can delay them."""

    def __init__(self):
        self._held, self._came = False, 0

    def __call__(self, number: int, _) -> None:
        """Handles each of these signals."""
        self._came = number
        if not self._held:
            self._stop()

    def _stop(self) -> None:
        if self._came == signal.SIGINT:
            raise KeyboardInterrupt
        raise TerminatedError("stopped; the unfinished runs have saved; run the same command again to continue")

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Delays signals until the end of the block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._came:
            self._stop()


@contextlib.contextmanager
def stopping(running: list[Running]) -> Iterator[Stops]:
    """Turns signals that stop into errors inside the block, except those that are ignored (nohup).

    However the block ends, the runs in `running` save and stop.
    """
    stops = Stops()
    numbers = [number for number in STOPS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stops) for number in numbers}
    try:
        yield stops
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)  # one signal is enough: the runs are saving
        for one in running:
            one.process.terminate()
        for one in running:
            try:
                one.process.wait(KILL_AFTER)
            except subprocess.TimeoutExpired:
                one.process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)
