"""The lease of the writer of a folder of a bucket, against a local stand-in for S3 (moto)."""

import threading
import time

import pytest

from itm_jax.buckets import lease
from itm_jax.buckets.store import Bucket, NoConditionalWritesError
from itm_jax.errors import InputError


@pytest.fixture
def hurry(monkeypatch):
    """Leases are renewed ten times a second, and are taken over after a second."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(lease, "STALE_SECONDS", 1.0)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.05)


def test_a_lease_has_one_holder(place, hurry):
    refused = pytest.raises(InputError, match=r"in use by process \d+ on .* since .*; wait for it, stop it")
    with lease.hold_lease(place), refused, lease.hold_lease(place):
        pass
    assert not place.objects()
    with lease.hold_lease(place) as again:
        again.renew()


def test_of_many_that_take_over_one_gets_the_lease(place, hurry):
    place.write(lease.NAME, b"{}")
    got, refused, end = [], [], threading.Event()

    def take():
        try:
            with lease.hold_lease(place) as mine:
                got.append(mine)
                end.wait(20)
        except InputError as e:
            refused.append(str(e))
        if len(refused) == 3:
            end.set()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 3)
    assert all("in use by process" in line for line in refused)


def test_a_lease_that_was_left_is_taken_over(place, hurry, capsys):
    place.write(lease.NAME, b'{"token": "gone", "pid": 1, "host": "far", "since": "long ago", "command": "x"}')
    began = time.monotonic()
    with lease.hold_lease(place) as mine:
        mine.renew()
    assert time.monotonic() - began > 1.0
    said = capsys.readouterr().err
    assert "in use by process 1 on far since long ago (x), or left by it; waiting for a sign of life" in said
    assert "no sign of life for 1 s; taking over" in said


def test_a_lease_that_was_lost_is_noticed(place, hurry):
    with lease.hold_lease(place) as mine:
        place.write(lease.NAME, b'{"token": "other", "pid": 2, "host": "near", "since": "now", "command": "y"}')
        with pytest.raises(InputError, match=r"no longer holds the lease \(now it belongs to process 2 on near"):
            mine.renew()
        with pytest.raises(InputError, match=r"no longer holds the lease"):
            mine.check()
    assert list(place.objects()) == [lease.NAME]  # the other's


def test_a_lease_survives_a_lost_answer(place, hurry, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 60.0)
    with lease.hold_lease(place) as mine:
        with monkeypatch.context() as patch:
            replace = Bucket.replace
            patch.setattr(Bucket, "replace", lambda *a: replace(*a) and None)  # it arrived, and nobody says so
            mine.renew()
        mine.renew()


def test_a_lease_whose_second_answer_was_lost_is_ours(place, hurry, monkeypatch):
    """The owner gives the lease back while another process waits, and the answer to its own lease is lost."""
    place.write(lease.NAME, b"{}")
    create, read, calls = Bucket.create, Bucket.read, []

    def given_back(self, path):
        calls.append(path)
        if len(calls) == 2:
            self.delete([path])
        return read(self, path)

    monkeypatch.setattr(Bucket, "create", lambda *a: create(*a) and None)
    monkeypatch.setattr(Bucket, "read", given_back)
    with lease.hold_lease(place) as mine:
        mine.renew()


def test_a_lease_that_was_given_back_stops_what_is_left(place, hurry):
    with lease.hold_lease(place) as mine:
        mine.check()
    with pytest.raises(InputError, match="gave the lease back"):
        mine.check()


@pytest.mark.parametrize("missing", ["create", "replace"])
def test_a_service_without_conditional_writes_gets_a_warning(place, monkeypatch, capsys, missing):
    def refuse(*_):
        raise NoConditionalWritesError("x")

    monkeypatch.setattr(Bucket, missing, refuse)
    with lease.hold_lease(place) as none:
        none.check()
        none.renew()
    assert not place.objects()
    assert "no conditional writes in this service; let only one process write there" in capsys.readouterr().err
