"""Copies of folders of a bucket, against a local stand-in for S3 (moto)."""

import subprocess
import sys

import pytest

from itm_jax import cache
from itm_jax.buckets import copies, store
from itm_jax.buckets.mirror import INDEX, Mirror
from itm_jax.buckets.publisher import Publisher
from itm_jax.buckets.store import Bucket, ChangedObjectError
from itm_jax.errors import InputError
from itm_jax.runs.bucket import STEPS, _is_of_this_machine


def mirror(place, folder):
    """A copy of the folder of a bucket, as that of a run."""
    return Mirror(place, folder, steps=STEPS, ours=_is_of_this_machine)


def write(folder, *names, text="x"):
    """Files with this text."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def remove(folder, *names):
    for name in names:
        (folder / name).unlink()


def texts(folder):
    """The texts of the files of a folder, by their paths."""
    paths = [p for p in folder.rglob("*") if p.is_file() and not p.name.endswith((INDEX, ".fetch", ".use"))]
    return {p.relative_to(folder).as_posix(): p.read_text() for p in paths}


def checkpoint(step):
    return f"checkpoints/{step}/d/x", f"checkpoints/{step}/files.json"


def test_what_is_published_is_fetched_elsewhere(place, tmp_path):
    mine, other = mirror(place, tmp_path / "mine"), mirror(place, tmp_path / "other")
    mine.fetch()
    kept = ("config", *checkpoint(3))
    write(mine.local, *kept, "checkpoints/6.orbax-checkpoint-tmp-1/x", "results.json.tmp", ".lock")
    mine.publish()
    other.fetch()
    assert texts(other.local) == dict.fromkeys(kept, "x")
    write(other.local, "config", "more", text="changed here, and never published")
    other.fetch()
    assert texts(other.local) == dict.fromkeys(kept, "x")


def test_only_what_changed_is_sent_and_the_marker_last(place, tmp_path, monkeypatch):
    mine = mirror(place, tmp_path / "copy")
    mine.fetch()
    write(mine.local, "a", "b", *checkpoint(3))
    mine.publish()
    done, upload, delete = [], Bucket.upload, Bucket.delete
    monkeypatch.setattr(Bucket, "upload", lambda self, path, file: done.append(path) or upload(self, path, file))
    monkeypatch.setattr(Bucket, "delete", lambda self, paths: done.append(sorted(paths)) or delete(self, paths))
    write(mine.local, "b", text="longer")
    write(mine.local, *checkpoint(6))
    remove(mine.local, *checkpoint(3), "a")  # a run never removes `a`, so somebody else did
    mine.publish()
    assert sorted(done[:2]) == ["b", "checkpoints/6/d/x"]
    assert done[2:] == ["checkpoints/6/files.json", ["checkpoints/3/files.json"], ["checkpoints/3/d/x"]]
    assert sorted(place.objects()) == ["a", "b", "checkpoints/6/d/x", "checkpoints/6/files.json"]


def test_a_checkpoint_without_its_marker_does_not_count(place, tmp_path):
    for path in (*checkpoint(3), checkpoint(6)[0]):  # the publication of 6 was interrupted
        place.write(path, b"x")
    mine = mirror(place, tmp_path / "copy")
    mine.fetch()
    assert sorted(texts(mine.local)) == sorted(checkpoint(3))
    mine.remove_unmarked()
    assert sorted(place.objects()) == sorted(checkpoint(3))


def test_a_copy_that_was_removed_removes_nothing_in_the_bucket(place, tmp_path):
    mine = mirror(place, tmp_path / "copy")
    mine.fetch()
    write(mine.local, "results", *checkpoint(3))
    mine.publish()
    published = place.objects()
    remove(mine.local, *checkpoint(3))  # half of it: no newer checkpoint is there, so the run did not do that
    mine.publish()
    remove(mine.local, INDEX, "results")
    with pytest.raises(InputError, match=r"the local copy of .* was removed; nothing more is published"):
        mine.publish()
    assert place.objects() == published


def test_a_lost_lease_ends_a_publication(place, tmp_path):
    mine, checks = mirror(place, tmp_path / "copy"), []

    def check():
        checks.append(1)
        if len(checks) == 2:
            raise InputError("the lease is lost")

    mine.fetch()
    write(mine.local, *checkpoint(3))
    publisher = Publisher(mine, check, lambda: None)
    publisher.start(lambda: None)
    with pytest.raises(InputError, match="the lease is lost"):
        publisher.wait()
    assert sorted(place.objects()) == [checkpoint(3)[0]]
    publisher.start(lambda: None)
    publisher.wait()
    assert sorted(place.objects()) == sorted(checkpoint(3))


def test_an_object_that_is_removed_during_a_fetch_is_no_error(place, tmp_path, monkeypatch):
    for path in (*checkpoint(3), *checkpoint(6)):
        place.write(path, b"x")
    download = Bucket.download

    def too_late(self, path, *rest):
        if path.startswith("checkpoints/3"):
            self.delete(checkpoint(3))  # the writer of the bucket has a newer one
        download(self, path, *rest)

    monkeypatch.setattr(Bucket, "download", too_late)
    mine = mirror(place, tmp_path / "copy")
    mine.fetch()
    assert sorted(texts(mine.local)) == sorted(checkpoint(6))


def test_a_full_disk_is_a_line(place, tmp_path, monkeypatch):
    place.write("large", b"x" * 1000)
    monkeypatch.setattr("itm_jax.files.places.free_space", lambda path: 999)
    with pytest.raises(InputError, match=r"0\.0 GB are needed, 0\.0 GB are free; make room"):
        mirror(place, tmp_path / "copy").fetch()


def test_copies_are_used_by_processes(tmp_path):
    shared = copies.local_copy("s3://a/b", str(tmp_path), use="data")
    with copies.unused(shared) as free:
        assert free
    copies.use(shared)
    with copies.unused(shared) as free:
        assert not free
    mine = copies.own_copy("s3://a/b", str(tmp_path), use="read")
    assert copies.own_copy("s3://a/b", str(tmp_path), use="read") == mine
    script = "import sys; from itm_jax.buckets.copies import own_copy; print(own_copy(*sys.argv[1:3], use='read'))"
    line = [sys.executable, "-c", script, "s3://a/b", str(tmp_path)]
    other = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    assert other == f"{mine}2"


def test_the_cache_leaves_copies_that_are_used(tmp_path):
    used, free = (copies.local_copy("s3://a/b", str(tmp_path), use=use) for use in ("run", "data"))
    write(used, "a")
    write(free, "a")
    copies.use(used)
    assert [entry.path for entry in cache.entries_of(tmp_path, ["copies"])] == [free]


def test_what_was_fetched_is_not_fetched_again_after_an_error(place, tmp_path, monkeypatch):
    for path in "abc":
        place.write(path, b"x")
    download, asked = Bucket.download, []

    def fails_at_first(self, path, *rest):
        asked.append(path)
        if asked.count("b") == 1 and path == "b":
            raise InputError("no answer")
        download(self, path, *rest)

    monkeypatch.setattr(Bucket, "download", fails_at_first)
    mine = mirror(place, tmp_path / "copy")
    write(mine.local, f"a.{'0' * 32}.tmp")  # a killed process left it
    with pytest.raises(InputError, match="no answer"):
        mine.fetch()
    mirror(place, tmp_path / "copy").fetch()
    assert (asked.count("a"), asked.count("b"), asked.count("c")) == (1, 2, 1)
    assert texts(mine.local) == dict.fromkeys("abc", "x")


def test_what_vanishes_while_it_is_published_is_left_out(place, tmp_path, monkeypatch):
    mine = mirror(place, tmp_path / "copy")
    mine.fetch()
    write(mine.local, "kept", "gone")
    look, renewed = mine._stamps, []
    monkeypatch.setattr(mine, "_stamps", lambda: (look(), remove(mine.local, "gone"))[0])
    mine.publish(lambda: renewed.append(1))
    assert list(place.objects()) == ["kept"]
    assert renewed


def test_large_objects_are_read_in_parts(place, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PART_BYTES", 4)
    place.write("large", b"0123456789")
    place.write("empty", b"")
    mine = mirror(place, tmp_path / "copy")
    mine.fetch()
    assert texts(mine.local) == {"large": "0123456789", "empty": ""}


def test_a_failed_publication_is_seen_at_the_next_look(place, tmp_path, monkeypatch):
    publisher = Publisher(mirror(place, tmp_path / "copy"), lambda: None, lambda: None)
    publisher.start(lambda: None)  # nothing was fetched: there is no copy
    publisher._thread.join()
    with pytest.raises(InputError, match="was removed; nothing more is published"):
        publisher.look()
    publisher.finish()  # is not tried again


def test_ranges_are_those_of_one_version(place):
    place.write("a", b"0123456789")
    etag = place.objects()["a"].etag
    assert place.ranges("a", [(2, 4), (0, 1)], etag) == [b"23", b"0"]
    place.write("a", b"another")
    with pytest.raises(ChangedObjectError):
        place.ranges("a", [(0, 1)], etag)


def test_without_the_extra_a_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(InputError, match=r"obstore is not installed; pip install -e '\.\[buckets\]'"):
        Bucket("s3://a/b")


def test_errors_of_the_service_are_one_line(place):
    with pytest.raises(InputError, match=r"^s3://[^\n]*/nothing: no such object$"):
        place.ranges("nothing", [(0, 1)], "x")
    assert "\n" not in store.short_text(RuntimeError("a\nb\n\nDebug source:\nlong"))
