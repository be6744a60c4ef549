"""How every command starts and ends: flags, exit codes, one line for a user's mistake and no traceback."""

import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence

from absl import flags

from itm_jax import config as config_lib
from itm_jax.errors import DivergedError, InputError, TerminatedError


def quiet_libraries() -> None:
    """Keeps the libraries' own notices off the terminal; their errors still show."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for name in ("absl", "orbax", "jax", "grain"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses flags; a mistake in them is an InputError that names the nearest known config field."""
    try:
        rest = flags.FLAGS(list(argv))
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as e:
        raise InputError(_flag_message(e, argv)) from None
    except InputError:
        raise
    except Exception as e:  # the config file itself failed: it is Python code
        path = next((a.split("=", 1)[1] for a in argv if a.startswith("--config=")), "the config file")
        raise InputError(f"{path}: {type(e).__name__}: {e}") from None
    return rest


def _flag_message(error: Exception, argv: Sequence[str]) -> str:
    text = " ".join(str(error).split())
    known = config_lib.flatten(config_lib.default_config())
    for name in (m[1] for a in argv if (m := re.match(r"--?config\.([^=]+)", a))):
        if name not in known:
            return (
                f"config.{name}: no such field; the nearest known one is config.{config_lib.nearest_field(name, known)}"
            )
    path = next((a.split("=", 1)[1] for a in argv if re.match(r"--?config=", a)), None)
    if isinstance(error, FileNotFoundError) or "No such file" in text:
        return f"{path or text}: no such config file"
    return text


def run(main: Callable[..., None], argv: Sequence[str] | None = None, *, words: Sequence[str] = ()) -> int:
    """Runs a command and returns its exit code.

    A command with `words` takes one of them as its first argument and hands it to `main`.

    0 done; 2 wrong usage or bad input; 3 diverged; 130 Ctrl-C; 143 SIGTERM. Anything else is a defect of the
    library and ends with its traceback.
    """
    quiet_libraries()
    argv = sys.argv if argv is None else argv
    if any(a in ("--help", "-h", "-help", "--helpfull") for a in argv[1:]):
        print((sys.modules[main.__module__].__doc__ or "").strip())
        print("\nflags:\n" + _own_flags(main))
        return 0
    try:
        rest = parse_flags(argv)[1:]
        if words and (not rest or rest[0] not in words):
            raise InputError(f"{rest[0] if rest else 'no word given'!r}: say one of {', '.join(words)}")
        if rest[len(words[:1]) :]:
            raise InputError(f"{rest[-1]!r}: not understood; arguments have the form --name=value")
        main(*rest)
    except (InputError, DivergedError, TerminatedError) as e:
        print(f"error: {' '.join(str(e).split())}", file=sys.stderr, flush=True)
        return e.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; the same command continues from the last checkpoint", file=sys.stderr, flush=True)
        return 128 + signal.SIGINT
    return 0


def _own_flags(main: Callable) -> str:
    own = flags.FLAGS.get_key_flags_for_module(main.__module__) or flags.FLAGS.get_key_flags_for_module("__main__")
    return "\n".join(f"  --{f.name}: {f.help}" for f in own)
