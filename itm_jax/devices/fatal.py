"""Ends the process with a line where a signal would end it without one.

A library in C++ that gives up calls abort() in a thread of its own (SIGABRT). Reading a memory-mapped file that was cut
short raises SIGBUS. Python's own handlers do not serve for these: Python runs a handler only after the call into the
library has returned, and these calls do not return.
"""

import ctypes
import os
import signal
from typing import Any

_HANDLERS: list[Any] = []  # a handler must live as long as the process
_EARLIER: dict[signal.Signals, int | None] = {}  # the address of the handler that a signal had before


def end(line: str, code: int) -> None:
    """Ends this process at once with a line, from any thread."""
    try:
        os.write(2, f"error: {line}\n".encode())
    finally:  # also where nobody reads stderr any more
        os._exit(code)


def say_instead(number: signal.Signals, line: str, code: int) -> None:
    """Makes the signal end this process with a line, from now on.

    The handler is Python code: it waits until no other thread runs Python.

    Args:
        number: SIGABRT or SIGBUS.
        line: the line, without `error:`.
        code: the exit code.
    """

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def handler(_: int) -> None:
        end(line, code)

    _HANDLERS.append(handler)
    earlier = _install(number, ctypes.cast(handler, ctypes.c_void_p))
    _EARLIER.setdefault(number, earlier)


def as_before(number: signal.Signals) -> None:
    """Gives the signal the handler back that it had before `say_instead`."""
    if number in _EARLIER:
        _install(number, ctypes.c_void_p(_EARLIER.pop(number)))


def _install(number: signal.Signals, handler: ctypes.c_void_p) -> int | None:
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    earlier: int | None = libc.signal(ctypes.c_int(number), handler)
    return earlier
