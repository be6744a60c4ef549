"""Names a slow process of a run: all others wait for it in every step.

Because they wait for each other, a step takes equally long in all processes, and its time does not say which one is
slow. So each process measures two things that do not depend on the others: how long it waits for its batches, and how
long a product of two matrices takes on its first device. They compare their numbers at every logged step.
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
SLOWER = 2.0  # a process is slow if it needs more than so many times the median of the others
LEAST_SECONDS = 0.01  # of a slow process, for the product or for the wait of a step; less is noise
QUIET_SECONDS = 600.0  # between two lines about the same process


class Pace:
    """Measures this process, and compares it with the others. A single process measures nothing."""

    def __init__(self) -> None:
        """Prepares the product."""
        self._waited, self._steps = 0.0, 0
        self._comparison = Comparison()
        if not distributed.alone():
            with jax.default_device(jax.local_devices()[0]):
                self._matrix = jnp.ones((SIDE, SIDE), jnp.float32)
                self._product = jax.jit(lambda x: (x @ x).sum()).lower(self._matrix).compile()

    def waited(self, seconds: float) -> None:
        """Adds how long this process waited for the batch of a step."""
        self._waited, self._steps = self._waited + seconds, self._steps + 1

    def agree_to_stop(self, stop: bool) -> bool:
        """Returns whether any process wants to stop. All processes must call this; the first one names slow ones."""
        if distributed.alone():
            return stop
        mine = np.array([stop, self._waited / max(1, self._steps), self._seconds()], np.float32)
        self._waited, self._steps = 0.0, 0
        every = np.asarray(multihost_utils.process_allgather(mine)).reshape(-1, 3)
        if distributed.first():
            for line in self._comparison.lines(every[:, 1], every[:, 2]):
                say(line)
        return bool(every[:, 0].any())

    def _seconds(self) -> float:
        began = time.perf_counter()
        self._product(self._matrix).block_until_ready()
        return time.perf_counter() - began


class Comparison:
    """Decides which slow processes are named: those that are slow in two intervals between logged steps in a row."""

    def __init__(self) -> None:
        """Starts before the first interval, which does not count: programs are compiled in it."""
        self._intervals = 0
        self._slow: set[int] = set()  # in the interval before
        self._said: dict[int, float] = {}

    def lines(
        self, waits: Float[np.ndarray, " p"] | Sequence[float], products: Float[np.ndarray, " p"] | Sequence[float]
    ) -> list[str]:
        """Takes the numbers of an interval, as `slow_processes` does, and returns the lines to print."""
        self._intervals += 1
        slow = slow_processes(waits, products) if self._intervals > 1 else []
        before, self._slow = self._slow, {process for process, _ in slow}
        lines, now = [], time.monotonic()
        for process, line in slow:
            if process in before and now - self._said.get(process, -QUIET_SECONDS) >= QUIET_SECONDS:
                self._said[process] = now
                lines.append(line)
        return lines


def slow_processes(
    waits: Float[np.ndarray, " p"] | Sequence[float], products: Float[np.ndarray, " p"] | Sequence[float]
) -> list[tuple[int, str]]:
    """Returns (process, line) for the slowest process of each measure, if it is far behind the others.

    Args:
        waits: seconds that each of p processes waited for the batch of a step, on average.
        products: seconds that the product of matrices took in each of them.
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
