"""Runs one reader on one folder under limits, and says what went wrong: an error, time, memory, a path, code."""

import contextlib
import functools
import os
import pathlib
import resource
import signal
import sys
import traceback

from itm_jax.errors import JOINERS, InputError, for_terminal

LONGEST = 2000  # characters of a message
WATCHED = {
    "open",
    "os.listdir",
    "os.scandir",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "shutil.rmtree",
    "os.symlink",
}
CODE = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "pickle.find_class"}
SYSTEM = (
    "/proc/",
    "/sys/",
    "/dev/null",
    "/dev/urandom",
    "/etc/mime.types",
    "/usr/share/zoneinfo",
    "/usr/lib",
    "/usr/local/lib",
)
GENERATED = ("dataclasses.py", "collections/__init__.py", "namedtuple", "jax/", "enum.py", "attr/", "functools.py")

_allowed: list[str] = []
_seen: list[str] = []
_watching = False


class HangError(BaseException):
    """The time of a case is over. No `except Exception` of a reader stops it."""


def _audit(event, args):
    if not _watching:
        return
    if event in CODE and args[0] != "uname":  # of `platform`
        _seen.append(f"{event} {args[0]!r:.100}")
    elif event == "exec":
        file = getattr(args[0], "co_filename", "")
        if not file.startswith(("<frozen", *_code_roots())) and not _is_generated():
            _seen.append(f"exec of {file!r:.100}")
    elif event in WATCHED and isinstance(args[0], str | bytes | os.PathLike):
        name = os.fsdecode(args[0])
        if name.startswith(_allowed[0]) and ".." not in name:  # the common case, without a call of the system
            return
        try:
            path = os.path.realpath(os.path.abspath(os.fsdecode(args[0])))
        except ValueError:  # a NUL: the system refuses it
            return
        if not path.startswith((*_allowed, *SYSTEM, *_code_roots())):
            _seen.append(f"{event} {path!r:.200}")


@functools.cache
def _code_roots():
    return tuple(p for p in (*sys.path, sys.prefix, sys.base_prefix) if p)


def _is_generated():
    """Whether the standard library makes the code itself, of a dataclass or a named tuple."""
    frame = sys._getframe(2)
    while frame:
        if any(part in frame.f_code.co_filename for part in GENERATED):
            return True
        frame = frame.f_back
    return False


def install(*roots):
    """Starts to watch which paths are opened; those below `roots` are allowed."""
    _allowed.extend(os.path.realpath(str(root)) for root in roots)
    sys.addaudithook(_audit)
    signal.signal(signal.SIGALRM, _ring)


def _ring(*_):
    raise HangError


def data_bytes():
    """The private memory of this process, as RLIMIT_DATA counts it."""
    with pathlib.Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmData")) << 10


@contextlib.contextmanager
def memory_limit(megabytes):
    """Limits what this process may allocate beyond what it has."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = data_bytes() + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def attempt(read, fine, seconds, *, intact=False):
    """Runs `read()`; returns None where all is well, else (kind, signature, text) of the finding.

    An `intact` file must be read; any other may be refused.
    """
    global _watching
    _seen.clear()
    _watching = True
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        try:
            read()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            _watching = False
    except InputError as e:
        said = for_terminal(e)  # what the terminal gets
        if intact:
            return "seed", f"refused {_place(e)}", said
        if not can_be_shown(said):
            return "message", f"message {_place(e)}", said[:300]
        if not said:
            return "message", f"empty message {_place(e)}", ""
    except fine:
        pass
    except HangError as e:
        return "hang", f"hang {_place(e)}", "".join(traceback.format_exception(e))[-3000:]
    except MemoryError as e:
        return "memory", f"MemoryError {_place(e)}", "".join(traceback.format_exception(e))[-3000:]
    except Exception as e:
        return "error", f"{type(e).__name__} {_place(e)}", "".join(traceback.format_exception(e))[-3000:]
    if _seen:
        return "outside", f"outside {_seen[0]}", "\n".join(_seen[:5])
    return None


def can_be_shown(message):
    """Whether a message is short, and has no characters that steer a terminal."""
    return len(message) <= LONGEST and message.translate(dict.fromkeys(map(ord, JOINERS))).isprintable()


def _place(error):
    """The innermost function of the library that the error went through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/itm_jax/" in f.filename]
    return f"{frames[-1].filename.rsplit('/itm_jax/', 1)[1]}:{frames[-1].name}" if frames else "outside the library"
