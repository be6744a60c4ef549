"""Notes SIGTERM, so that the loop can save before it ends."""

import signal


class StopSignal:
    """Notes SIGTERM, so that the loop can save before it ends."""

    def __init__(self):
        """Installs the handler, if this is the main thread."""
        self.requested = False
        try:
            self._old = signal.signal(signal.SIGTERM, self._note)
        except ValueError:  # not the main thread: the caller's handlers stay
            self._old = None

    def _note(self, *_):
        self.requested = True

    def restore(self) -> None:
        """Puts the earlier handler back."""
        if self._old is not None:
            signal.signal(signal.SIGTERM, self._old)
