"""A long run of small steps, with evaluations and checkpoints: its memory, open files and threads must stay flat.

    PYTHONPATH=.:tests python -m faults.long_run [--steps=10000] [--bucket]

It prints a table of what the process had at ten steps of the run, and the seconds per step between them. With `--bucket`
the workdir lies in a bucket of the local stand-in for S3 (`pip install -e '.[buckets,emulators]'`).
"""

import argparse
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from support.bucket import empty_bucket
from support.paths import ROOT
from support.runs import RUN_FILE, environment

ROWS = 10
EPOCH = 12  # steps of RUN_FILE
EVERY = 96  # steps between two evaluations, and between two checkpoints


def of_process(pid: int) -> tuple[float, float, int, int]:
    """Resident and anonymous memory in MB, open files and threads of a process."""
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    memory = [int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")]
    return memory[0], memory[1], len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir())), int(fields["Threads"])


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
    early, late = rows[2], rows[-1]
    grown = late[1] > 1.02 * early[1] or late[2] > early[2]
    print(
        f"from the third row to the last: anonymous memory {late[1] / early[1] - 1:+.1%}, files {late[2] - early[2]:+d}"
    )
    return int(grown)


def watch(process: subprocess.Popen, folder: pathlib.Path, steps: int) -> list[tuple[float, float, int, int]]:
    """Prints a row at each tenth of the run, and returns the rows; a row of open files is the median of nine looks."""
    print("| step | memory, MB | anonymous, MB | open files | threads | seconds per step |\n|---|---|---|---|---|---|")
    rows: list[tuple[float, float, int, int]] = []
    before, began = 0, time.monotonic()
    for k in range(1, ROWS + 1):
        while process.poll() is None and last_step(folder) < steps * k // ROWS - (k == ROWS):
            time.sleep(0.02)
        step, now = last_step(folder), time.monotonic()
        if process.poll() is not None and k < ROWS:
            break
        looks = []
        for _ in range(9):
            with contextlib.suppress(OSError):
                looks.append(of_process(process.pid))
            time.sleep(0.02)
        if not looks:
            break
        rows.append(sorted(looks, key=lambda look: look[2])[len(looks) // 2])
        seconds = f"{(now - began) / (step - before):.4f}" if k > 1 else ""  # the first row has the start in it
        print("| {} | {:.0f} | {:.0f} | {} | {} | {} |".format(f"{step:,}", *rows[-1], seconds), flush=True)
        before, began = step, now
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
