"""Makes the input of a finding as small as it goes, and keeps it in the corpus.

PYTHONPATH=tests python -m fuzz.minimise --found=found.json     # what `fuzz.run --out=` wrote
PYTHONPATH=tests python -m fuzz.minimise --target=images --case=77 --seed=1
"""

import argparse
import json
import pathlib
import re
import tempfile
import time

from fuzz import corpus, limits
from fuzz.cases import Folder, case
from fuzz.targets import TARGETS

SECONDS = 20  # of shrinking one input


def main():
    """Keeps one input of each signature."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--found", type=pathlib.Path)
    parser.add_argument("--target")
    parser.add_argument("--case", type=int)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    if flags.found:
        found = [
            f for f in json.loads(flags.found.read_text())["findings"] if f["engine"] == "random" and f["case"] >= 0
        ]
        first = {(f["target"], f["signature"]): (f["target"], f["case"], f["seed"]) for f in reversed(found)}
        cases = {*first.values()}
    else:
        cases = {(flags.target, flags.case, flags.seed)}
    with tempfile.TemporaryDirectory(prefix="itm_jax_fuzz_") as root:
        limits.install(root)
        folders = {}
        for target, number, seed in sorted(cases):
            folder = folders.setdefault(target, Folder(TARGETS[target], pathlib.Path(root) / target))
            folder.run({x: TARGETS[target].files[x] for x in TARGETS[target].names}, seconds=60)
            keep(target, folder, case(TARGETS[target], seed, number))


def keep(target, folder, changes):
    """Shrinks and keeps one input, if it is a finding."""
    with limits.memory_limit(TARGETS[target].megabytes):
        found = folder.run(changes)
        if not found:
            print(f"{target}: no finding")
            return
        signature = found[1]
        changes = shrunk(folder, changes, signature)
    name = re.sub(r"[^\w.-]+", "-", signature.split("/itm_jax")[-1])[:80].strip("-")
    corpus.write(target, name, changes)
    print(f"{target}/{name}: {', '.join(f'{n} {len(c):,} bytes' for n, c in changes.items())}", flush=True)


def shrunk(folder, changes, signature):
    """Returns smaller files with the same signature."""
    end = time.monotonic() + SECONDS

    def same(candidate):
        found = folder.run(candidate)
        return bool(found) and found[1] == signature

    for name in list(changes):
        if len(changes) > 1 and same(rest := {n: c for n, c in changes.items() if n != name}):
            changes = rest
    for name in changes:
        size = max(1, len(changes[name]) // 2)
        while size and time.monotonic() < end:
            at, smaller = 0, False
            while at < len(changes[name]) and time.monotonic() < end:
                candidate = changes | {name: changes[name][:at] + changes[name][at + size :]}
                if same(candidate):
                    changes, smaller = candidate, True
                else:
                    at += size
            size = size if smaller and size > 1 else size // 2
    return changes


if __name__ == "__main__":
    main()
