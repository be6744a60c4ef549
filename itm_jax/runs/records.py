"""What a run keeps: lines and curves, progress on the terminal, checkpoints. One process keeps them."""

import dataclasses
import pathlib
import time

from itm_jax.runs import checkpoints
from itm_jax.runs.collapse_alarm import CollapseAlarm
from itm_jax.runs.display import Display
from itm_jax.runs.metrics_log import MetricsWriter
from itm_jax.runs.progress import Progress
from itm_jax.structs import TrainState


class Records:
    """Of the process that owns the workdir."""

    def __init__(self, workdir: pathlib.Path, step: int, progress: Progress):
        """Opens the files of `workdir` for a run that goes on after `step`."""
        self._before, self._began = progress.train_seconds, time.perf_counter()
        self._writer, self._display = MetricsWriter(workdir, step), Display(progress.total_steps, step)
        self._alarm = CollapseAlarm.after(self._writer.kept)
        self._manager = checkpoints.Manager(workdir)
        if self._writer.last_step > step:
            last = self._writer.last_step
            self._display.say(f"continuing from step {step}; what was done after it, up to step {last}, is done again")

    def train(self, step: int, values: dict[str, float], epoch: float, examples_per_second: float) -> None:
        """A step of training, and the alarm where it goes off."""
        self._writer.write(step, "train", values | {"epoch": epoch})
        self._display.update(step, values["loss"], examples_per_second)
        if message := self._alarm.check(step, values):
            self._writer.write(step, "alarm", {"message": message})
            self._display.say(message)

    def dev(self, step: int, metrics: dict[str, float], best: bool) -> None:
        """An evaluation on dev."""
        self._writer.write(step, "dev", metrics)
        self._display.evaluated(step, metrics["rsum"], best=best)

    def save(self, state: TrainState, progress: Progress) -> None:
        """A checkpoint, in the background, after the lines that precede it; the seconds of training are counted here."""
        seconds = self._before + time.perf_counter() - self._began
        self._writer.sync()
        checkpoints.save(self._manager, state, dataclasses.replace(progress, train_seconds=seconds))

    def wait(self) -> None:
        """Returns when the checkpoints are written."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Ends all files."""
        self._display.close()
        self._writer.close()
        self.wait()
        self._manager.close()


class NoRecords:
    """Of every other process: each method does nothing."""

    def _nothing(self, *_, **__) -> None:
        pass

    train = dev = save = wait = close = _nothing
