"""What the processes of a run know of each other: who is gone, and who is slow."""

import re
import time

from itm_jax.devices import peers
from itm_jax.devices.pace import slow


def test_what_peers_know_of_each_other(monkeypatch):
    """Two sides of one store, in one process."""
    store = {}

    class Client:
        def key_value_set(self, key, value, allow_overwrite):
            assert allow_overwrite
            store[key] = value

        def key_value_dir_get(self, prefix):
            return [(key, value) for key, value in store.items() if key.startswith(prefix)]

    monkeypatch.setattr(peers, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(peers, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(peers, "instead_of_abort", lambda what: None)
    ended = []
    monkeypatch.setattr(peers, "end", ended.append)
    monkeypatch.setattr(peers.jax, "process_count", lambda: 3)
    sides = []
    for index in range(3):
        monkeypatch.setattr(peers.jax, "process_index", lambda index=index: index)
        sides.append(peers.Peers(Client()))
    time.sleep(0.8)
    assert [side.lost() for side in sides] == [""] * 3
    sides[1].leave(0)  # it has finished
    time.sleep(0.8)
    assert not sides[0].lost()
    sides[2]._end.set()  # it hangs
    time.sleep(0.8)
    assert re.search(r"^process 2 on \S+ showed no sign of life for 1 s", sides[0].lost())
    sides[2].leave(2)
    time.sleep(0.2)
    assert re.search(r"^process 2 on \S+ ended with exit code 2; its own line says why$", sides[0].lost())
    sides[0].leave(0)


def test_a_slow_process_is_named():
    assert slow([0.001, 0.002, 0.001], [0.010, 0.011, 0.010]) == []
    assert slow([0.001, 0.050, 0.002], [0.010, 0.011, 0.050]) == [
        (1, "process 1 is slow: it waits 0.050 s a step for its batches, the others 0.002 s"),
        (2, "process 2 is slow: it takes 0.050 s for a product of matrices, the others 0.010 s"),
    ]
    assert slow([0.0, 0.0], [0.1, 0.19]) == []  # less than twice as long
