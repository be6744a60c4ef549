"""A line in place of a sudden death: signals that Python's own handlers would see too late, or never.

A library in C++ that gives up calls abort() in a thread of its own, and a memory-mapped file that was cut short raises
SIGBUS in the middle of a copy. Python runs its handlers only after such a call has come back, which it does not.
"""

import ctypes
import os
import signal
from typing import Any

_HANDLERS: list[Any] = []  # a handler must live as long as the process


def end(what: str, code: int) -> None:
    """Ends this process at once with a line, from any thread."""
    os.write(2, f"error: {what}\n".encode())
    os._exit(code)


def say_instead(number: signal.Signals, what: str, code: int) -> None:
    """From now on the signal ends this process with a line.

    Args:
        number: SIGABRT or SIGBUS.
        what: the line, without `error:`.
        code: the exit code.
    """

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def handler(_: int) -> None:
        ctypes.CDLL(None).alarm(20)  # ends the process if Python cannot run here
        end(what, code)

    _HANDLERS.append(handler)
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    libc.signal(ctypes.c_int(number), handler)
