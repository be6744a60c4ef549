"""A run that is cut off and continued must end like an undisturbed one."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from itm_jax.data.elsewhere import RowsElsewhere
from itm_jax.data.scenes.world import make_split
from itm_jax.data.text.text_input import SCENES_VOCAB
from itm_jax.runs.metrics_log import read_metrics
from itm_jax.structs import Split
from itm_jax.testing.items import tiny
from itm_jax.training.loop import train

READS = 9  # reads of features before a run is cut off: some at its start, then one for each batch
SOURCE = "itm_jax.testing.resume:scenes_that_break_off"


class BrokenOffError(Exception):
    """Cuts a run off."""


class Countdown:
    """`left` is the number of reads of features before one fails; with None no read fails."""

    left: int | None = None


class FailingFeatures(RowsElsewhere):
    """Features that can be read until the countdown ends."""

    def __init__(self, features: np.ndarray):
        super().__init__(features.shape, features.dtype)
        self._features = features

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows by their indices."""
        if Countdown.left is not None:
            Countdown.left -= 1
            if Countdown.left < 0:
                raise BrokenOffError
        return self._features[rows]


def scenes_that_break_off(data: Any, name: str) -> Split:
    """`scenes` as a data source whose train features cannot be read once the countdown has ended."""
    split = make_split(data.scenes, name)
    features: Any = FailingFeatures(split.features)
    return dataclasses.replace(split, features=features) if name == "train" else split


def check_resume(config: Any, workdir: pathlib.Path) -> None:
    """Trains the tiny model of a config in `workdir/whole`, and in `workdir/cut`, where it is cut off and continued.

    Raises:
        AssertionError: the two have different lines in metrics.jsonl.
    """
    small = tiny(config)
    small.data.source, small.train.checkpoint_every = SOURCE, 1
    if small.model.text.encoder == "bert":
        small.model.text.vocab = str(SCENES_VOCAB)
    train(small, workdir / "whole")
    Countdown.left = READS
    try:
        train(small, workdir / "cut")
        raise AssertionError("resume: the run was not cut off")
    except BrokenOffError:
        done = len(read_metrics(workdir / "cut"))
    finally:
        Countdown.left = None
    train(small, workdir / "cut")
    whole, cut = (read_metrics(workdir / name) for name in ("whole", "cut"))
    assert 0 < done < len(whole), f"resume: {done} of {len(whole)} lines were written before the cut"
    differ = [a["step"] for a, b in zip(whole, cut, strict=False) if a != b]
    assert whole == cut, f"resume: {len(cut)} lines, not {len(whole)}; those of steps {differ[:3]} differ"
