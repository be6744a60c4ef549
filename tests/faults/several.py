"""Faults of runs of several processes on this machine."""

import signal
import socket
import time

from faults.trial import KILLED, Ended, Fault, Trial, fault, faults_of

SHORT = {"ITM_JAX_WAIT_SECONDS": "10"}
LOST = 4  # the exit code where another process was lost


class Pair(Trial):
    """A run of two processes."""

    def one(self, index: int, port: int, **more):
        """Starts one of them."""
        address = {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": "2"}
        return self.start(JAX_PROCESS_ID=str(index), **address, **more)

    def both(self):
        """Starts both."""
        port = free_port()
        return [self.one(index, port) for index in range(2)]

    def again(self) -> list[Ended]:
        """Gives the same commands again: how both ended."""
        return [self.ended(process) for process in self.both()]


def free_port() -> int:
    """A port of this machine where nothing listens."""
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def lost(name: str, what: str, which: int, number: int, line: str) -> Fault:
    """The fault that one process gets a signal: the other one must end with a line within a minute."""

    def do(pair: Pair) -> Ended:
        processes = pair.both()
        pair.until(processes[0], 7)
        began = time.monotonic()
        processes[which].send_signal(number)
        ended = pair.ended(processes[1 - which])
        seconds = time.monotonic() - began
        assert seconds < 60, f"after {seconds:.0f} s"
        assert pair.stop(processes[which]).code == KILLED
        return ended

    return Fault(name, f"Two processes: {what}", do, LOST, line, "", False)


LOSSES = [
    lost("first_killed", "the first is killed", 0, signal.SIGKILL, "usually another process died"),
    lost("second_killed", "the second is killed", 1, signal.SIGKILL, "process 1 on "),
    lost("first_stopped", "the first hangs (SIGSTOP)", 0, signal.SIGSTOP, "process 0 on "),
    lost("second_stopped", "the second hangs (SIGSTOP)", 1, signal.SIGSTOP, "process 1 on "),
]


@fault(128 + signal.SIGTERM, "stopped by SIGTERM at step")
def second_terminated(pair):
    """Two processes: the second gets SIGTERM"""
    processes = pair.both()
    pair.until(processes[0], 7)
    processes[1].send_signal(signal.SIGTERM)
    first, second = (pair.ended(process) for process in processes)
    assert first.code == second.code, (first, second)
    return first


@fault(LOST, "not all processes of this run came within 10 s")
def second_never_comes(pair):
    """Two processes: the second never comes (ITM_JAX_WAIT_SECONDS=10)"""
    return pair.ended(pair.one(0, free_port(), **SHORT))


@fault(LOST, "the first process did not answer in 10 s")
def first_never_comes(pair):
    """Two processes: the first never comes (ITM_JAX_WAIT_SECONDS=10)"""
    return pair.ended(pair.one(1, free_port(), **SHORT))


@fault(LOST, "another program uses this port")
def port_taken(pair):
    """Two processes: the port of the first is taken"""
    with socket.socket(socket.AF_INET6) as s:
        s.bind(("::", 0))
        s.listen()
        return pair.ended(pair.one(0, s.getsockname()[1], **SHORT))


@fault(0, "is slow")
def one_slow(pair):
    """Two processes: the second runs for 50 ms of every 250 ms"""
    first, second = pair.both()
    pair.until(first, 7)
    began = time.monotonic()
    while first.poll() is None and time.monotonic() - began < 100:
        for number, seconds in ((signal.SIGSTOP, 0.2), (signal.SIGCONT, 0.05)):
            if second.poll() is None:
                second.send_signal(number)
            time.sleep(seconds)
    second.send_signal(signal.SIGCONT)
    assert pair.ended(second).code == 0
    return pair.ended(first)


FAULTS = [*LOSSES, *faults_of(globals())]
