"""A small run that faults are tried with."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from support.paths import ROOT
from support.runs import RUN_FILE, lines
from test_kill import outcome

SECONDS = 120  # a run that says nothing for so long has hung
FLAGS = (
    "--config.data.source=faults.slow_scenes:read",
    f"--config.model.text.vocab={ROOT / 'itm_jax' / 'data' / 'scenes' / 'vocab.txt'}",
    "--config.train.epochs=2",
)


class Trial:
    """A folder with a config, the workdir `run`, and the processes that were started."""

    def __init__(self, folder: pathlib.Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.workdir = folder, folder / "run"
        self.config = folder / "config.py"
        self.config.write_text(RUN_FILE.format(path=str(ROOT / "configs" / "quickstart.py")))
        self.said: list[str] = []

    def start(self, *flags, workdir=None, script=("-m", "itm_jax.main"), stderr=None, **environment):
        """Starts the run; later flags win. Its stderr goes to a file, or to `stderr`."""
        number = len(list(self.folder.glob("said*")))
        said = (self.folder / f"said{number}").open("w+")
        variables = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        line = [sys.executable, *script, f"--config={self.config}", f"--workdir={workdir or self.workdir}"]
        cache = f"--config.data.cache_dir={self.folder / 'cache'}"
        process = subprocess.Popen(
            [*line, cache, *FLAGS, *flags],
            cwd=ROOT,
            env=variables | environment,
            stdout=subprocess.DEVNULL,
            stderr=said if stderr is None else stderr,
            restore_signals=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        process.said = said
        return process

    def until(self, process, steps: int, workdir=None) -> None:
        """Waits until the run has written this step."""
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < SECONDS:
            try:
                if max((x["step"] for x in lines(workdir or self.workdir)), default=0) >= steps:
                    return
            except (OSError, json.JSONDecodeError):
                pass
            time.sleep(0.02)
        raise AssertionError(f"step {steps} was not reached: {self.text(process)[-2000:]}")

    def text(self, process) -> str:
        """What a process said."""
        process.said.seek(0)
        return process.said.read()

    def ended(self, process) -> tuple[int, str]:
        """(exit code, last line) of a process that ends by itself; a traceback is an error."""
        try:
            code = process.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = "hangs"
        text = self.text(process)
        process.said.close()
        assert "Traceback" not in text, text[-3000:]
        return code, (text.strip().splitlines() or [""])[-1]

    def finish(self, *flags, workdir=None) -> tuple[int, str]:
        """Starts the run and waits for its end."""
        return self.ended(self.start(*flags, workdir=workdir))

    def outcome(self, workdir=None):
        """What must be the same in every run."""
        return outcome(workdir or self.workdir)

    def newest(self) -> pathlib.Path:
        """The folder of the newest checkpoint."""
        return max((p for p in (self.workdir / "checkpoints").iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
