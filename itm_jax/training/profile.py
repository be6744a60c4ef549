"""Traces some steps for XProf or TensorBoard (`config.train.profile`)."""

import pathlib
from collections.abc import Sequence

import jax

from itm_jax.errors import InputError

FOLDER = "profile"


def check_profile(steps: Sequence[int], total_steps: int) -> None:
    """Raises InputError where the steps to trace begin after the last step of the run."""
    first, last = steps
    if first > total_steps:
        raise InputError(f"config.train.profile={(first, last)}: the run has {total_steps} steps; trace earlier ones")


class Profile:
    """Traces the steps from `first` to `last` into WORKDIR/profile; (0, 0) traces none."""

    def __init__(self, steps: Sequence[int], workdir: pathlib.Path):
        """Traces nothing yet."""
        self._first, self._last = steps
        self._folder, self._running = workdir / FOLDER, False

    def before(self, step: int) -> None:
        """Starts the trace before its first step; call it before each step."""
        if self._first <= step <= self._last and not self._running:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, outputs: object) -> None:
        """Ends the trace after its last step, once `outputs` are computed; call it after each step with its outputs."""
        if self._running and step == self._last:
            jax.block_until_ready(outputs)
            self.close()

    def close(self) -> None:
        """Ends a trace that is still running."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
