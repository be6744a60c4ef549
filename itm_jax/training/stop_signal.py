"""Notes SIGTERM, Ctrl-C and a closed terminal (SIGHUP), so that the loop can save before it ends."""

import os
import pathlib
import signal

from itm_jax.errors import TerminatedError
from itm_jax.terminal import say

NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C", signal.SIGHUP: "the end of its terminal (SIGHUP)"}


class StopSignal:
    """Notes SIGTERM, Ctrl-C and SIGHUP, so that the loop can save before it ends. A second Ctrl-C ends it at once.

    Attributes:
        received: the signal that arrived; None as long as there is none.
    """

    def __init__(self):
        """Installs the handlers, if this is the main thread."""
        self.received: int | None = None
        self._terminals = [number for number in (1, 2) if os.isatty(number)]
        self._old = {}
        try:
            self._old[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._note)
            if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # under nohup it is ignored
                self._old[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._note)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background it is ignored
                self._old[signal.SIGINT] = signal.signal(signal.SIGINT, self._note)
        except ValueError:  # not the main thread: the caller's handlers stay
            pass

    @property
    def requested(self) -> bool:
        """Whether the loop should save and end."""
        return self.received is not None

    def _note(self, number: int, _) -> None:
        self.received = number
        if number == signal.SIGHUP:  # nothing can be written to a terminal that is gone, and the run must still save
            for terminal in self._terminals:
                os.dup2(os.open(os.devnull, os.O_WRONLY), terminal)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            say("saving a checkpoint soon; press Ctrl-C again to end at once, without it")

    def error(self, workdir: pathlib.Path, step: int) -> TerminatedError:
        """Returns the error that ends a run which was saved at a step."""
        number = self.received or signal.SIGTERM  # another process may have received it
        return TerminatedError(
            f"{workdir}: stopped by {NAMES[signal.Signals(number)]} at step {step}, saved; run the same command to "
            "continue",
            exit_code=128 + number,
        )

    def restore(self) -> None:
        """Puts the earlier handlers back."""
        for number, handler in self._old.items():
            if handler is not None:  # None: it was not installed from Python, and cannot be put back
                signal.signal(number, handler)
