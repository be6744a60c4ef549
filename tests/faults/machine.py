"""Faults of the machine: signals, the clock, two starts at once. Each function does the harm, and returns how the process ended."""

import os
import pathlib
import pty
import resource
import signal
import time

from faults import slow_scenes
from faults.trial import KILLED, Ended, Trial, fault, faults_of

CLOCK = """
import sys, time
from itm_jax import main
from itm_jax.cli import commands

real, calls = time.time, []


def jumping():
    calls.append(1)
    return real() + 86400 * (len(calls) // 20 % 2)


time.time = jumping
sys.exit(commands.start(main, sys.argv))
"""


def _signalled(trial: Trial, number: int) -> Ended:
    process = trial.start()
    trial.until(process, 7)
    process.send_signal(number)
    return trial.ended(process)


@fault(KILLED, "")
def killed_in_a_step(trial):
    """SIGKILL in the middle of a step"""
    return _signalled(trial, signal.SIGKILL)


@fault(KILLED, "")
def killed_while_saving(trial):
    """SIGKILL while a checkpoint is written"""
    process = trial.start()

    def unfinished():
        return list((trial.workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))

    trial.until(process, 1)
    while process.poll() is None:
        if unfinished():
            process.send_signal(signal.SIGSTOP)  # so that it cannot finish before it is killed
            if unfinished():
                break
            process.send_signal(signal.SIGCONT)
        time.sleep(0.001)
    ended = trial.stop(process)
    assert unfinished()
    return ended


@fault(KILLED, "")
def killed_before_the_first_checkpoint(trial):
    """SIGKILL before the first checkpoint"""
    process = trial.start()
    trial.until(process, 1)
    ended = trial.stop(process)
    assert not [p for p in (trial.workdir / "checkpoints").glob("*") if p.name.isdigit()]
    return ended


@fault(128 + signal.SIGTERM, "stopped by SIGTERM at step")
def terminated(trial):
    """SIGTERM, as schedulers send it"""
    return _signalled(trial, signal.SIGTERM)


@fault(128 + signal.SIGINT, "stopped by Ctrl-C at step")
def interrupted(trial):
    """Ctrl-C"""
    return _signalled(trial, signal.SIGINT)


@fault(128 + signal.SIGINT, "interrupted; the same command continues")
def interrupted_twice(trial):
    """Ctrl-C twice"""
    process = trial.start(**{slow_scenes.SECONDS: "1"})  # so that it has not saved when the second one comes
    trial.until(process, 7)
    process.send_signal(signal.SIGINT)
    while process.poll() is None and "press Ctrl-C again" not in trial.text(process):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    return trial.ended(process)


@fault(128 + signal.SIGHUP, "stopped by the end of its terminal (SIGHUP) at step")
def hung_up(trial):
    """SIGHUP: the terminal is closed"""
    return _signalled(trial, signal.SIGHUP)


@fault(128 + signal.SIGHUP, "")
def terminal_gone(trial):
    """The terminal itself is gone, so that nothing can be written to it"""
    master, slave = pty.openpty()
    process = trial.start(stderr=slave)
    os.close(slave)
    trial.until(process, 7)
    os.close(master)
    process.send_signal(signal.SIGHUP)
    return trial.ended(process)


@fault(0, "evaluating step")
def stopped_for_a_while(trial):
    """SIGSTOP, and SIGCONT after 5 seconds"""
    process = trial.start()
    trial.until(process, 7)
    process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    process.send_signal(signal.SIGCONT)
    return trial.ended(process)


@fault(2, "the clock of the machine was set while it saved")
def clock_jumps(trial):
    """The clock jumps a day ahead and back, again and again"""
    return trial.ended(trial.start(script=("-c", CLOCK)))


@fault(2, "in use by process")
def started_twice(trial):
    """The same command is started while it runs"""
    process = trial.start()
    trial.until(process, 7)
    process.send_signal(signal.SIGSTOP)  # so that it does not end before the second one looks
    second = trial.finish()
    trial.stop(process)
    return second


@fault(2, "no memory left")
def no_memory(trial):
    """No memory is left (RLIMIT_DATA) after step 37, when all programs are compiled"""
    process = trial.start(**{slow_scenes.SECONDS: "0.2"})
    trial.until(process, 37)
    pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[5])  # data and stack
    resource.prlimit(process.pid, resource.RLIMIT_DATA, (pages * resource.getpagesize(),) * 2)
    return trial.ended(process)


FAULTS = faults_of(globals())
