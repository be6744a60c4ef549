"""A long run of small steps, with evaluations and checkpoints: its memory, open files and threads must stay flat.

    PYTHONPATH=.:tests python -m faults.long_run [--steps=10000] [--bucket]

It prints a table of what the process had at ten steps of the run, and the seconds per step between them. With `--bucket`
the workdir lies in a bucket of the local stand-in for S3 (`pip install -e '.[buckets,emulators]'`).
"""

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from support.bucket import empty_bucket
from support.paths import ROOT
from support.runs import RUN_FILE, environment

ROWS = 10
EPOCH = 60  # steps of RUN_FILE
EVERY = 120  # steps between two evaluations, and between two checkpoints
LOOKS = 25  # at the process, for a row


class Look(NamedTuple):
    """What a process has: resident and anonymous memory in MB, open files, threads, and CPU seconds until now.

    `step` and `wall` are the step of the run and the time in seconds at which it had this.
    """

    memory: float
    anonymous: float
    files: int
    threads: int
    cpu: float
    step: int = 0
    wall: float = 0.0


def look_at(pid: int) -> Look:
    """Looks at a process."""
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    memory = [int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")]
    ticks = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    cpu = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    files = len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))
    return Look(memory[0], memory[1], files, int(fields["Threads"]), cpu)


def last_step(folder: pathlib.Path) -> int:
    """The last step in the metrics of the run below a folder; 0 where there is none yet."""
    with contextlib.suppress(StopIteration, OSError):
        path = next(folder.rglob("metrics.jsonl"))
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            lines = file.read().split(b"\n")[:-1]
        for line in reversed(lines):
            with contextlib.suppress(ValueError):
                return json.loads(line)["step"]
    return 0


def main(argv: list[str]) -> int:
    """Prints the table; returns 1 where the run failed, or memory or files grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--bucket", action="store_true")
    flags = parser.parse_args(argv)
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workdir = f"{stack.enter_context(empty_bucket('long-run'))}/run" if flags.bucket else str(folder / "run")
        config = folder / "config.py"
        config.write_text(RUN_FILE.format(path=str(ROOT / "configs" / "quickstart.py")))
        line = [sys.executable, "-m", "itm_jax.main", "--mode=train", f"--config={config}", f"--workdir={workdir}"]
        line += [f"--config.train.epochs={flags.steps // EPOCH}", f"--config.train.eval_every_epochs={EVERY // EPOCH}"]
        line += [f"--config.train.checkpoint_every={EVERY}", f"--config.data.cache_dir={folder / 'cache'}"]
        process = subprocess.Popen(line, env=environment(), cwd=ROOT, stderr=subprocess.DEVNULL)
        stack.callback(process.kill)
        rows = watch(process, folder, flags.steps // EPOCH * EPOCH)
        if process.wait():
            print(f"exit code {process.returncode}")
            return 1
    if len(rows) < ROWS:
        print("the run ended before ten looks; take more --steps")
        return 1
    early, late = rows[2], rows[-1]
    for name in ("cpu", "wall"):
        seconds = [(getattr(b, name) - getattr(a, name)) / (b.step - a.step) for a, b in itertools.pairwise(rows)]
        print(f"{name} seconds per step, the median of the rows: {statistics.median(seconds):.4f}")
    more = late.anonymous / early.anonymous - 1
    print(f"from the third row to the last: anonymous memory {more:+.1%}, open files {late.files - early.files:+d}")
    return int(more > 0.05 or late.files > early.files)


def watch(process: subprocess.Popen, folder: pathlib.Path, steps: int) -> list[Look]:
    """Prints a row at each tenth of the run, and returns the rows: of several looks, the least, without a save."""
    print("| step | memory, MB | anonymous, MB | open files | threads | CPU seconds per step | seconds per step |")
    print("|---|---|---|---|---|---|---|")
    rows: list[Look] = []
    for k in range(1, ROWS + 1):
        while process.poll() is None and last_step(folder) < steps * k // ROWS - (k == ROWS):
            time.sleep(0.02)
        step, now = last_step(folder), time.monotonic()
        looks = []
        for _ in range(LOOKS):
            with contextlib.suppress(OSError, ValueError, KeyError):  # it may have ended
                looks.append(look_at(process.pid))
            time.sleep(0.02)
        if not looks:
            break
        least = Look(*(min(values) for values in zip(*looks, strict=True)))._replace(step=step, wall=now)
        cells = ["", ""]  # the first row has the start in it
        if rows:
            before = rows[-1]
            cells = [f"{s / (step - before.step):.4f}" for s in (least.cpu - before.cpu, now - before.wall)]
        what = f"{step:,} | {least.memory:.0f} | {least.anonymous:.0f} | {least.files} | {least.threads}"
        print(f"| {what} | {' | '.join(cells)} |", flush=True)
        rows.append(least)
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
