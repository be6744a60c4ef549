"""Reads hostile files with every reader, in child processes under limits, and lists what went wrong.

    PYTHONPATH=tests nice -n 10 python -m fuzz.run --executions=5000          # all targets
    PYTHONPATH=tests nice -n 10 python -m fuzz.run --target=images --engine=hypothesis --out=found.json

A child that a signal ends, or that does not answer any more, is a finding; the next child goes on after that case.
"""

import argparse
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

QUIET = {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
QUIET |= {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "RUST_BACKTRACE": "0"}
PLACES = ("MPLCONFIGDIR", "XDG_CACHE_HOME", "HF_HOME", "JAX_COMPILATION_CACHE_DIR")  # where children may write
MEMORY = "/dev/shm"  # files here are written several times as fast as on a disk
GRACE = 40  # seconds in which a case of a child must end, and the imports too


def run(targets, *, engine="random", executions=100, seed=0, seconds=1e9):
    """Returns (findings, totals), lists of dictionaries.

    A finding has the engine, the seed and the number of its case, which together give the same case again.
    """
    findings, totals = [], []
    with tempfile.TemporaryDirectory(
        prefix="itm_jax_fuzz_", dir=MEMORY if os.access(MEMORY, os.W_OK) else None
    ) as root:
        left, start = list(targets), 0
        while left:
            flags = [f"--root={root}", f"--engine={engine}", f"--executions={executions}", f"--seed={seed}"]
            flags += [f"--start={start}", f"--seconds={seconds}", *(f"--target={name}" for name in left)]
            said, errors, ended, number = _child(flags, pathlib.Path(root) / "progress")
            for line in said:
                (totals if "executions" in line else findings).append(line)
            done = {line["target"] for line in said if "executions" in line}
            left = [name for name in left if name not in done]
            if ended == 0:
                break
            if left:
                kind = "hang" if ended is None else "crash"
                what = "no answer" if ended is None else _name(ended)
                findings.append({"target": left[0], "case": number, "kind": kind, "signature": what, "text": errors})
                totals.append({"target": left[0], "executions": max(0, number - start + 1), "seconds": 0.0})
                start = number + 1
                if number < 0 or engine != "random" or start >= executions:
                    left, start = left[1:], 0
    return [{**finding, "engine": engine, "seed": seed} for finding in findings], totals


def _name(code):
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _child(flags, progress):
    """Runs a child; returns its lines, the end of its stderr, its exit code (None: it hung), and its last case."""
    here = pathlib.Path(__file__).resolve().parents[1]
    path = os.pathsep.join(x for x in (str(here.parent), str(here), os.environ.get("PYTHONPATH", "")) if x)
    child = subprocess.Popen(
        [sys.executable, "-m", "fuzz.child", *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **QUIET, **dict.fromkeys(PLACES, str(progress.parent / "home")), "PYTHONPATH": path}, cwd=here.parent, encoding="utf-8", errors="replace",
    )  # fmt: skip
    said, errors = [], []
    readers = [
        threading.Thread(target=lambda: said.extend(json.loads(x[1:]) for x in child.stdout if x.startswith("\x1e"))),
        threading.Thread(target=lambda: errors.extend(child.stderr.readlines()[-20:])),
    ]
    for reader in readers:
        reader.start()
    last, since, hung = None, time.monotonic(), False
    while child.poll() is None:
        time.sleep(0.05)
        now = (progress.read_bytes() if progress.exists() else b"", len(said))
        if now != last:
            last, since = now, time.monotonic()
        if time.monotonic() - since > GRACE:
            child.kill()
            hung = True
    for reader in readers:
        reader.join()
    child.stdout.close()
    child.stderr.close()
    number = struct.unpack("<q", progress.read_bytes())[0] if progress.exists() else -1
    return said, "".join(errors)[-3000:], None if hung else child.returncode, number


def main():
    """Prints a table of the targets, and the findings, one of each signature."""
    from fuzz.targets import HERE, TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", action="append", choices=list(TARGETS))
    parser.add_argument("--engine", choices=("random", "hypothesis", "corpus"), default="random")
    parser.add_argument("--executions", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1e9, help="of each target, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, help="a JSON file of all findings and totals")
    flags = parser.parse_args()
    names = flags.target or HERE
    findings, totals = [], []
    for name in names:
        count = max(1, int(flags.executions * TARGETS[name].weight))
        found, total = run([name], engine=flags.engine, executions=count, seed=flags.seed, seconds=flags.seconds)
        findings, totals = findings + found, totals + total
        print(
            f"{name}: {sum(t['executions'] for t in total):,} executions, {sum(t['seconds'] for t in total):.1f} s",
            flush=True,
        )
        shown = {}
        for f in found:
            shown.setdefault(f["signature"], []).append(f)
        for signature, same in shown.items():
            print(f"  {len(same)} x {signature} (--case={same[0]['case']} --seed={flags.seed})", flush=True)
    if flags.out:
        flags.out.write_text(json.dumps({"findings": findings, "totals": totals}, indent=1))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
