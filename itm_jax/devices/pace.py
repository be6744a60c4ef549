"""Names a process that makes the others of a run wait: all steps are as fast as the slowest process.

While they train, processes wait for each other within every step, so the time of a step does not say who is slow. So
at every logged step each of them measures two things alone: how long it waited for its batches, and how long a product
of two matrices takes on its first device.
"""

import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Float

from itm_jax.devices import distributed
from itm_jax.terminal import say

SIDE = 512  # of the matrices
SLOWER = 2.0  # a process is named where it needs so many times the median of the others
LEAST_SECONDS = 0.01  # of the product, or of each step's wait; less is noise
QUIET_SECONDS = 600.0  # between two lines about the same process


class Pace:
    """Measures this process, and compares it with the others. Where it is the only one, nothing is measured."""

    def __init__(self) -> None:
        """Prepares the product."""
        self._waited, self._steps = 0.0, 0
        self._said: dict[int, float] = {}
        if not distributed.alone():
            with jax.default_device(jax.local_devices()[0]):
                self._matrix = jnp.ones((SIDE, SIDE), jnp.float32)
                self._product = jax.jit(lambda x: (x @ x).sum()).lower(self._matrix).compile()

    def waited(self, seconds: float) -> None:
        """Takes how long the process waited for the batch of a step."""
        self._waited, self._steps = self._waited + seconds, self._steps + 1

    def any_of_them(self, flag: bool) -> bool:
        """Returns whether the flag is set in any process; the first one names a slow process. All must call this."""
        if distributed.alone():
            return flag
        mine = np.array([flag, self._waited / max(1, self._steps), self._seconds()], np.float32)
        self._waited, self._steps = 0.0, 0
        every = np.asarray(multihost_utils.process_allgather(mine)).reshape(-1, 3)
        if distributed.first():
            for process, line in slow(every[:, 1], every[:, 2]):
                if time.monotonic() - self._said.get(process, -QUIET_SECONDS) >= QUIET_SECONDS:
                    self._said[process] = time.monotonic()
                    say(line)
        return bool(every[:, 0].any())

    def _seconds(self) -> float:
        began = time.perf_counter()
        self._product(self._matrix).block_until_ready()
        return time.perf_counter() - began


def slow(
    waits: Float[np.ndarray, " p"] | Sequence[float], products: Float[np.ndarray, " p"] | Sequence[float]
) -> list[tuple[int, str]]:
    """Returns (process, line) for the process that is far behind the others in a measure.

    Args:
        waits: seconds that each process waited for the batch of a step.
        products: seconds of a product of matrices in each process.
    """
    lines = []
    for values, what in (
        (waits, "waits {} s a step for its batches"),
        (products, "takes {} s for a product of matrices"),
    ):
        process = int(np.argmax(values))
        others = float(np.median(np.delete(np.asarray(values), process)))
        seconds = float(values[process])
        if seconds > max(SLOWER * others, LEAST_SECONDS):
            lines.append(
                (process, f"process {process} is slow: it {what.format(f'{seconds:.3f}')}, the others {others:.3f} s")
            )
    return lines
