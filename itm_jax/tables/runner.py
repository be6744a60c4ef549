"""Runs the unfinished cells of a table, each in a process of its own."""

import pathlib
import time
from collections.abc import Sequence

from itm_jax.tables.board import Board, time_left
from itm_jax.tables.cell import Cell
from itm_jax.tables.process import Running, last_line, problem_of, shares, start, stopping

POLL_SECONDS = 0.5
LOCK_SECONDS = 10.0  # the wait before a workdir that another process writes is tried again; doubled each time
LONGEST_LOCK_SECONDS = 300.0


def run_cells(
    cells: Sequence[Cell], workdir: pathlib.Path, *, shard: tuple[int, int], jobs: int, minutes: float | int | None
) -> dict[str, str]:
    """Runs this shard's unfinished cells, `jobs` at a time, and returns the problem of each that failed, by its name.

    A cell that needs others, such as an ensemble, runs when they are finished. SIGTERM, Ctrl-C and a closed terminal
    are passed on, so that every run saves a checkpoint; the same command then continues.

    Args:
        cells: the cells of the table.
        workdir: the directory of the table; logs go to logs/.
        shard: (i, n), see `of_shard`.
        jobs: the number of parallel runs; each has its share of the cores and GPUs.
        minutes: for the whole table, see `plan.estimate`.

    Raises:
        TerminatedError: SIGTERM arrived.
        InputError: there are more parallel runs than accelerators.
    """
    part = of_shard(cells, *shard)
    waiting = [c for c in part if c.state != "finished"]
    running: list[Running] = []
    failed: dict[str, str] = {}
    # Workdirs that another process writes: the time of the next attempt, and the wait before it.
    locked: dict[pathlib.Path, tuple[float, float]] = {}
    free = shares(jobs)
    with Board(len(waiting), time_left(cells, part, minutes, jobs)) as board, stopping(running) as stops:
        while waiting or running:
            for cell in [c for c in waiting if c.state == "finished"]:  # another process finished it
                waiting.remove(cell)
                locked.pop(cell.workdir, None)
                board.ended(cell, 0.0, "")
            for cell in [c for c in waiting if all(need.state == "finished" for need in c.needs)]:
                # Only one process at a time may write a workdir.
                if not free or cell.workdir in [one.cell.workdir for one in running]:
                    continue
                if cell.workdir in locked and time.monotonic() < locked[cell.workdir][0]:
                    continue
                waiting.remove(cell)
                if cell.workdir not in locked:
                    board.say(f"{cell.name}: {'continued' if cell.state == 'cut off' else 'started'}")
                with stops.deferred():  # a run that is started must get into `running`
                    running.append(start(cell, workdir, free.pop()))
            if not running and not any(
                cell.workdir in locked and all(need.state == "finished" for need in cell.needs) for cell in waiting
            ):
                for cell in waiting:
                    reason = f"waits for {', '.join(need.name for need in cell.needs)}"
                    if shard[1] > 1:  # other shards run what it waits for
                        board.say(f"{cell.name}: {reason}")
                    else:
                        failed[cell.name] = reason
                break
            time.sleep(POLL_SECONDS)
            for one in [r for r in running if r.process.poll() is not None]:
                running.remove(one)
                free.append(one.share)
                problem = problem_of(one)
                if f"{one.cell.workdir}: in use by" in problem:
                    _, pause = locked.get(one.cell.workdir, (0.0, LOCK_SECONDS / 2))
                    pause = min(2 * pause, LONGEST_LOCK_SECONDS)
                    if one.cell.workdir not in locked:
                        board.say(f"{one.cell.name}: waiting: {problem}")
                    locked[one.cell.workdir] = (time.monotonic() + pause, pause)
                    waiting.insert(0, one.cell)
                    continue
                if problem:
                    failed[one.cell.name] = problem
                locked.pop(one.cell.workdir, None)
                board.ended(one.cell, time.monotonic() - one.began, problem)
            board.show([(one.cell, last_line(one.log)) for one in running])
    return failed


def of_shard(cells: Sequence[Cell], i: int, n: int) -> list[Cell]:
    """Returns the i-th of n parts: every n-th trained run, and the cells whose first need is one of them.

    Rows that are the same run count once.
    """
    shard_of: dict[pathlib.Path, int] = {}
    for cell in cells:
        if not cell.needs:
            shard_of.setdefault(cell.results, len(shard_of) % n)
    every = {cell.results: cell for cell in reversed(cells)}
    return [c for c in cells if every[c.results] is c and shard_of[(*c.needs, c)[0].results] == i]
