"""What the processes of a run know of each other: who is gone, and who is slow."""

import json
import re
import threading
import time

import pytest

from itm_jax.devices import peers
from itm_jax.devices.pace import Comparison, slow_processes


class Client:
    """A store as JAX's coordination service has it, in this process."""

    def __init__(self):
        self.store, self.slow = {}, False
        self.is_sending = threading.Event()

    def key_value_set(self, key, value, allow_overwrite):
        assert allow_overwrite
        if self.slow:
            self.slow = False
            self.is_sending.set()
            time.sleep(0.3)
        self.store[key] = value

    def key_value_dir_get(self, prefix):
        return [(key, value) for key, value in self.store.items() if key.startswith(prefix)]


@pytest.fixture
def ended(monkeypatch):
    """What the processes said that would have ended."""
    monkeypatch.setattr(peers, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(peers, "JUDGE_SECONDS", 0.05)
    monkeypatch.setattr(peers, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(peers, "instead_of_abort", lambda what: None)
    ended = []
    monkeypatch.setattr(peers, "end", lambda what, code: ended.append((what, code)))
    return ended


@pytest.fixture
def start(monkeypatch):
    """Starts the sides of so many processes, and ends them after the test."""
    sides = []

    def sides_of(count, client):
        monkeypatch.setattr(peers.jax, "process_count", lambda: count)
        for index in range(count):
            monkeypatch.setattr(peers.jax, "process_index", lambda index=index: index)
            sides.append(peers.Peers(client))
        return sides

    yield sides_of
    for side in sides:
        side._end.set()
    for thread in threading.enumerate():
        if thread.name == "peers":
            thread.join(5)


def test_what_peers_know_of_each_other(ended, start):
    sides = start(3, Client())
    time.sleep(0.8)
    assert [side.lost_process() for side in sides] == [None] * 3
    sides[1].leave(0)  # it has finished
    time.sleep(0.8)
    assert sides[0].lost_process() is None
    assert not ended
    sides[2]._end.set()  # it hangs
    time.sleep(0.8)
    for what, code in (sides[0].lost_process(), ended[0]):
        assert re.search(r"^process 2 on \S+ showed no sign of life for [01] s: it died, hangs, or cannot be", what)
        assert code == 4


@pytest.mark.parametrize(("left", "code"), [(2, 2), (3, 3), (1, 4), (130, 4)])
def test_a_process_ends_with_the_code_of_the_other_where_another_try_would_not_help(ended, start, left, code):
    sides = start(2, Client())
    sides[1].leave(left)
    time.sleep(0.3)
    what, got = sides[0].lost_process()
    assert re.search(rf"^process 1 on \S+ ended with exit code {left}; its own line says why$", what)
    assert got == code
    assert ended[0] == (what, code)


def test_the_last_sign_of_a_process_is_that_it_left(start, ended):
    """The thread is in the middle of sending an older sign."""
    client = Client()
    sides = start(1, client)
    client.slow = True
    assert client.is_sending.wait(5)
    sides[0].leave(2)
    time.sleep(0.5)
    assert json.loads(client.store[f"{peers.KEY}0"])["exit_code"] == 2


def test_the_time_in_which_a_process_stood_still_does_not_count(ended, start, monkeypatch):
    """The other one ends while this one is stopped; it gets its time once this one goes on."""
    clock, jump = time.monotonic, [0.0]
    monkeypatch.setattr(peers.time, "monotonic", lambda: clock() + jump[0])
    sides = start(2, Client())
    time.sleep(0.3)
    sides[1]._end.set()
    time.sleep(0.1)  # its last sign is read
    jump[0] = 100.0
    time.sleep(0.2)
    assert not ended
    time.sleep(0.8)
    assert re.search(r"^process 1 on \S+ showed no sign of life for [01] s", ended[0][0])


def test_a_slow_process_is_named():
    assert slow_processes([0.001, 0.002, 0.001], [0.010, 0.011, 0.010]) == []
    assert slow_processes([0.001, 0.050, 0.002], [0.010, 0.011, 0.050]) == [
        (1, "process 1 is slow: it waits 0.050 s a step for its batches, the others 0.002 s"),
        (2, "process 2 is slow: it takes 0.050 s for a product of matrices, the others 0.010 s"),
    ]
    assert slow_processes([0.0, 0.0], [0.1, 0.19]) == []  # less than twice as long


def test_a_process_must_be_slow_twice_in_a_row_and_the_first_interval_does_not_count():
    comparison, even, uneven = Comparison(), [0.0, 0.0], [0.0, 0.9]
    said = [bool(comparison.lines(waits, even)) for waits in (uneven, uneven, even, uneven, uneven, uneven)]
    assert said == [False, False, False, False, True, False]  # the last one follows too soon
