"""Signs of life between the processes of a run: when one dies or hangs, each of the others ends with a line.

Every process writes a sign of life to the key-value store that JAX's coordination service has, in a thread, and reads
those of the others. Without this the first process would be aborted by JAX (exit code 134), and one that waits in a sum
over devices for a process that hangs would wait for ever. Clocks of machines are not compared.

When the first process dies, JAX aborts the others at once, because it had the store. They say a line then too.
"""

import json
import signal
import socket
import threading
import time
from typing import Any

import jax

from itm_jax.devices import fatal

BEAT_SECONDS = 3.0
SILENT_SECONDS = 30.0  # JAX itself acts later, at the earliest after half of `distributed.HEARTBEAT_SECONDS`
EXIT_CODE = 4
KEY = "itm_jax/process/"
NEXT = "This process ends too. Start the same command again on all machines to continue from the last checkpoint"


class Peers:
    """Writes and reads the signs of life."""

    def __init__(self, client: Any):
        """Starts the threads; `client` is that of JAX's coordination service."""
        self._client, self._me, self._count = client, jax.process_index(), jax.process_count()
        self._beat, self._host = 0, socket.gethostname()
        self._left: int | None = None  # the exit code of this process
        now = time.monotonic()
        self._answered = now  # when the service answered last
        self._seen: dict[int, tuple[int, float, str]] = {i: (-1, now, "") for i in range(self._count) if i != self._me}
        self._gone: dict[int, int] = {}  # exit codes of processes that left
        self._lock, self._end = threading.Lock(), threading.Event()
        instead_of_abort(
            "JAX lost its coordination service, as it says above: the first process died or cannot be reached"
        )
        for work in (self._write_and_read, self._judge):
            threading.Thread(target=work, name="peers", daemon=True).start()

    def leave(self, code: int) -> None:
        """Tells the others that this process ends, and with which exit code."""
        self._end.set()
        self._left = code
        writer = threading.Thread(target=self._write, daemon=True)  # the service may not answer any more
        writer.start()
        writer.join(2.0)

    def lost(self) -> str:
        """Returns what is known of a process that died or hangs; empty while all is well."""
        now, seconds = time.monotonic(), {}
        with self._lock:
            for process, code in self._gone.items():
                if code:
                    return f"{self._name(process)} ended with exit code {code}; its own line says why"
            seconds = {p: now - when for p, (_, when, _) in self._seen.items() if p not in self._gone}
            if self._me and now - self._answered > SILENT_SECONDS:
                seconds = {0: now - self._answered}  # it has the store
        if seconds and max(seconds.values()) > SILENT_SECONDS:
            process = max(seconds, key=seconds.__getitem__)
            return (
                f"{self._name(process)} showed no sign of life for {seconds[process]:.0f} s: it died, hangs, or cannot "
                "be reached"
            )
        return ""

    def _name(self, process: int) -> str:
        host = self._seen[process][2]
        return f"process {process}{f' on {host}' if host else ''}"

    def _write(self) -> None:
        value = json.dumps({"beat": self._beat, "host": self._host, "left": self._left})
        self._client.key_value_set(f"{KEY}{self._me}", value, allow_overwrite=True)

    def _write_and_read(self) -> None:
        while not self._end.wait(BEAT_SECONDS if self._beat else 0.0):
            self._beat += 1
            try:
                self._write()
                entries = self._client.key_value_dir_get(KEY)
            except Exception:  # the service is gone or cannot be reached; `_judge` acts on that
                continue
            now = time.monotonic()
            with self._lock:
                self._answered = now
                for key, text in entries:
                    process, value = int(key.rpartition("/")[2]), json.loads(text)
                    if process == self._me:
                        continue
                    if value["beat"] != self._seen[process][0]:
                        self._seen[process] = (value["beat"], now, value["host"])
                    if value["left"] is not None:
                        self._gone[process] = value["left"]

    def _judge(self) -> None:
        while not self._end.wait(1.0):
            if what := self.lost():
                end(what)


def end(what: str) -> None:
    """Ends this process at once with a line: the main thread may wait for the other processes for ever."""
    fatal.end(f"{what}. {NEXT}", EXIT_CODE)


def instead_of_abort(what: str) -> None:
    """Says a line, from now on, where JAX aborts the process, and why it did it.

    JAX (0.10) has a callback in place of the abort, but cannot hand it the error, and dies.
    """
    fatal.say_instead(signal.SIGABRT, f"{what}. {NEXT}", EXIT_CODE)
