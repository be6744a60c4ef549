"""Signs of life between the processes of a run: when one dies or hangs, each of the others ends with a line.

Each process has a thread that writes its sign of life to the key-value store of JAX's coordination service, and reads
the signs of the others. Without them, a process that waits for the result of one that hangs would wait for ever, and
the first process would be aborted by JAX (exit code 134) when another one dies. The clocks of different machines are
never compared.

The first process has the store. When it dies, JAX aborts the others at once; they print a line then too.
"""

import json
import signal
import socket
import threading
import time
from typing import Any, NamedTuple

import jax

from itm_jax.devices import fatal
from itm_jax.errors import DivergedError, InputError, LostProcessError

BEAT_SECONDS = 3.0  # between two signs of life of a process
JUDGE_SECONDS = 1.0  # between two looks at what is known of the others
SILENT_SECONDS = 30.0  # JAX itself acts later, at the earliest after half of `distributed.HEARTBEAT_SECONDS`
KEY = "itm_jax/process/"
ADVICE = "Start the same command again on all machines to continue from the last checkpoint"
ENDS_TOO = "This process ends too"
SAME_END = (InputError.exit_code, DivergedError.exit_code)  # starting again would end in the same way


class Sign(NamedTuple):
    """A sign of life."""

    beat: int  # grows with every sign
    host: str
    exit_code: int | None  # of a process that ends; None while it works


class Peers:
    """Writes the signs of life of this process, and reads those of the others."""

    def __init__(self, client: Any):
        """Starts the threads; `client` is that of JAX's coordination service."""
        self._client, self._me = client, jax.process_index()
        self._mine = Sign(0, socket.gethostname(), None)
        self._writing = threading.Lock()  # else an older sign could replace the last one
        now = time.monotonic()
        others = [process for process in range(jax.process_count()) if process != self._me]
        self._signs = {process: Sign(-1, "", None) for process in others}
        self._seen = dict.fromkeys(others, now)  # when the sign of a process last changed
        self._answered = now  # when the service last answered
        self._reading, self._end = threading.Lock(), threading.Event()
        instead_of_abort("a library in C++ ended this process, as it says above; usually another process died")
        for work in (self._write_and_read, self._judge):
            threading.Thread(target=work, name="peers", daemon=True).start()

    def leave(self, code: int) -> None:
        """Tells the others that this process ends, and with which exit code."""
        self._end.set()
        last = threading.Thread(target=self._write, args=(code,), daemon=True)  # the service may never answer
        last.start()
        last.join(2.0)
        if code:
            self._let_others_read()

    def lost_process(self) -> tuple[str, int] | None:
        """Returns what is known of a lost process, and the exit code for this one; None while all is well."""
        with self._reading:
            for process, sign in self._signs.items():
                if sign.exit_code:
                    code = sign.exit_code if sign.exit_code in SAME_END else LostProcessError.exit_code
                    return f"{self._name(process)} ended with exit code {sign.exit_code}; its own line says why", code
            now = time.monotonic()
            silent = {p: now - self._seen[p] for p, sign in self._signs.items() if sign.exit_code is None}
            if self._me and now - self._answered > SILENT_SECONDS:
                silent = {0: now - self._answered}  # the first process has the store: nothing is known of the others
            process, seconds = max(silent.items(), key=lambda item: item[1], default=(self._me, 0.0))
            if seconds <= SILENT_SECONDS:
                return None
            what = f"showed no sign of life for {seconds:.0f} s: it died, hangs, or cannot be reached"
            return f"{self._name(process)} {what}", LostProcessError.exit_code

    def _name(self, process: int) -> str:
        host = self._signs[process].host
        return f"process {process}{f' on {host}' if host else ''}"

    def _write(self, code: int | None = None) -> None:
        with self._writing:
            if self._mine.exit_code is None:
                self._mine = self._mine._replace(beat=self._mine.beat + 1, exit_code=code)
            value = json.dumps(self._mine._asdict())
            self._client.key_value_set(f"{KEY}{self._me}", value, allow_overwrite=True)

    def _write_and_read(self) -> None:
        wait = 0.0  # the first sign at once
        while not self._end.wait(wait):
            wait = BEAT_SECONDS
            try:
                self._write()
                entries = self._client.key_value_dir_get(KEY)
            except Exception:  # the service is gone or cannot be reached; `_judge` acts on that
                continue
            with self._reading:
                self._answered = now = time.monotonic()
                for key, text in entries:
                    try:
                        process, sign = int(key.rpartition("/")[2]), Sign(**json.loads(text))
                    except (ValueError, TypeError):  # of another version of this library
                        continue
                    if process in self._signs and sign != self._signs[process]:
                        self._signs[process], self._seen[process] = sign, now

    def _judge(self) -> None:
        before = time.monotonic()
        while not self._end.wait(JUDGE_SECONDS):
            now = time.monotonic()
            self._leave_out(now - before - JUDGE_SECONDS)
            before = now
            if lost := self.lost_process():
                self._let_others_read()
                end(*lost)

    def _let_others_read(self) -> None:
        """Keeps the store of the first process open until the others have read it: JAX aborts them when it closes."""
        if self._me == 0:
            time.sleep(BEAT_SECONDS + 2 * JUDGE_SECONDS)

    def _leave_out(self, late: float) -> None:
        """Leaves out the seconds in which this process was stopped, as by Ctrl-Z, and could not hear the others."""
        with self._reading:
            now = time.monotonic()
            self._answered = min(now, self._answered + late)
            self._seen = {process: min(now, seen + late) for process, seen in self._seen.items()}


def end(what: str, code: int) -> None:
    """Ends this process at once with a line; its main thread may be waiting for the other processes for ever.

    Args:
        what: what happened.
        code: the exit code.
    """
    fatal.end(f"{what}. {ENDS_TOO}" if code in SAME_END else f"{what}. {ENDS_TOO}. {ADVICE}", code)


def instead_of_abort(what: str) -> None:
    """Makes an abort by a library in C++, from now on, end this process with a line.

    JAX (0.10) takes a callback to call in place of its abort, but cannot convert the error for it, and crashes.

    Args:
        what: what happened.
    """
    line, code = f"{what}. {ENDS_TOO}. {ADVICE}", LostProcessError.exit_code
    fatal.say_instead(signal.SIGABRT, line, code)
