"""Runs what is missing of a table: each cell a process of its own, exactly the command that the table prints."""

import contextlib
import ctypes
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from itm_jax.errors import TerminatedError
from itm_jax.tables.board import Board
from itm_jax.tables.cell import Cell

POLL_SECONDS = 0.5
LOCK_SECONDS = 3.0
KILL_AFTER = 120.0  # seconds that a run has to save a checkpoint when it is told to stop


@dataclasses.dataclass
class Running:
    """A cell's process."""

    cell: Cell
    process: subprocess.Popen
    log: pathlib.Path
    began: float
    cores: frozenset[int]
    before: int  # bytes of the log that earlier attempts wrote


def run_cells(
    cells: Sequence[Cell], workdir: pathlib.Path, *, shard: tuple[int, int], jobs: int, minutes: float | None
) -> list[str]:
    """Runs this shard's unfinished cells, `jobs` at a time, and returns a line for each that failed.

    A cell that waits for others, an ensemble say, is run when they are finished. SIGTERM, Ctrl-C and a closed terminal are
    passed on, so that every run saves a checkpoint; the same command then continues.

    Args:
        cells: of the table.
        workdir: of the table; logs go to logs/.
        shard: (i, n), see `of_shard`.
        jobs: runs at a time; on a CPU each has its share of the cores.
        minutes: for the whole table, see `plan.estimate`.

    Raises:
        TerminatedError: SIGTERM arrived.
    """
    waiting, running, failed = [c for c in of_shard(cells, *shard) if c.state != "finished"], [], []
    free = shares_of_cores(jobs)
    with Board(waiting, minutes) as board, stopping(running):
        while waiting or running:
            for cell in [c for c in waiting if all(need.state == "finished" for need in c.needs)]:
                if free and cell.workdir not in [one.cell.workdir for one in running]:  # one process writes a workdir
                    waiting.remove(cell)
                    board.say(f"{cell.name}: {'continued' if cell.state == 'cut off' else 'started'}")
                    with deferred():
                        running.append(start(cell, workdir, free.pop()))
            if not running:
                for cell in waiting:
                    line = f"{cell.name}: waits for {', '.join(need.name for need in cell.needs)}"
                    if shard[1] > 1:  # another part's
                        board.say(line)
                    else:
                        failed.append(line)
                break
            time.sleep(POLL_SECONDS)
            for one in [r for r in running if r.process.poll() is not None]:
                running.remove(one)
                free.append(one.cores)
                seconds = time.monotonic() - one.began
                problem = problem_of(one)
                if (
                    "in use by" in problem and time.monotonic() - board.began < KILL_AFTER
                ):  # one stopped before is saving
                    waiting.insert(0, one.cell)
                    time.sleep(LOCK_SECONDS)
                    continue
                if problem:
                    failed.append(f"{one.cell.name}: {problem} (log: {one.log})")
                board.ended(one.cell, seconds, problem)
            board.show([(one.cell, last_line(one.log)) for one in running])
    return failed


def of_shard(cells: Sequence[Cell], i: int, n: int) -> list[Cell]:
    """The i-th of n parts: every n-th training, and what needs it first. Rows that are the same run are one."""
    shard_of: dict[pathlib.Path, int] = {}
    for cell in cells:
        if not cell.needs:
            shard_of.setdefault(cell.results, len(shard_of) % n)
    every = {cell.results: cell for cell in reversed(cells)}
    return [c for c in cells if every[c.results] is c and shard_of[(*c.needs, c)[0].results] == i]


def shares_of_cores(jobs: int) -> list[frozenset[int]]:
    """For each of the runs at a time the cores it may use; all of them where there is one."""
    if not hasattr(os, "sched_getaffinity"):  # not Linux
        return [frozenset()] * jobs
    cores = sorted(os.sched_getaffinity(0))
    return [frozenset(cores[k::jobs] or cores) for k in range(jobs)]


def start(cell: Cell, workdir: pathlib.Path, cores: frozenset[int]) -> Running:
    """Starts the command of a cell; what it prints goes to a log."""
    log = workdir / "logs" / f"{cell.workdir.name}{'-' + cell.results.stem if cell.row.of else ''}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    if (
        "JAX_COMPILATION_CACHE_DIR" not in os.environ
    ):  # seeds of a row, and rows that differ in data only, share programs
        environment |= {"JAX_COMPILATION_CACHE_DIR": str(workdir / "xla"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    before = log.stat().st_size if log.exists() else 0
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "itm_jax.main", *cell.arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches this process, which passes it on as SIGTERM
            preexec_fn=_begin,
        )
    if cores:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(process.pid, cores)
    return Running(cell, process, log, time.monotonic(), cores, before)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
STOPS = (signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def _begin() -> None:
    """In the child: signals that `deferred` holds back reach it; SIGTERM, after which it saves and ends, comes when this
    process is gone however it went (Linux).
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    if _LIBC:
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
        return ""
    with one.log.open("rb") as file:
        file.seek(one.before)
        lines = file.read().decode(errors="replace").strip().splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = errors[-1] if errors else (lines or ["no message"])[-1]
    return f"diverged: {said}" if code == 3 else f"exit code {code}: {said}"


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Signals that stop come after the block: no run is started that nobody knows of."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


@contextlib.contextmanager
def stopping(running: list[Running]) -> Iterator[None]:
    """While it holds, SIGTERM and a closed terminal end with TerminatedError; runs under way then save and stop, as they do
    on any other end.
    """

    def stop(*_):
        raise TerminatedError("stopped; runs under way have saved, the same command continues")

    before = {number: signal.signal(number, stop) for number in STOPS}
    try:
        yield
    finally:
        for number in STOPS:
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
