"""Runs what is missing of a table: each cell a process of its own, exactly the command that the table prints."""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from itm_jax.errors import TerminatedError
from itm_jax.tables.plan import Cell, estimate

POLL_SECONDS = 0.5
KILL_AFTER = 120.0  # seconds that a run has to save a checkpoint when it is told to stop


@dataclasses.dataclass
class Running:
    """A cell's process."""

    cell: Cell
    process: subprocess.Popen
    log: pathlib.Path
    began: float
    cores: frozenset[int]


def run_cells(
    cells: Sequence[Cell], workdir: pathlib.Path, *, shard: tuple[int, int], jobs: int, minutes: float | None
) -> list[str]:
    """Runs this shard's unfinished cells, `jobs` at a time, and returns a line for each that failed.

    A cell that waits for others, an ensemble say, is run when they are finished. SIGTERM and Ctrl-C are passed on, so that
    every run saves a checkpoint; the same command then continues.

    Args:
        cells: of the table.
        workdir: of the table; logs go to logs/.
        shard: (i, n): cells whose number among the trained ones is i modulo n, and those that need only such.
        jobs: runs at a time; on a CPU each has its share of the cores.
        minutes: `plan.estimate`'s.

    Raises:
        TerminatedError: SIGTERM arrived.
    """
    mine = [cell for cell in of_shard(cells, *shard) if cell.state != "finished"]
    waiting, running, failed = list(mine), [], []
    free = shares_of_cores(jobs)
    with Board(cells, len(mine), minutes) as board, stopping(running):
        while waiting or running:
            ready = [c for c in waiting if all(path.exists() for path in c.needs)]
            while ready and free:
                cell = ready.pop(0)
                waiting.remove(cell)
                running.append(start(cell, workdir, free.pop()))
                board.say(f"{cell.name}: {'continued' if cell.state == 'cut off' else 'started'}")
            if not running:
                failed += [f"{c.name}: waits for {', '.join(p.parent.name for p in c.needs)}" for c in waiting]
                break
            time.sleep(POLL_SECONDS)
            for one in [r for r in running if r.process.poll() is not None]:
                running.remove(one)
                free.append(one.cores)
                seconds = time.monotonic() - one.began
                problem = problem_of(one)
                if problem:
                    failed.append(f"{one.cell.name}: {problem} (log: {one.log})")
                board.ended(one.cell, seconds, problem)
            board.show(running)
    return failed


def of_shard(cells: Sequence[Cell], i: int, n: int) -> list[Cell]:
    """The i-th of n parts: every n-th training, and what needs only trainings of this part or finished ones."""
    runs = list(dict.fromkeys(cell.results for cell in cells if not cell.needs))
    own = {path for k, path in enumerate(runs) if k % n == i}
    out: dict[pathlib.Path, Cell] = {}
    for cell in cells:
        reachable = cell.results in own if not cell.needs else all(p in own or p.exists() for p in cell.needs)
        if reachable:
            out.setdefault(cell.results, cell)  # rows that are the same run are run once
    return list(out.values())


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
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "itm_jax.main", *cell.arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches this process, which passes it on as SIGTERM
        )
    if cores:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(process.pid, cores)
    return Running(cell, process, log, time.monotonic(), cores)


def last_line(log: pathlib.Path) -> str:
    """The last line of a log that says something."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def problem_of(one: Running) -> str:
    """What went wrong with an ended run; empty where nothing did."""
    if one.process.returncode == 0:
        return ""
    if one.process.returncode == 3:
        return f"diverged: {last_line(one.log).removeprefix('error: ')}"
    return f"exit code {one.process.returncode}: {last_line(one.log).removeprefix('error: ')}"


@contextlib.contextmanager
def stopping(running: list[Running]) -> Iterator[None]:
    """While it holds, SIGTERM ends with TerminatedError; however it ends, runs under way are told to save and stop."""

    def stop(*_):
        raise TerminatedError("stopped by SIGTERM; the same command continues")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: runs are saving
        for one in running:
            one.process.terminate()
        for one in running:
            try:
                one.process.wait(KILL_AFTER)
            except subprocess.TimeoutExpired:
                one.process.kill()
        signal.signal(signal.SIGTERM, before)


class Board:
    """Progress over the runs of a table: a live display on a terminal, lines elsewhere, on stderr."""

    def __init__(self, cells: Sequence[Cell], total: int, minutes: float | None):
        self._cells, self._minutes = cells, minutes
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("runs"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total)
        self._left = ""
        self._done, self._total, self._wall, self._began = 0, total, [], time.monotonic()

    def __enter__(self) -> "Board":
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def say(self, message: str) -> None:
        """A line."""
        if self._console.is_terminal:
            self._console.print(message, markup=False)
        else:
            print(message, file=sys.stderr, flush=True)

    def ended(self, cell: Cell, seconds: float, problem: str) -> None:
        """A cell has ended."""
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        left = (time.monotonic() - self._began) / self._done * (self._total - self._done)
        self._left = f", {duration(left)} left" if self._done < self._total else ""
        rsum = "" if problem else f" rSum {cell.content()['protocols']['full']['rsum']:.1f}"
        self.say(
            f"[{self._done}/{self._total}] {cell.name}:{' ' + problem if problem else rsum} ({duration(seconds)}{self._left})"
        )

    def show(self, running: Sequence[Running]) -> None:
        """What is under way."""
        if self._console.is_terminal:
            steps = (re.findall(r"step \d+/\d+", last_line(one.log)) for one in running)
            doing = "; ".join(f"{r.cell.name} {s[-1] if s else ''}" for r, s in zip(running, steps, strict=True))
            self._bar.update(self._task, description=doing + self._left)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plan_lines(cells: Sequence[Cell], minutes: float | None) -> Iterator[str]:
    """The plan as lines: every run, its state and estimated time; the last one sums up."""
    left = estimate(cells, minutes)
    for cell in cells:
        seconds = left.get(cell.name)
        time_left = (
            "" if cell.state == "finished" else f"  about {duration(seconds)}" if seconds else "  time not known yet"
        )
        yield f"{cell.state:9}  {cell.name}{time_left}"
    known = [s for s in left.values() if s]
    total = f"about {duration(sum(known))}" if len(known) == len(left) else "time not known until a run is finished"
    done = sum(cell.state == "finished" for cell in cells)
    yield f"{len(cells)} runs: {done} finished, {len(cells) - done} to do" + (
        f", {total} on this machine" if left else ""
    )
