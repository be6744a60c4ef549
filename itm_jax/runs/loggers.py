"""Where a run sends its curves besides metrics.jsonl: TensorBoard, Weights & Biases, or nowhere (`train.logger`)."""

import importlib.util
import pathlib
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from itm_jax.config.fields import flatten
from itm_jax.errors import InputError
from itm_jax.files import write_whole

PROJECT = "itm_jax"


@runtime_checkable
class Logger(Protocol):
    """Takes the values of curves, in the order of their steps.

    To add a place, write a class with these three methods, add it to `KINDS`, and its name to
    `config.validation.CHOICES`.
    """

    def scalar(self, name: str, value: float, step: int) -> None:
        """Takes one value of a curve, such as `train/loss`."""

    def flush(self) -> None:
        """Hands on the values so far."""

    def close(self) -> None:
        """Hands on all values, and ends."""


class Nothing:
    """Takes the values, and does nothing with them."""

    def __init__(self, *_: Any):
        pass

    def scalar(self, *_: Any) -> None:
        """Does nothing."""

    def flush(self) -> None:
        """Does nothing."""

    close = flush


class Events:
    """Writes scalars to a TensorBoard file at once.

    tensorboardX's own writer is a thread, and a full disk ends that thread silently.
    """

    def __init__(self, config: Any, folder: pathlib.Path, first: int):
        """Opens a new file. Its events from step `first` on replace those of earlier files."""
        self._file = EventsWriter(str(folder / "events"))
        self._add(Event(step=first, session_log=SessionLog(status=SessionLog.START)))

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        self._file.write_event(event)

    def scalar(self, name: str, value: float, step: int) -> None:
        """Writes one value of a curve."""
        self._add(Event(step=step, summary=scalar(name, value)))

    def flush(self) -> None:
        """Writes the events so far to the file."""
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class WandB:
    """Sends scalars to Weights & Biases (extra `wandb`); WANDB_MODE=offline keeps them in WORKDIR/wandb.

    A run that is continued continues its run there: its id is kept in WORKDIR/wandb/id. Weights & Biases ignores values
    of steps that it has already.
    """

    def __init__(self, config: Any, folder: pathlib.Path, first: int):
        """Starts or continues the run there. Raises InputError where wandb is not installed, or cannot start."""
        check_logger(config)
        import wandb

        kept = folder / "wandb" / "id"
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            write_whole(kept, uuid.uuid4().hex[:16])
        try:
            self._run = wandb.init(
                project=PROJECT,
                name=folder.resolve().name,
                id=kept.read_text(encoding="utf-8"),
                dir=str(folder.resolve()),
                config=flatten(config),
                resume="allow",
                settings=wandb.Settings(console="off", silent=True),
            )
        except Exception as e:  # wandb raises many kinds: no key, no network
            raise InputError(
                f"config.train.logger='wandb': it cannot start ({e}); log in, or set WANDB_MODE=offline"
            ) from None

    def scalar(self, name: str, value: float, step: int) -> None:
        """Sends one value of a curve."""
        self._run.log({name: value}, step=step)

    def flush(self) -> None:
        """Does nothing: wandb sends in a process of its own."""

    def close(self) -> None:
        """Ends the run there."""
        self._run.finish()


KINDS: dict[str, Callable[[Any, pathlib.Path, int], Logger]] = {"tensorboard": Events, "wandb": WandB, "none": Nothing}


def check_logger(config: Any) -> None:
    """Raises InputError where the package that the logger needs is not installed."""
    if config.train.logger == "wandb" and importlib.util.find_spec("wandb") is None:
        raise InputError("config.train.logger='wandb': wandb is not installed; pip install -e '.[wandb]'")


def make_logger(config: Any, workdir: pathlib.Path, first: int) -> Logger:
    """Returns the logger of `config.train.logger`; its values from step `first` on replace those of earlier starts."""
    return KINDS[config.train.logger](config, workdir, first)
