"""Publishes a copy of a folder of a bucket in the background."""

import threading
from collections.abc import Callable
from typing import Any

from itm_jax.buckets.mirror import Mirror


class Publisher:
    """Publishes a copy in the background."""

    def __init__(self, mirror: Mirror, renew: Callable[[], None], check: Callable[[], None]):
        """Takes the copy, and two looks at the lease.

        Args:
            mirror: the copy.
            renew: asks the service whether this process still may write, and raises where it may not.
            check: raises where this is known already, and asks nobody.
        """
        self._mirror, self._renew, self._check = mirror, renew, check
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._failed = False

    def look(self) -> None:
        """Raises what is known to be wrong; asks nobody."""
        self._check()
        if self._thread and not self._thread.is_alive():
            self.wait()

    def start(self, ready: Callable[[], None]) -> None:
        """Publishes when `ready` has come back. Call `wait` before the copy is changed. Raises as `wait` does."""
        self.wait()
        self._thread = threading.Thread(target=self._publish, args=(ready,), name="publish", daemon=True)
        self._thread.start()

    def _publish(self, ready: Callable[[], None]) -> None:
        try:
            ready()
            self._mirror.publish(self._renew, self._check)
        except BaseException as e:  # it is raised by the thread that waits; obstore may panic
            self._error, self._failed = e, True

    def wait(self) -> None:
        """Waits for the end of a publication, and raises what went wrong there, usually an InputError."""
        if self._thread:
            self._thread.join()
            self._thread = None
        if error := self._error:
            self._error = None
            raise error

    def finish(self) -> None:
        """Publishes what is left, unless a publication failed before. Raises as `wait` does."""
        self.wait()
        if not self._failed:
            self.start(lambda: None)
            self.wait()

    def remove_unmarked(self) -> None:
        """Removes what an interrupted publication left in the bucket."""
        if self._mirror.unmarked:
            self._renew()  # it may have taken long since the fetch
            self._mirror.remove_unmarked()


class NoPublisher:
    """Stands for `Publisher` where the workdir is local: each method does nothing."""

    def _nothing(self, *_: Any) -> None:
        pass

    start = wait = finish = look = remove_unmarked = _nothing
