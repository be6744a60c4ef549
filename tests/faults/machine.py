"""Faults of the machine: signals, the clock, two starts at once. Each function does the harm and returns (code, line)."""

import os
import pathlib
import pty
import resource
import signal
import time

from faults.trial import Trial

CLOCK = """
import sys, time
from itm_jax import main
from itm_jax.cli import commands

real, calls = time.time, []


def jumping():
    calls.append(1)
    return real() + (86400 * (-1) ** (len(calls) // 20) if len(calls) > 20 else 0)


time.time = jumping
sys.exit(commands.start(main, sys.argv))
"""


def _signalled(trial: Trial, *numbers: int, pause: float = 0.0):
    process = trial.start()
    trial.until(process, 7)
    for number in numbers:
        process.send_signal(number)
        time.sleep(pause)
    return trial.ended(process)


def killed_in_a_step(trial):
    """SIGKILL in the middle of a step"""
    return _signalled(trial, signal.SIGKILL)


def killed_while_saving(trial):
    """SIGKILL while a checkpoint is written"""
    process = trial.start()
    while not list((trial.workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")) and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    return trial.ended(process)


def killed_before_the_first_checkpoint(trial):
    """SIGKILL before the first checkpoint"""
    process = trial.start()
    trial.until(process, 1)
    process.kill()
    return trial.ended(process)


def terminated(trial):
    """SIGTERM, as schedulers send it"""
    return _signalled(trial, signal.SIGTERM)


def interrupted(trial):
    """Ctrl-C"""
    return _signalled(trial, signal.SIGINT)


def interrupted_twice(trial):
    """Ctrl-C twice"""
    return _signalled(trial, signal.SIGINT, signal.SIGINT, pause=0.02)


def hung_up(trial):
    """SIGHUP: the terminal is closed"""
    return _signalled(trial, signal.SIGHUP)


def terminal_gone(trial):
    """The terminal itself is gone, so that nothing can be written to it"""
    master, slave = pty.openpty()
    process = trial.start(stderr=slave)
    os.close(slave)
    trial.until(process, 7)
    os.close(master)
    process.send_signal(signal.SIGHUP)
    return trial.ended(process)


def stopped_for_a_while(trial):
    """SIGSTOP, and SIGCONT after 5 seconds"""
    process = trial.start()
    trial.until(process, 7)
    process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    process.send_signal(signal.SIGCONT)
    return trial.ended(process)


def clock_jumps(trial):
    """The clock jumps a day ahead and back, again and again"""
    return trial.ended(trial.start(script=("-c", CLOCK)))


def started_twice(trial):
    """The same command is started while it runs"""
    process = trial.start()
    trial.until(process, 7)
    second = trial.finish()
    process.kill()
    process.wait()
    process.said.close()
    return second


def no_memory(trial):
    """No memory is left (RLIMIT_DATA) after step 7"""
    process = trial.start()
    trial.until(process, 7)
    pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[5])  # data and stack
    resource.prlimit(process.pid, resource.RLIMIT_DATA, (pages * resource.getpagesize(),) * 2)
    return trial.ended(process)


FAULTS = [
    killed_in_a_step, killed_while_saving, killed_before_the_first_checkpoint, terminated, interrupted, interrupted_twice,
    hung_up, terminal_gone, stopped_for_a_while, clock_jumps, started_twice, no_memory,
]  # fmt: skip
