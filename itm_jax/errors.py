"""The errors that end a command without a traceback, and their exit codes."""

LONGEST = 1000  # characters of a message on the terminal
JOINERS = "\u200c\u200d"  # Persian and Indian words have them between their letters


class InputError(Exception):
    """The command cannot go on, and the cause is outside the library. Exit code 2.

    It is bad data, a bad config or wrong usage, or a disk, a folder or a service that failed. The message says what is
    wrong, where, and what to do.
    """

    exit_code = 2


class NotWritableError(InputError):
    """A directory cannot be written."""


class NonFiniteScoresError(InputError):
    """Some scores are NaN or Inf."""


class DivergedError(Exception):
    """Training produced values from which it cannot go on. Exit code 3."""

    exit_code = 3


class LostProcessError(Exception):
    """Another process of the run did not come, died, hangs, or cannot be reached. Exit code 4."""

    exit_code = 4


class DamagedError(Exception):
    """Something that the library saved cannot be read, or has changed since. The caller reports it and goes on."""


class TerminatedError(Exception):
    """A signal asked the run to end, and a checkpoint has been saved.

    The exit code is 143 for SIGTERM, 130 for Ctrl-C, and 129 for SIGHUP: the terminal was closed.
    """

    def __init__(self, message: str, exit_code: int = 143):
        """Takes the message, and the exit code of the signal."""
        super().__init__(message)
        self.exit_code = exit_code


def for_terminal(message: object) -> str:
    """Returns a message as one line that a terminal can show.

    Whatever a file brought into the message, it cannot steer the terminal: control characters and other invisible ones
    are written as escapes, such as `\\x1b`. The two joiners of Persian and Indian scripts stay. A long message is cut
    in its middle.
    """
    line = "".join(c if c.isprintable() or c in JOINERS else ascii(c)[1:-1] for c in " ".join(str(message).split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST * 3 // 4]} ... {line[-LONGEST // 4 :]}"
