"""A small run that faults are tried with, and what must come of a fault."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from support.paths import ROOT
from support.runs import AS_IN_A_TERMINAL, RUN_FILE, lines, outcome

SECONDS = 120  # a run that says nothing for so long has hung
FLAGS = (
    "--config.data.source=faults.slow_scenes:read",
    f"--config.model.text.vocab={ROOT / 'itm_jax' / 'data' / 'scenes' / 'vocab.txt'}",
)
QUICK = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "JAX_PLATFORMS": "cpu"}  # compiling takes most of the time
KILLED = -signal.SIGKILL
MAY_REMAIN = ("damaged", ".bucket.json")  # damaged checkpoints are kept aside; what a copy of a bucket equals


class Ended(NamedTuple):
    """The exit code of a process, and all that it wrote to stderr."""

    code: int
    text: str

    @property
    def last(self) -> str:
        """The last line."""
        return (self.text.strip().splitlines() or [""])[-1]

    def line_with(self, piece: str) -> str:
        """The last line that has a piece of text; empty where none has it."""
        return next((line for line in reversed(self.text.splitlines()) if piece in line), "")


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is done to a run, and what must come of it."""

    name: str
    what: str  # for the table
    do: Callable[[Any], Ended]
    code: int  # of the process that met the fault
    line: str  # a piece of a line that it must print
    refuses: str  # a piece of the error of the same command given again, where it must not go on; else empty
    root: bool  # needs root


def fault(code: int, line: str, *, refuses: str = "", root: bool = False):
    """Makes a `Fault` of a function that does the harm; its docstring says what is done."""
    return lambda do: Fault(do.__name__, do.__doc__, do, code, line, refuses, root)


def faults_of(names: Mapping[str, Any]) -> list[Fault]:
    """All faults of a module, from its `globals()`."""
    return [value for value in names.values() if isinstance(value, Fault)]


class Trial:
    """A folder with a config, the workdir `run`, and the processes that were started. `with` ends those that are left."""

    def __init__(self, folder: pathlib.Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.workdir = folder, folder / "run"
        self.config = folder / "config.py"
        self.config.write_text(RUN_FILE.format(path=str(ROOT / "configs" / "quickstart.py")))
        self._said: dict[subprocess.Popen, pathlib.Path] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in list(self._said):
            self._end(process)

    def start(self, *flags, workdir=None, script=("-m", "itm_jax.main"), stderr=None, **environment):
        """Starts the run; later flags win. Its stderr goes to a file, or to `stderr`."""
        said = self.folder / f"said{len(list(self.folder.glob('said*')))}"
        variables = os.environ | QUICK | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        line = [sys.executable, *script, f"--config={self.config}", f"--workdir={workdir or self.workdir}"]
        cache = f"--config.data.cache_dir={self.folder / 'cache'}"
        with said.open("w") as file:
            process = subprocess.Popen(
                [*AS_IN_A_TERMINAL, *line, cache, *FLAGS, *flags],
                cwd=ROOT,
                env=variables | environment,
                stdout=subprocess.DEVNULL,
                stderr=file if stderr is None else stderr,
            )
        self._said[process] = said
        return process

    def until(self, process, steps: int) -> None:
        """Waits until the run has written this step."""
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < SECONDS:
            try:
                if max((x["step"] for x in lines(self.workdir)), default=0) >= steps:
                    return
            except (OSError, json.JSONDecodeError):
                pass
            time.sleep(0.02)
        raise AssertionError(f"step {steps} was not reached: {self.text(process)[-2000:]}")

    def text(self, process) -> str:
        """What a process said until now."""
        return self._said[process].read_text(errors="replace")

    def ended(self, process) -> Ended:
        """How a process ended that ends by itself; one that hangs, and a traceback, are errors."""
        text, since = "", time.monotonic()
        try:
            while process.poll() is None:
                if text != (now := self.text(process)):
                    text, since = now, time.monotonic()
                assert time.monotonic() - since < SECONDS, f"it hangs: {text[-2000:]}"
                time.sleep(0.05)
            text = self.text(process)
        finally:
            self._end(process)
        ended = Ended(process.returncode, text)
        assert "Traceback" not in text, f"a traceback before {ended.last!r}: {text[-2000:]}"
        return ended

    def stop(self, process) -> Ended:
        """Kills a process; that it had ended before is an error, because then the fault was none."""
        process.kill()
        ended = self.ended(process)
        assert ended.code == KILLED, f"it had ended before: {ended}"
        return ended

    def _end(self, process) -> None:
        process.kill()
        process.wait()
        del self._said[process]

    def finish(self) -> Ended:
        """Starts the run and waits for its end."""
        return self.ended(self.start())

    def again(self) -> list[Ended]:
        """Gives the same command again: how each of its processes ended."""
        return [self.finish()]

    def outcome(self) -> dict[str, Any]:
        """What must be the same in every run."""
        return outcome_of(self.workdir)

    def newest(self) -> pathlib.Path:
        """The folder of the newest checkpoint."""
        return max((p for p in (self.workdir / "checkpoints").iterdir() if p.name.isdigit()), key=lambda p: int(p.name))


def outcome_of(workdir: pathlib.Path) -> dict[str, Any]:
    """The numbers of a run, and the names of what its workdir keeps: nothing is missing, and nothing is left over."""
    names = {p.name for p in workdir.iterdir()} | {f"checkpoints/{p.name}" for p in (workdir / "checkpoints").iterdir()}
    names = {name for name in names if name not in MAY_REMAIN and not name.startswith("events.")}
    return outcome(workdir) | {"files": sorted(names)}
