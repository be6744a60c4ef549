"""Tries every fault, and prints a table: what was done, what it printed, and whether the run went on as before.

    PYTHONPATH=.:tests python -m faults.run [NAME...]

Faults of several processes are compared with an undisturbed run of two processes. Faults of disks mount a small one,
which needs root; they are left out without it.
"""

import os
import pathlib
import re
import sys
import tempfile

from support.bucket import empty_bucket

from faults import buckets, machine, several, storage
from faults.trial import Trial
from itm_jax.buckets.workdir import fetched

ROOT_ONLY = {storage.disk_fills, storage.disk_is_full, storage.read_only}
GROUPS = {
    "machine": machine.FAULTS,
    "storage": storage.FAULTS,
    "several": several.FAULTS,
    "bucket": buckets.FAULTS,
}


def undisturbed(folder: pathlib.Path, group: str):
    """The outcome of a run that nothing disturbs."""
    trial = Trial(folder)
    if group == "several":
        processes = several._pair(trial)
        ended = [trial.ended(process) for process in processes]
        assert [code for code, _ in ended] == [0, 0], ended
    else:
        code, line = trial.finish()
        assert code == 0, line
    return trial.outcome()


def tried(fault, group: str, folder: pathlib.Path, expected) -> tuple[object, str, str]:
    """(exit code, last line, what became of the run) of one fault."""
    trial = Trial(folder)
    code, line = fault(trial)
    if group == "several":
        again = [trial.ended(process) for process in several._pair(trial)]
        code_again, line_again = again[0]
    else:
        code_again, line_again = trial.finish()
    if code_again:
        return code, line, f"refused: {line_again}"
    same = trial.outcome() == expected
    return code, line, "the same numbers" if same else "OTHER NUMBERS"


def in_a_bucket(fault, folder: pathlib.Path, expected) -> tuple[object, str, str]:
    """The same for a fault of a workdir in a bucket."""
    trial = Trial(folder)
    with empty_bucket("faults") as url:
        place = buckets.Place(trial, f"{url}/{fault.__name__}")
        code, line = fault(place)
        code_again, line_again = trial.ended(place.start())
        if code_again:
            return code, line, f"refused: {line_again}"
        same = trial.outcome(fetched(place.bucket.url, str(folder / "read"))) == expected
    return code, line, "the same numbers" if same else "OTHER NUMBERS"


def main(names: list[str]) -> int:
    """Prints the table; returns 1 where a run did not go on with the same numbers, or did not end."""
    bad = 0
    print("| fault | exit code | last line | the same command again |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        root = pathlib.Path(place)
        for group, faults in GROUPS.items():
            chosen = [f for f in faults if not names or f.__name__ in names]
            if not chosen:
                continue
            expected = undisturbed(root / f"{group}-undisturbed", group)
            for fault in chosen:
                if fault in ROOT_ONLY and os.geteuid():
                    continue
                folder = root / fault.__name__
                try:
                    if group == "bucket":
                        code, line, kept = in_a_bucket(fault, folder, expected)
                    else:
                        code, line, kept = tried(fault, group, folder, expected)
                except AssertionError as e:
                    code, line, kept = "?", str(e).strip().splitlines()[-1], "FAILED"
                bad += kept in ("OTHER NUMBERS", "FAILED") or code == "hangs"
                clean = [re.sub(r"\|", "/", text.replace(str(folder), "DIR"))[:220] for text in (line, kept)]
                print(f"| {fault.__doc__} | {code} | {clean[0]} | {clean[1]} |", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
