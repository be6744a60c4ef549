"""The errors that end a command without a traceback, and their exit codes."""


class InputError(Exception):
    """A user's mistake: bad data, bad config, wrong usage. Says what, where and what to do. Exit code 2."""

    exit_code = 2


class NonFiniteScoresError(InputError):
    """Scores with NaN or Inf among them."""


class DivergedError(Exception):
    """Training produced values it cannot go on from. Exit code 3."""

    exit_code = 3


class DamagedError(Exception):
    """Something that the library saved cannot be read, or is not what was saved; its user names it and goes on."""


class TerminatedError(Exception):
    """SIGTERM arrived and a checkpoint has been saved. Exit code 143."""

    exit_code = 143
