"""How a command ends: the line and the exit code of an error, and what the other processes of its run are told.

Where a run has several processes, an error of one of them must not leave the others waiting for it.
"""

import errno
import os
import signal
import sys
import time
import traceback
import types
from typing import NoReturn

from itm_jax.errors import DivergedError, InputError, LostProcessError, TerminatedError, for_terminal

DONE, DEFECT, INTERRUPTED, CLOSED_PIPE = 0, 1, 128 + signal.SIGINT, 128 + signal.SIGPIPE
CUT_SHORT = (
    "a file was cut short while it was being read, or its disk failed (SIGBUS); put the data back, and start the same "
    "command again to continue from the last checkpoint"
)
STATUS = ("UNKNOWN: ", "INTERNAL: ", "UNAVAILABLE: ", "ABORTED: ", "CANCELLED: ", "DEADLINE_EXCEEDED: ")
DEVICE_MEMORY = "RESOURCE_EXHAUSTED"  # what JAX's errors say where a device has no memory left


def ending(error: BaseException) -> tuple[str, int] | None:
    """Returns the line and the exit code of an error; None for a defect of the library, which needs its traceback."""
    if isinstance(error, InputError | DivergedError | LostProcessError | TerminatedError):
        return for_terminal(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the same command continues from the last checkpoint, or starts anew", INTERRUPTED
    if is_disk_full(error):
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        return f"{where}no space left on the disk; make room, the same command continues", InputError.exit_code
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        where = f"{error.filename}: " if error.filename else ""
        what = "the disk can only be read now; make it writable, and start the same command again to continue"
        return f"{where}{what}", InputError.exit_code
    if isinstance(error, MemoryError) or "can't start new thread" in str(error):  # a thread needs memory too
        what = "no memory left; end other programs, or take a smaller batch; the same command continues"
        return what, InputError.exit_code
    if of_jax(error) and DEVICE_MEMORY in str(error):
        what = (
            "no memory left on a device; end other programs on it, or take a smaller batch; the same command continues"
        )
        return for_terminal(f"{what} ({error})"), InputError.exit_code
    return None


def end_with(error: BaseException) -> int:
    """Prints the line of an error, tells the other processes of the run, and returns the exit code.

    Raises:
        BaseException: the error itself, if it is a defect of the library. Of several processes, this one then prints
            the traceback and ends here.
    """
    known = ending(error)
    if known is None:
        wait_for_the_reason(error)
        if of_several():
            traceback.print_exception(error)
            leave_at_once(DEFECT)
        raise error
    line, code = known
    print(f"error: {line}", file=sys.stderr, flush=True)
    if isinstance(error, DivergedError | TerminatedError):
        leave(DONE)  # all processes end like this, and each has yet to print its line
    elif of_several():
        leave_at_once(code)
    return code


def end_of_reader() -> int:
    """Ends a command whose output nobody reads any more, such as with `| head`; returns the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if of_several():
        leave_at_once(CLOSED_PIPE)
    return CLOSED_PIPE


def leave(code: int) -> None:
    """Tells the other processes of the run, if there are any, that this one ends."""
    if distributed := of_several():
        distributed.leave(code)


def leave_at_once(code: int) -> NoReturn:
    """Tells the other processes of the run, and ends this one: at its usual end, JAX would wait for the others."""
    leave(code)
    os._exit(code)


def of_several() -> types.ModuleType | None:
    """Returns `devices.distributed` if this process has joined others."""
    distributed = sys.modules.get("itm_jax.devices.distributed")
    return distributed if distributed and distributed.PEERS else None


def wait_for_the_reason(error: BaseException) -> None:
    """Gives `devices.peers` the time to end this process with a better line, if a computation of several failed."""
    distributed = of_several()
    if distributed and of_jax(error):
        time.sleep(distributed.HEARTBEAT_SECONDS)


def of_jax(error: BaseException) -> bool:
    """Returns whether JAX's runtime raised the error; JAX itself may not be imported."""
    if type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError"):
        return True
    return isinstance(error, ValueError) and str(error).startswith(STATUS)  # so JAX 0.10 raises a failed sum on CPUs


def is_disk_full(error: BaseException) -> bool:
    """Returns whether the disk or the user's quota is full, by the system's error code or a library's message."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(error) or "Disk quota exceeded" in str(error)
