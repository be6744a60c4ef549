"""The errors that end a command without a traceback, and their exit codes."""


class InputError(Exception):
    """The user made a mistake: bad data, a bad config or wrong usage. Exit code 2.

    The message says what is wrong, where, and what to do.
    """

    exit_code = 2


class NotWritableError(InputError):
    """A directory cannot be written."""


class NonFiniteScoresError(InputError):
    """Some scores are NaN or Inf."""


class DivergedError(Exception):
    """Training produced values from which it cannot go on. Exit code 3."""

    exit_code = 3


class DamagedError(Exception):
    """Something that the library saved cannot be read, or has changed since. The caller reports it and goes on."""


class TerminatedError(Exception):
    """SIGTERM or Ctrl-C arrived, and a checkpoint has been saved. Exit code 143 or 130."""

    def __init__(self, message: str, exit_code: int = 143):
        """Takes the message, and the exit code of the signal."""
        super().__init__(message)
        self.exit_code = exit_code
