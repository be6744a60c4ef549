"""Features on the devices give the numbers of features read batch by batch."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.runs import data_of, lines, shrunk

from itm_jax.data import bank
from itm_jax.devices.mesh import make_mesh
from itm_jax.errors import InputError
from itm_jax.training import build as run_lib
from itm_jax.training import loop as training

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.mark.parametrize("devices", [1, 4])
def test_a_bank_gives_back_what_the_file_has(devices, monkeypatch):
    data = data_of(shrunk(data__scenes__train=18, model__name="cpfean"))
    monkeypatch.setattr(bank, "CHUNK_BYTES", 2 * data.split.features[0].nbytes)  # several chunks, the last one ragged
    made = bank.make_bank(data, make_mesh(4, jax.devices()[:devices]), jnp.dtype("float32"))
    assert len(made.features) == -(-18 // devices) * devices
    assert len({shard.device for shard in made.features.addressable_shards}) == devices
    images = np.array([17, 0, 5, 5])
    found = jax.jit(bank.take)(made, images)
    expected = data.regions(images)
    assert expected.boxes is not None
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    "changes",
    [
        {"model__dtype": "bfloat16"},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"model__name": "cpfean", "data__batch_size": 4, "train__epochs": 1}, marks=pytest.mark.slow),
    ],
)
def test_training_from_the_bank_has_the_same_numbers(tmp_path, changes):
    for name in ("host", "device"):
        with jax.numpy_dtype_promotion("standard"):  # Flax's LayerNorm mixes bfloat16 and float32 on purpose
            training.train(shrunk(data__bank=name, **changes), tmp_path / name)
    assert lines(tmp_path / "host") == lines(tmp_path / "device")


def test_training_from_a_bank_on_four_devices(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lib, "make_mesh", make_mesh)
    for name in ("host", "device"):
        training.train(shrunk(data__bank=name, train__epochs=1), tmp_path / name)
    losses = [[x["loss"] for x in lines(tmp_path / name) if "loss" in x] for name in ("host", "device")]
    assert losses[0] == losses[1]


def test_which_features_go_to_the_devices():
    data = data_of(shrunk())

    def chosen(choice, platform="gpu", limit=1 << 20, dtype="float32"):
        device = types.SimpleNamespace(platform=platform, memory_stats=lambda: {"bytes_limit": limit})
        mesh = types.SimpleNamespace(local_devices=[device], size=1)
        return bank.on_device(shrunk(data__bank=choice, model__dtype=dtype), data, mesh)

    size = data.split.features.nbytes
    assert chosen("auto")
    assert not chosen("auto", platform="cpu")
    assert not chosen("auto", limit=2 * size)
    assert chosen("auto", limit=2 * size, dtype="bfloat16")
    assert not chosen("host")
    assert chosen("device", limit=2 * size)
    with pytest.raises(InputError, match=r"bank=device: scenes.*take data.bank=host"):
        chosen("device", limit=size - 1)
