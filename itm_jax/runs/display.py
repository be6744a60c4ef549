"""What a run shows on the terminal while it trains."""

from itm_jax.terminal import Bar


class Display:
    """Loss, examples per second, time left and dev rSum: a live bar on a terminal, lines elsewhere, on stderr."""

    def __init__(self, total: int, start: int):
        """Shows a run from step `start` to step `total`."""
        self._bar, self._rsum = Bar("step", total, start=start), ""
        self._bar.describe("compiling")

    def update(self, step: int, loss: float, examples_per_second: float) -> None:
        """Shows a training step."""
        self._bar.update(step, f"loss {loss:.2f}  {examples_per_second:,.0f} examples/s{self._rsum}")

    def evaluated(self, step: int, rsum: float, best: bool) -> None:
        """Shows a dev evaluation."""
        self._rsum = f"  dev rSum {rsum:.1f}"
        self.say(f"step {step}: dev rSum {rsum:.1f}{' (best so far)' if best else ''}")

    def say(self, message: str) -> None:
        """Prints a line above the bar."""
        self._bar.say(message)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()
