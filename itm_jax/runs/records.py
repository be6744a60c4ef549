"""What a run records: lines and curves, progress on the terminal, and checkpoints. One process records them."""

import contextlib
import dataclasses
import pathlib
import time
from typing import Any

from itm_jax.buckets.publisher import NoPublisher, Publisher
from itm_jax.runs import checkpoints
from itm_jax.runs.collapse_alarm import CollapseAlarm
from itm_jax.runs.display import Display
from itm_jax.runs.loggers import make_logger
from itm_jax.runs.metrics_log import MetricsWriter
from itm_jax.runs.progress import Progress
from itm_jax.structs import TrainState


class Records:
    """Writes metrics and checkpoints and shows progress, in the process that owns the workdir."""

    def __init__(
        self, config: Any, workdir: pathlib.Path, publisher: Publisher | NoPublisher, step: int, progress: Progress
    ):
        """Opens the files of `workdir` for a run that continues after `step`; `publisher` sends them to a bucket."""
        self._publisher = publisher
        self._before, self._began = progress.train_seconds, time.perf_counter()
        self._logger = make_logger(config, workdir, step + 1)
        self._writer, self._display = MetricsWriter(workdir, step, self._logger), Display(progress.total_steps, step)
        self._alarm = CollapseAlarm.after(self._writer.kept)
        self._manager = checkpoints.Manager(workdir)
        if self._writer.last_step > step:
            last = self._writer.last_step
            self._display.say(f"the steps after {step}, up to {last}, are done again")

    def train(self, step: int, values: dict[str, float], epoch: float, seconds_per_step: float, batch: int) -> None:
        """Records a training step, and the collapse alarm if it goes off.

        The time goes to the logger alone: metrics.jsonl is the same in every repetition of a run.
        """
        self._publisher.look()
        self._writer.write(step, "train", values | {"epoch": epoch})
        self._logger.scalar("train/seconds_per_step", seconds_per_step, step)
        self._display.update(step, values["loss"], batch / seconds_per_step)
        if message := self._alarm.check(step, values):
            self._writer.write(step, "alarm", {"message": message})
            self._display.say(message)

    def dev(self, step: int, metrics: dict[str, float], best: bool) -> None:
        """Records an evaluation on dev."""
        self._writer.write(step, "dev", metrics)
        self._display.evaluated(step, metrics["rsum"], best=best)

    def save(self, state: TrainState, progress: Progress) -> None:
        """Saves a checkpoint in the background, with the seconds of training, after the lines before it are on disk.

        A workdir in a bucket has the checkpoint before it by then; a slow bucket makes the run wait here.
        """
        self._publisher.wait()
        seconds = self._before + time.perf_counter() - self._began
        self._writer.sync()
        checkpoints.save(self._manager, state, dataclasses.replace(progress, train_seconds=seconds))
        self._publisher.start(self._manager.wait_until_finished)

    def wait(self) -> None:
        """Waits until the checkpoints are written and published."""
        self._publisher.wait()
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Closes all files."""
        with contextlib.ExitStack() as ends:  # runs all of them, the last one first, also where one fails
            for end in (self._manager.close, self.wait, self._writer.close, self._display.close):
                ends.callback(end)


class NoRecords:
    """Stands for `Records` in every other process: each method does nothing."""

    def _nothing(self, *_, **__) -> None:
        pass

    train = dev = save = wait = close = _nothing
