"""Tries every fault, and prints a table: what was done, what it printed, and whether the run went on as before.

    PYTHONPATH=.:tests python -m faults.run [NAME...]

A name is that of a fault or of a group: machine, storage, several, bucket. Without names all are tried. Faults of several
processes are compared with an undisturbed run of two processes. Faults of disks mount a small one, which needs root; those
of a bucket need `pip install -e '.[buckets,emulators]'`. Without that they are left out.
"""

import contextlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from support.bucket import empty_bucket
from support.paths import ROOT

from faults import buckets, machine, several, storage
from faults.trial import KILLED, Ended, Fault, Trial

GROUPS: dict[str, list[Fault]] = {
    "machine": machine.FAULTS,
    "storage": storage.FAULTS,
    "several": several.FAULTS,
    "bucket": buckets.FAULTS,
}
LONGEST = 240  # characters of a line in the table
ENDS = ("evaluating step", "nothing is left to train")  # one of them stands near the end of a run that came through


class Row(NamedTuple):
    """A row of the table."""

    what: str
    code: int | str
    line: str
    kept: str


def why_left_out(fault: Fault, group: str) -> str:
    """What is missing here to try a fault; empty where nothing is."""
    if fault.root and os.geteuid():
        return "needs root, to mount a small disk"
    if group == "bucket" and not all(map(importlib.util.find_spec, ("obstore", "moto", "flask"))):
        return "needs pip install -e '.[buckets,emulators]'"
    return ""


@contextlib.contextmanager
def place_of(group: str, name: str, folder: pathlib.Path) -> Iterator[Trial]:
    """A run of the kind that a group of faults disturbs."""
    with contextlib.ExitStack() as stack:
        if group == "bucket":
            url = stack.enter_context(empty_bucket("faults"))
            yield stack.enter_context(buckets.InBucket(folder, f"{url}/{name}"))
        else:
            yield stack.enter_context(several.Pair(folder) if group == "several" else Trial(folder))


def undisturbed(group: str, folder: pathlib.Path) -> dict[str, Any]:
    """The outcome of a run that nothing disturbs."""
    kind = "several" if group == "several" else "machine"
    with place_of(kind, "undisturbed", folder) as place:
        check_that_it_came_through(place.again())
        return place.outcome()


def check_that_it_came_through(processes: Sequence[Ended]) -> None:
    """All processes ended with 0, and the first one said what the end of a run is."""
    assert all(ended.code == 0 for ended in processes), processes
    first = processes[0]
    assert any(end in first.text for end in ENDS), first
    assert "error: " not in first.text, first


def check_harm(fault: Fault, ended: Ended) -> str:
    """The line that a fault printed; another exit code, or no such line, is an error."""
    assert ended.code == fault.code, f"exit code {ended.code}, not {fault.code}: {ended.text[-2000:]}"
    if not fault.line:
        return "" if ended.code == KILLED else ended.last
    line = ended.line_with(fault.line)
    assert line, f"no line with {fault.line!r}: {ended.text[-2000:]}"
    return line


def check_refusal(fault: Fault, processes: Sequence[Ended]) -> str:
    """The error of a command that rightly does not go on."""
    line = processes[0].line_with(fault.refuses)
    assert all(ended.code == 2 for ended in processes), processes
    assert line.startswith("error: "), f"no error with {fault.refuses!r}: {processes}"
    return line


def check_numbers(outcome: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """All numbers and names of files are those of the undisturbed run."""
    differ = [name for name in expected if outcome.get(name) != expected[name]]
    assert not differ, f"OTHER {', '.join(differ)}: {[(outcome.get(n), expected[n]) for n in differ]}"[:2000]


def tried(fault: Fault, group: str, folder: pathlib.Path, expected: Mapping[str, Any]) -> Row:
    """Does the harm, gives the same command again, and checks both.

    Raises:
        AssertionError: anything is not as the fault says that it must be.
    """
    with place_of(group, fault.name, folder) as place:
        ended = fault.do(place)
        line, kept = check_harm(fault, ended), "the same numbers"
        again = place.again()
        if fault.refuses:
            kept = f"refused: {check_refusal(fault, again)}"
        else:
            check_that_it_came_through(again)
            check_numbers(place.outcome(), expected)
    return Row(fault.what, ended.code, _short(line, folder), _short(kept, folder))


def _short(line: str, folder: pathlib.Path) -> str:
    """A line without the places of this machine, cut to what a table can take."""
    line = line.replace(str(folder), "DIR").replace(f"{ROOT}/", "")
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def main(names: list[str]) -> int:
    """Prints the table; returns 1 where anything was not as it must be."""
    bad = 0
    known = {name for group, faults in GROUPS.items() for name in (group, *(fault.name for fault in faults))}
    assert set(names) <= known, f"{sorted(set(names) - known)}: no such faults"
    print("| fault | exit code | line | the same command again |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        root = pathlib.Path(place)
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(root / "programs"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
        for group, faults in GROUPS.items():
            chosen = [f for f in faults if not names or {group, f.name} & set(names)]
            expected: dict[str, Any] = {}
            for fault in chosen:
                try:
                    if why := why_left_out(fault, group):
                        row = Row(fault.what, "", "", f"not tried: {why}")
                    else:
                        expected = expected or undisturbed(group, root / f"{group}-undisturbed")
                        row = tried(fault, group, root / fault.name, expected)
                except (AssertionError, OSError, subprocess.CalledProcessError) as e:
                    row, bad = Row(fault.what, "?", "", f"FAILED: {e}"), bad + 1
                cells = [" ".join(str(cell).replace("|", "/").split())[:2000] for cell in row]
                print(f"| {' | '.join(cells)} |", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
