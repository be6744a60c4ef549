"""How every command starts and ends: flags, exit codes, one line for a user's mistake and no traceback."""

import atexit
import gc
import logging
import os
import pathlib
import re
import signal
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from itm_jax.buckets.store import is_url
from itm_jax.cli.endings import CUT_SHORT, DONE, end_of_reader, end_with, leave
from itm_jax.config import of_run as config_of_run
from itm_jax.config.default import default_config
from itm_jax.config.fields import flatten, nearest_field
from itm_jax.config.load import config_names, find_config
from itm_jax.config.model_fields import idle_flags
from itm_jax.devices.fatal import say_instead
from itm_jax.devices.host_memory import keep_memory
from itm_jax.errors import InputError

CONFIG_OF_RUN = pathlib.Path(config_of_run.__file__)


def quiet_libraries() -> None:
    """Keeps the libraries' own notices off the terminal; their errors still show.

    What Orbax writes to the logs of absl and asyncio where a save fails, it raises too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # that PyTorch is not installed
    for name in ("orbax", "jax", "grain"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited", category=RuntimeWarning)


def parse_flags(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """Parses the flags of a command anew.

    Raises:
        InputError: a flag is wrong; for an unknown config field the message names the nearest known one.
    """
    values.unparse_flags()
    for name in [name for name in values if "." in name]:  # fields of a config that was parsed before
        delattr(values, name)
    flags.FLAGS.mark_as_parsed()  # libraries read their own flags there
    try:
        return values(list(argv))
    except InputError:
        raise
    except Exception as e:  # absl's errors, and whatever the config file raises: it is Python code
        raise InputError(_flag_message(e, argv)) from None


def config_of(flag: flags.FlagHolder, values: flags.FlagValues) -> ml_collections.ConfigDict:
    """Returns the value of a config-file flag.

    Raises:
        InputError: the flag is not set, the file is missing or broken, or a field that is set has no effect.
    """
    if flag.value is None:
        raise InputError("--config: missing; pass --config=quickstart, for example")
    try:  # ml_collections reports a file that it could not load at the first use
        if not hasattr(flag.value, "items"):
            raise InputError(f"--config: its get_config() returned {type(flag.value).__name__}, not a ConfigDict")
    except OSError as e:
        raise InputError(_flag_message(e, sys.argv)) from None
    for problem in idle_flags(flag.value, config_flags.get_override_values(values[flag.name])):
        raise InputError(problem)
    return flag.value


def check_flags_of_own_model(flag: flags.FlagHolder, values: flags.FlagValues) -> None:
    """Raises InputError where a field on the command line has no effect on the user's own model, which it loads."""
    for problem in idle_flags(flag.value, config_flags.get_override_values(values[flag.name]), load_own=True):
        raise InputError(problem)


def place(name: str, value: str) -> str | pathlib.Path:
    """Returns the value of a flag that may be a local path or an address in a bucket."""
    return value.rstrip("/") if is_url(value) else directory(name, value)


def copy_of_run(name: str, value: str, cache: str | None) -> pathlib.Path:
    """Returns the value of a flag as the local path of a run; of a run in a bucket it makes a copy in the cache.

    Args:
        name: of the flag.
        value: of the flag.
        cache: `config.data.cache_dir`.
    """
    from itm_jax.runs.bucket import fetch_workdir  # it brings JAX, which most commands do not need for their flags

    return fetch_workdir(value, cache) if is_url(value) else directory(name, value)


def directory(name: str, value: str) -> pathlib.Path:
    """Returns the value of a flag as a local path; a URL is an InputError."""
    if is_url(value):
        raise InputError(
            f"--{name}={value}: a URL; pass a local directory, mount the bucket (with gcsfuse, say), or copy the "
            "directory to it afterwards"
        )
    return pathlib.Path(value).expanduser()


def file(name: str, value: str) -> pathlib.Path:
    """Returns the value of a flag as the path of a local file; a URL is an InputError."""
    if is_url(value):
        raise InputError(f"--{name}={value}: a URL; pass a local file, or mount the bucket (with gcsfuse, say)")
    return pathlib.Path(value).expanduser()


def required(flag: flags.FlagHolder, kind: str, what: str = "") -> str:
    """Returns the value of a flag that must be set.

    Args:
        flag: the flag.
        kind: FILE or DIR, for the error.
        what: what the flag names, for the error.
    """
    if not flag.value:
        raise InputError(f"--{flag.name}: missing; pass --{flag.name}={kind}{f', {what}' if what else ''}")
    return flag.value


def given(argv: Sequence[str]) -> dict[str, str]:
    """The flags of a command line, `--name=value` or `--name value`, before absl has read them."""
    flat = [part for a in argv[1:] for part in (a.split("=", 1) if a.startswith("-") else [a])]
    return {name.lstrip("-"): value for name, value in zip(flat, [*flat[1:], ""], strict=False) if name.startswith("-")}


def with_config_of_run(argv: Sequence[str], run: str | None) -> list[str]:
    """The arguments, with the config of the run where --config is missing."""
    if "config" in given(argv) or not run:
        return list(argv)
    return [argv[0], f"--config={CONFIG_OF_RUN}:{run}", *argv[1:]]


def with_named_config(argv: Sequence[str]) -> list[str]:
    """The arguments, with the file of a config in place of its name (`quickstart`) or of the config.json of a run."""
    out = list(argv)
    for k, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-config") and equals:
            out[k] = f"{name}={config_file(value)}"
        elif name in ("--config", "-config") and k + 1 < len(argv):
            out[k + 1] = config_file(argv[k + 1])
    return out


def config_file(value: str) -> str:
    """The file that a value of --config means: a path, the name of a config of the library, or a run's config.json."""
    if is_url(value):
        folder, _, name = value.rpartition("/")
        return f"{CONFIG_OF_RUN}:{folder}" if name == "config.json" else value
    path = pathlib.Path(value).expanduser()
    if path.name == "config.json":
        return f"{CONFIG_OF_RUN}:{path.parent}"
    return str(find_config(value) or value)


def _flag_message(error: Exception, argv: Sequence[str]) -> str:
    known = flatten(default_config())
    for name in (m[1] for a in argv if (m := re.match(r"--?config\.([^=]+)", a))):
        if name not in known:
            near = nearest_field(name, known)
            return f"config.{name}: no such field; the nearest known one is config.{near}"
    path = re.sub(r"(\.py):.*", r"\1", given(argv).get("config", ""))  # without the argument of get_config
    if path and not isinstance(error, flags.Error):
        if not pathlib.Path(path).exists():
            return f"{path}: no such config file; those of the library are {', '.join(config_names())}"
        return f"{path}: {type(error).__name__}: {error}"
    text = str(error).strip()
    if path and "Traceback" in text:  # an error of the config file, as absl reports it
        return f"{path}: {text.splitlines()[-1]}"
    return text


def run(main: Callable[..., None], values: flags.FlagValues, argv: Sequence[str], *, words: Sequence[str] = ()) -> int:
    """Runs a command and returns its exit code.

    Args:
        main: the command; it reads its flags.
        values: the flags of the command.
        argv: the command line, the program's name first.
        words: a command with words takes one of them as its first argument and hands it to `main`.

    The exit codes are: 0 done; 2 wrong usage or bad input, or no memory or disk space left; 3 diverged; 4 another
    process of the run was lost; 129 SIGHUP (the terminal was closed); 130 Ctrl-C; 141 nobody reads the output any more;
    143 SIGTERM. Any other error is a defect of the library and ends with its traceback.
    """
    keep_memory()
    quiet_libraries()
    say_instead(signal.SIGBUS, CUT_SHORT, InputError.exit_code)
    sys.argv = argv = with_named_config(argv)  # where ml_collections looks for fields of the config
    if any(a in ("--help", "-h", "-help", "--helpfull") for a in argv[1:]):
        print((sys.modules[main.__module__].__doc__ or "").strip())
        print("\nflags:\n" + _help(values))
        return 0
    try:
        rest = parse_flags(values, argv)[1:]
        if words and (not rest or rest[0] not in words):
            raise InputError(
                f"{repr(rest[0]) if rest else 'the first argument is missing'}: say one of {', '.join(words)}"
            )
        if rest[len(words[:1]) :]:
            raise InputError(f"{rest[-1]!r}: not understood; arguments have the form --name=value")
        main(*rest)
    except BrokenPipeError:
        return end_of_reader()
    except (Exception, KeyboardInterrupt) as e:
        return end_with(e)
    leave(DONE)
    return DONE


def start(program: types.ModuleType, argv: Sequence[str]) -> int:
    """Runs the command of a module, which has `main` and `FLAGS`, and may have `arguments` and `WORDS`."""
    sys.unraisablehook = _unraisable
    atexit.register(gc.collect)  # what is left of a save that failed goes while the line above holds
    argv = program.arguments(list(argv)) if hasattr(program, "arguments") else argv
    return run(program.main, program.FLAGS, argv, words=list(getattr(program, "WORDS", ())))


def _unraisable(what: Any) -> None:
    """Prints an error that nobody can catch, as Python does, but for those of a save that Orbax has given up."""
    code = getattr(what.object, "cr_code", None)
    if str(what.exc_value) != "Event loop is closed" and not (code and "orbax" in code.co_filename):
        sys.__unraisablehook__(what)


def _help(values: flags.FlagValues) -> str:
    return "\n".join(f"  --{name}: {values[name].help}" for name in sorted(values) if "." not in name)
