"""Faults of runs of several processes on this machine."""

import signal
import socket
import time

from faults.trial import Trial

FLAGS = ("--config.train.epochs=6",)


def _port() -> int:
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def _pair(trial: Trial, count: int = 2, port: int | None = None, **more):
    port = port or _port()
    return [
        trial.start(
            *FLAGS,
            JAX_COORDINATOR_ADDRESS=f"localhost:{port}",
            JAX_NUM_PROCESSES=str(count),
            JAX_PROCESS_ID=str(index),
            **more,
        )
        for index in range(count)
    ]


def _lost(trial: Trial, which: int, number: int):
    """One gets a signal; returns how the other one ended, with the seconds until then."""
    processes = _pair(trial)
    trial.until(processes[0], 7)
    began = time.monotonic()
    processes[which].send_signal(number)
    code, line = trial.ended(processes[1 - which])
    seconds = time.monotonic() - began
    assert seconds < 60, f"after {seconds:.0f} s"
    processes[which].kill()
    processes[which].wait()
    processes[which].said.close()
    return code, line


def first_killed(trial):
    """Two processes: the first is killed"""
    return _lost(trial, 0, signal.SIGKILL)


def second_killed(trial):
    """Two processes: the second is killed"""
    return _lost(trial, 1, signal.SIGKILL)


def first_stopped(trial):
    """Two processes: the first hangs (SIGSTOP)"""
    return _lost(trial, 0, signal.SIGSTOP)


def second_stopped(trial):
    """Two processes: the second hangs (SIGSTOP)"""
    return _lost(trial, 1, signal.SIGSTOP)


def second_terminated(trial):
    """Two processes: the second gets SIGTERM"""
    processes = _pair(trial)
    trial.until(processes[0], 7)
    processes[1].send_signal(signal.SIGTERM)
    first, second = (trial.ended(process) for process in processes)
    assert first[0] == second[0], (first, second)
    return first


def second_never_comes(trial):
    """Two processes: the second never comes (ITM_JAX_WAIT_SECONDS=10)"""
    return trial.ended(
        trial.start(
            *FLAGS,
            JAX_COORDINATOR_ADDRESS=f"localhost:{_port()}",
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID="0",
            ITM_JAX_WAIT_SECONDS="10",
        )
    )


def first_never_comes(trial):
    """Two processes: the first never comes (ITM_JAX_WAIT_SECONDS=10)"""
    return trial.ended(
        trial.start(
            *FLAGS,
            JAX_COORDINATOR_ADDRESS=f"localhost:{_port()}",
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID="1",
            ITM_JAX_WAIT_SECONDS="10",
        )
    )


def port_taken(trial):
    """Two processes: the port of the first is taken"""
    with socket.socket(socket.AF_INET6) as s:
        s.bind(("::", 0))
        s.listen()
        first, second = _pair(trial, port=s.getsockname()[1], ITM_JAX_WAIT_SECONDS="10")
        ended = trial.ended(first)
        second.kill()
        second.wait()
        second.said.close()
        return ended


def one_slow(trial):
    """Two processes: the second runs for 50 ms of every 250 ms"""
    processes = _pair(trial)
    trial.until(processes[0], 7)
    began = time.monotonic()
    while processes[0].poll() is None and time.monotonic() - began < 100:
        for number, seconds in ((signal.SIGSTOP, 0.2), (signal.SIGCONT, 0.05)):
            if processes[1].poll() is None:
                processes[1].send_signal(number)
            time.sleep(seconds)
    processes[1].send_signal(signal.SIGCONT)
    named = [line for line in trial.text(processes[0]).splitlines() if "is slow" in line]
    codes = [trial.ended(process) for process in processes]
    return codes[0][0], named[0] if named else codes[0][1]


FAULTS = [
    first_killed, second_killed, first_stopped, second_stopped, second_terminated, second_never_comes,
    first_never_comes, port_taken, one_slow,
]  # fmt: skip
