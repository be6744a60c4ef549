"""Checkpoints that are not what was saved are noticed, set aside and survived; checksums see every changed bit."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.runs import final_state, lines, same, shrunk

from itm_jax.devices.mesh import make_mesh, split_batch
from itm_jax.errors import DamagedError, InputError
from itm_jax.evaluation.evaluate import evaluate
from itm_jax.runs import checkpoints
from itm_jax.runs import restore as restoring
from itm_jax.runs.checksums import checksums
from itm_jax.runs.progress import Progress
from itm_jax.training import loop as training

pytestmark = pytest.mark.usefixtures("one_device")

CONFIG = {"train__checkpoint_every": 5, "train__eval_every_epochs": 1.0}  # 20 steps: checkpoints 5, 10, 15, 20


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, whose checkpoints are damaged in copies of it."""
    monkeypatch = pytest.MonkeyPatch()
    from itm_jax.training import build as run_lib

    monkeypatch.setattr(run_lib, "make_mesh", lambda batch_size: make_mesh(batch_size, jax.devices()[:1]))
    workdir = tmp_path_factory.mktemp("finished") / "run"
    training.train(shrunk(**CONFIG), workdir)
    monkeypatch.undo()
    return workdir


@pytest.fixture(scope="module")
def like(finished):
    """A state laid out as that of the run."""
    return final_state(shrunk(**CONFIG), finished)


def largest(folder):
    """The largest file of a folder: the one with the arrays."""
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip(path, at, bit=0):
    """Flips a bit of the byte at the fraction `at` of a file."""
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1 << bit
    path.write_bytes(data)


def cut(path, to):
    """Keeps the fraction `to` of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(to * len(data))])


DAMAGES = {
    "bit of a parameter": lambda c: flip(largest(c / "variables"), 0.5),
    "bit of the optimiser's state": lambda c: flip(largest(c / "progress"), 0.7, 6),
    "bit of the record": lambda c: flip(c / "meta" / "metadata", 0.9, 1),
    "arrays cut short": lambda c: cut(largest(c / "variables"), 0.6),
    "optimiser's arrays cut short": lambda c: cut(largest(c / "progress"), 0.3),
    "every file of a kind": lambda c: [flip(p, 0.5) for p in c.rglob("manifest.ocdbt")],
    "list of files deleted": lambda c: (c / "files.json").unlink(),
    "list of files changed": lambda c: flip(c / "files.json", 0.3, 2),
    "a file beside the items deleted": lambda c: (c / "_CHECKPOINT_METADATA").unlink(),
    "record cut short": lambda c: cut(c / "meta" / "metadata", 0.5),
    "arrays deleted": lambda c: largest(c / "variables").unlink(),
    "description of the arrays deleted": lambda c: (c / "variables" / "_METADATA").unlink(),
    "record deleted": lambda c: shutil.rmtree(c / "meta"),
    "item deleted": lambda c: shutil.rmtree(c / "progress"),
    "description of the arrays changed": lambda c: flip(c / "variables" / "_METADATA", 0.1, 1),
    "all but the folder deleted": lambda c: [shutil.rmtree(p) if p.is_dir() else p.unlink() for p in c.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_named_and_set_aside(tmp_path, finished, like, damage):
    shutil.copytree(finished / "checkpoints", tmp_path / "checkpoints")
    newest, said = tmp_path / "checkpoints" / "20", []
    assert restoring.restore_newest(tmp_path, like, said.append)[0].step == 20
    DAMAGES[damage](newest)
    state, _ = restoring.restore_newest(tmp_path, like, said.append)
    assert state.step == 15
    assert len(said) == 1
    assert said[0].startswith(f"warning: {newest}: damaged: ")
    assert said[0].endswith(f"moved to {tmp_path / 'damaged' / '20'}, going on without it")
    assert (tmp_path / "damaged" / "20").is_dir()


SURVIVED = [pytest.param(d, marks=() if i % 7 == 0 else pytest.mark.slow) for i, d in enumerate(DAMAGES)]


@pytest.mark.parametrize("damage", SURVIVED)
def test_a_run_with_a_damaged_newest_checkpoint_ends_the_same(tmp_path, capsys, finished, damage):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    config = shrunk(**CONFIG)
    DAMAGES[damage](workdir / "checkpoints" / "20")
    training.train(config, workdir)
    said = capsys.readouterr().err
    assert f"{workdir / 'checkpoints' / '20'}: damaged: " in said
    assert "the steps after 15, up to 20, are done again" in said
    assert same(final_state(config, finished), final_state(config, workdir))
    assert lines(workdir) == lines(finished)


def test_a_lost_best_checkpoint_is_made_again(tmp_path, capsys, finished):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    config = shrunk(**CONFIG)
    expected, _ = evaluate(config, finished)
    best = checkpoints.newest_record(workdir).progress.best_step
    flip(largest(workdir / "checkpoints" / str(best) / "variables"), 0.4)
    with pytest.raises(
        InputError, match=rf"checkpoints/{best}: the best checkpoint: damaged: variables/.* is not what was saved"
    ):
        evaluate(config, workdir)
    training.train(config, workdir)
    said = capsys.readouterr().err
    assert f"{workdir / 'checkpoints' / str(best)}: damaged" in said
    assert evaluate(config, workdir)[0]["protocols"] == expected["protocols"]
    assert same(final_state(config, finished), final_state(config, workdir))


def test_a_checkpoint_whose_best_is_lost_is_set_aside_too(tmp_path, like):
    said = []
    with checkpoints.Manager(tmp_path) as manager:
        for step, best in ((1, 1), (2, 1), (3, 1)):
            checkpoints.save(manager, like.replace(step=jnp.asarray(step)), Progress(best_step=best))
        manager.wait_until_finished()
    assert checkpoints.steps_of(tmp_path) == [3, 2, 1]  # the two newest and the best
    flip(largest(tmp_path / "checkpoints" / "1" / "variables"), 0.5)
    assert restoring.restore_newest(tmp_path, like, said.append) is None
    assert len(said) == 3
    assert "3: the best checkpoint before it, 1, is lost: damaged" in said[0]
    assert checkpoints.steps_of(tmp_path) == []
    assert sorted(p.name for p in (tmp_path / "damaged").iterdir()) == ["1", "2", "3"]


def test_damage_to_the_one_before_the_newest_does_not_stop_a_run(tmp_path, capsys, finished):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    (workdir / "checkpoints" / "15" / "meta" / "metadata").write_text("{")
    flip(largest(workdir / "checkpoints" / "20" / "progress"), 0.4)
    training.train(shrunk(**CONFIG), workdir)
    assert sorted(p.name for p in (workdir / "damaged").iterdir()) == ["15", "20"]
    assert lines(workdir) == lines(finished)
    (workdir / "checkpoints" / "15" / "meta" / "metadata").write_text("{")
    checkpoints.Manager(workdir).close()


def test_an_interrupted_save_leaves_nothing_behind(tmp_path, finished):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    left = workdir / "checkpoints" / "25.orbax-checkpoint-tmp"
    shutil.copytree(workdir / "checkpoints" / "20", left)
    training.train(shrunk(**CONFIG, train__epochs=2), workdir)  # finished: opens nothing for writing
    assert left.exists()
    checkpoints.Manager(workdir).close()
    assert not left.exists()
    assert checkpoints.steps_of(workdir)[0] == 20


def test_arrays_that_changed_on_their_way_to_the_files_are_noticed(tmp_path, like):
    with pytest.MonkeyPatch.context() as patch, checkpoints.Manager(tmp_path) as manager:
        wrong = lambda tree: {k: v[::-1] if k.endswith("mean") else v for k, v in checksums(tree).items()}  # noqa: E731
        patch.setattr(checkpoints, "checksums", wrong)
        checkpoints.save(manager, like, Progress(best_step=20))
    with pytest.raises(DamagedError, match=r"2 arrays are not what was saved, among them batch_stats/.*mean"):
        restoring.restore(tmp_path, 20, like)


def test_a_checkpoint_that_does_not_fit_is_an_error_before_orbax_begins(tmp_path, monkeypatch, like):
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: usage)
    with checkpoints.Manager(tmp_path) as manager, pytest.raises(OSError, match="No space left on device"):
        checkpoints.save(manager, like, Progress(best_step=20))
    assert not list((tmp_path / "checkpoints").iterdir())


def test_another_architecture_is_no_damage(finished, like):
    wider = like.replace(params=jax.tree.map(lambda x: jnp.zeros((*x.shape, 2)), like.params))
    with pytest.raises(InputError, match="another architecture"):
        restoring.restore_newest(finished, wider, print)
    assert checkpoints.steps_of(finished)[0] == 20


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint8", "bool", "float16"])
def test_checksums_see_every_changed_bit(rng, dtype):
    x = jnp.asarray(rng.integers(0, 2, (3, 41)) if dtype == "bool" else rng.integers(0, 100, (3, 41))).astype(dtype)
    before = checksums({"x": x})["x"]
    raw = np.asarray(x).tobytes()
    for byte in range(0, len(raw), 7):
        changed = bytearray(raw)
        changed[byte] ^= 1 if dtype == "bool" else 1 << (byte % 8)
        y = jnp.asarray(np.frombuffer(bytes(changed), np.asarray(x).dtype).reshape(3, 41))
        assert checksums({"x": y})["x"] != before
    assert checksums({"x": jnp.asarray(np.asarray(x)[:, ::-1])})["x"] != before  # order counts


def test_checksums_do_not_depend_on_the_devices(rng):
    x = jnp.asarray(rng.standard_normal((8, 5)), jnp.float32)
    spread = jax.device_put(x, split_batch(make_mesh(8, jax.devices())))
    assert len(spread.sharding.device_set) == 4
    assert checksums([x]) == checksums([spread])
    assert len(json.dumps(checksums({"a": {"b": x}}))) > 16


@pytest.mark.parametrize(
    ("error", "removed", "raised", "message"),
    [
        (ValueError("NOT_FOUND"), True, InputError, "was removed while the run saved there"),
        (TimeoutError("86400 s"), False, InputError, "the clock of the machine was set while it saved"),
        (ValueError("a defect"), False, ValueError, "a defect"),
    ],
)
def test_a_failed_save_says_what_happened(tmp_path, monkeypatch, error, removed, raised, message):
    def fail(_):
        raise error

    manager = checkpoints.Manager(tmp_path / "run")
    monkeypatch.setattr(checkpoints.ocp.CheckpointManager, "wait_until_finished", fail)
    if removed:  # Orbax makes the folder again when it writes the next file
        (tmp_path / "run").rename(tmp_path / "elsewhere")
        manager.folder.mkdir(parents=True)
    with pytest.raises(raised, match=message):
        manager.wait_until_finished()
    monkeypatch.undo()
    manager.close()
