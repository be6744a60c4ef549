"""Runs cases of targets in this process, and prints a JSON line for each finding and each finished target.

PYTHONPATH=tests python -m fuzz.child --root=DIR --target=npy --executions=1000
"""

import argparse
import json
import mmap
import pathlib
import struct
import sys
import time

from fuzz import corpus, limits
from fuzz.cases import Folder, case, changed_files
from fuzz.targets import TARGETS


def main(argv=None):
    """The command line of `fuzz.run`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    parser.add_argument("--target", action="append", required=True)
    parser.add_argument("--engine", choices=("random", "hypothesis", "corpus"), default="random")
    parser.add_argument("--executions", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0)
    flags = parser.parse_args(argv)
    root = pathlib.Path(flags.root).resolve()
    limits.install(root)
    progress = Progress(root / "progress")
    for name in flags.target:
        target = TARGETS[name]
        folder = Folder(target, root / name)
        warm_up(name, folder)
        began, done = time.perf_counter(), 0

        def tell(changes, number, name=name, folder=folder):
            progress.now(number)
            found = folder.run(changes)
            if found:
                kind, signature, text = found
                say(target=name, case=number, kind=kind, signature=signature, text=text)

        with limits.memory_limit(target.megabytes):
            if flags.engine == "corpus":
                for finding, changes in corpus.findings(name):
                    tell(changes, finding)
                    done += 1
            elif flags.engine == "hypothesis":
                done = by_hypothesis(target, flags.executions, flags.seed, tell)
            else:
                for number in range(flags.start, flags.executions):
                    tell(case(target, flags.seed, number), number)
                    done += 1
                    if time.perf_counter() - began > flags.seconds:
                        break
        say(target=name, executions=done, seconds=time.perf_counter() - began)
        progress.now(-1)


def warm_up(name, folder):
    """Reads the seed itself, which must be fine. The first time brings the imports, which look around."""
    seed = {x: folder.target.files[x] for x in folder.target.names}
    folder.run(seed, seconds=60)
    if found := folder.run(seed, seconds=60, intact=True):
        say(target=name, case=-1, kind="seed", signature=f"seed {found[1]}", text=found[2])


def by_hypothesis(target, executions, seed, tell):
    """Lets Hypothesis draw the changes."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as with_seed
    from hypothesis import strategies as st

    count = 0

    @with_seed(seed)
    @settings(
        max_examples=executions, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.randoms(use_true_random=False))
    def run(rng):
        nonlocal count
        count += 1
        tell(changed_files(target, rng), count)

    run()
    return count


class Progress:
    """A file with the number of the present case, which the parent can read after a crash."""

    def __init__(self, path):
        """Makes the file."""
        path.write_bytes(struct.pack("<q", -1))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)

    def now(self, number):
        """Writes the number of the case that begins."""
        self._map[:] = struct.pack("<q", number if isinstance(number, int) else -2)


def say(**values):
    """Prints a line for the parent."""
    sys.__stdout__.write("\x1e" + json.dumps(values) + "\n")
    sys.__stdout__.flush()


if __name__ == "__main__":
    main()
