"""One run as a process: exactly the command that the table prints, its part of the machine, and how it is stopped."""

import contextlib
import ctypes
import dataclasses
import glob
import hashlib
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec

from itm_jax.devices import distributed
from itm_jax.errors import InputError, TerminatedError
from itm_jax.tables.cell import Cell

KILL_AFTER = 120.0  # seconds that a run has to save a checkpoint when it is told to stop


@dataclasses.dataclass(frozen=True)
class Share:
    """What one of the runs at a time may use of this machine: cores, and GPUs; all where empty."""

    cores: frozenset[int] = frozenset()
    gpus: tuple[str, ...] = ()


@dataclasses.dataclass
class Running:
    """A cell's process."""

    cell: Cell
    process: subprocess.Popen
    log: pathlib.Path
    began: float
    share: Share
    before: int  # bytes of the log that earlier attempts wrote


def shares(jobs: int) -> list[Share]:
    """For each of the runs at a time its part of the cores, and of the GPUs where there are any.

    Raises:
        InputError: there are fewer accelerators than runs at a time.
    """
    gpus = visible_gpus()
    if jobs > 1 and (distributed.on_tpu() or 0 < len(gpus) < jobs):
        raise InputError(
            f"--jobs={jobs}: {'a TPU takes one' if not gpus else f'{len(gpus)} GPUs take so many'} at a time"
        )
    each = len(gpus) // jobs  # the same number for all, for the batch is divided by it
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []  # Linux
    of_gpus = [tuple(gpus[k * each : (k + 1) * each]) if jobs > 1 else () for k in range(jobs)]
    return [Share(frozenset(cores[k::jobs] or cores), of_gpus[k]) for k in range(jobs)]


def visible_gpus() -> list[str]:
    """The NVIDIA GPUs that a run would see, as CUDA_VISIBLE_DEVICES names them."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in named.split(",") if gpu and gpu != "-1"]
    if not any(find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):  # JAX would not see them
        return []
    return [str(k) for k in range(len(glob.glob("/dev/nvidia[0-9]*")))]


def machine() -> str:
    """What tells machines apart whose compiled programs must not be mixed: 8 hexadecimal digits."""
    about = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        about += "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return hashlib.sha256(about.encode()).hexdigest()[:8]


def start(cell: Cell, workdir: pathlib.Path, share: Share) -> Running:
    """Starts the command of a cell; what it prints goes to a log.

    Raises:
        InputError: the log cannot be written.
    """
    log = workdir / "logs" / f"{cell.workdir.name}{'-' + cell.results.stem if cell.row.of else ''}.log"
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # Seeds of a row, and rows that differ in data only, share programs.
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(workdir / "xla" / machine()))
    if share.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(share.gpus)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        before = log.stat().st_size if log.exists() else 0
        out = log.open("ab")
    except OSError as e:
        raise InputError(f"{log}: cannot be written ({e.strerror}); take another --workdir") from None
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
    """In the child: SIGTERM, after which it saves and ends, comes when this process is gone however it went (Linux)."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def last_line(log: pathlib.Path) -> str:
    """The last line of a log that says something."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def problem_of(one: Running) -> str:
    """What went wrong with an ended run: its error line; empty where nothing did.

    Another process, one that was stopped a moment ago, may still write to the same log.
    """
    code = one.process.returncode
    if code == 0:
        return "" if one.cell.state == "finished" else f"ended without {one.cell.results.name}"
    with one.log.open("rb") as file:
        file.seek(one.before)
        lines = file.read().decode(errors="replace").strip().splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = errors[-1] if errors else (lines or ["no message"])[-1]
    return f"diverged: {said}" if code == 3 else f"exit code {code}: {said}"


class Stops:
    """What SIGTERM, Ctrl-C and a closed terminal do: TerminatedError or KeyboardInterrupt, which a block may put off."""

    def __init__(self):
        self._held, self._came = False, 0

    def __call__(self, number: int, _) -> None:
        """The handler of all of them."""
        self._came = number
        if not self._held:
            self._stop()

    def _stop(self) -> None:
        if self._came == signal.SIGINT:
            raise KeyboardInterrupt
        raise TerminatedError("stopped; runs under way have saved, the same command continues")

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """A signal comes after the block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._came:
            self._stop()


@contextlib.contextmanager
def stopping(running: list[Running]) -> Iterator[Stops]:
    """While it holds, signals that stop are errors, except those that were ignored (nohup); on any end the runs under way
    save and stop.
    """
    stops = Stops()
    numbers = [number for number in STOPS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stops) for number in numbers}
    try:
        yield stops
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)  # once is enough: runs are saving
        for one in running:
            one.process.terminate()
        for one in running:
            try:
                one.process.wait(KILL_AFTER)
            except subprocess.TimeoutExpired:
                one.process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)
