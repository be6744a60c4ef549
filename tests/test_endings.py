"""How commands end: the line and the exit code of each error, and what becomes of the other processes of a run."""

import contextlib
import errno
import types

import jax
import pytest
from support.commands import process

from itm_jax.cli import endings
from itm_jax.errors import DivergedError, InputError, LostProcessError, TerminatedError

OUT_OF_MEMORY = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (InputError("a.txt:\nmissing"), "a.txt: missing", 2),
        (DivergedError("step 3: NaN"), "step 3: NaN", 3),
        (LostProcessError("process 1 died"), "process 1 died", 4),
        (TerminatedError("stopped"), "stopped", 143),
        (TerminatedError("closed", exit_code=129), "closed", 129),
        (KeyboardInterrupt(), "interrupted; the same command continues", 130),
        (OSError(errno.ENOSPC, "No space", "run/a"), "run/a: no space left on the disk; make room", 2),
        (ValueError("[OS error 28: No space left on device]"), "no space left on the disk; make room", 2),
        (OSError(errno.EDQUOT, "Quota"), "no space left on the disk; make room", 2),
        (OSError(errno.EROFS, "x", "run/.lock"), "run/.lock: the disk can only be read now", 2),
        (MemoryError(), "no memory left; end other programs", 2),
        (RuntimeError("can't start new thread"), "no memory left; end other programs", 2),
        (OUT_OF_MEMORY, "no memory left on a device; end other programs on it, or take a smaller batch", 2),
    ],
)
def test_errors_that_end_with_a_line(error, line, code):
    said, got = endings.ending(error)
    assert said.startswith(line)
    assert got == code


@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.EIO, "x"), jax.errors.JaxRuntimeError("INTERNAL: x")])
def test_a_defect_keeps_its_traceback(error):
    assert endings.ending(error) is None
    with pytest.raises(type(error)) as raised:
        endings.end_with(error)
    assert raised.value is error


@pytest.fixture
def left(monkeypatch):
    """What a process of several tells the others, and how it ends or waits."""
    left = []

    def leave(code):
        left.append(f"told {code}")

    def ends(code):
        left.append(f"ended {code}")
        raise SystemExit(code)

    module = types.ModuleType("distributed")
    module.PEERS, module.HEARTBEAT_SECONDS, module.leave = True, 100, leave
    monkeypatch.setitem(endings.sys.modules, "itm_jax.devices.distributed", module)
    monkeypatch.setattr(endings.os, "_exit", ends)
    monkeypatch.setattr(endings.time, "sleep", lambda seconds: left.append(f"waited {seconds}"))
    return left


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("x"), ["told 2", "ended 2"]),
        (DivergedError("x"), ["told 0"]),
        (TerminatedError("x"), ["told 0"]),
        (OUT_OF_MEMORY, ["told 2", "ended 2"]),
        (ValueError("x"), ["told 1", "ended 1"]),
        (jax.errors.JaxRuntimeError("INTERNAL: connection closed by peer"), ["waited 100", "told 1", "ended 1"]),
        (ValueError("UNKNOWN: Gloo AllGather failed: connection closed"), ["waited 100", "told 1", "ended 1"]),
    ],
)
def test_what_the_other_processes_are_told(left, error, expected):
    """A failed sum over processes may mean that one was lost; only then is there anything to wait for."""
    with contextlib.suppress(SystemExit):
        endings.end_with(error)
    assert left == expected


def test_a_run_whose_first_process_does_not_come_ends_with_code_4(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "localhost:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    monkeypatch.setenv("JAX_PROCESS_ID", "1")
    monkeypatch.setenv("ITM_JAX_WAIT_SECONDS", "1")
    code, out, err = process("--config=quickstart", f"--workdir={tmp_path / 'run'}")
    assert (code, out) == (4, "")
    assert err == [
        "error: JAX_COORDINATOR_ADDRESS=localhost:1: the first process did not answer in 1 s (Connection refused). "
        "Start the same command again on all machines to continue from the last checkpoint"
    ]
    assert not (tmp_path / "run").exists()
