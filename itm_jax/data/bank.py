"""The feature cache on the devices (`data.bank`): all region features of a split, split over the devices by images.

A training step gathers the features of its batch by image index.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from itm_jax.data.pipeline import TextSplit
from itm_jax.data.regions import read_regions
from itm_jax.devices.mesh import split_batch
from itm_jax.errors import InputError
from itm_jax.structs import AnyArray, Regions

SHARE = 0.4  # of a device's memory that the cache may take; parameters, optimiser and the step need the rest
CHUNK_BYTES = 256 << 20  # bytes that are read from the file at a time


def bank_dtype(stored: np.dtype, compute: str) -> jnp.dtype:
    """Returns the dtype of the features in the cache.

    It is the dtype to which a step would convert them first, so that the numbers are the same as with `data.bank=host`.
    """
    return jnp.dtype(jnp.bfloat16) if compute == "bfloat16" else jnp.dtype(stored)


def on_device(config, data: TextSplit, mesh: Any) -> bool:
    """Returns whether the features go to the devices, as `data.bank` says.

    With `auto` they do where the devices are accelerators and the features take at most SHARE of their memory.

    Raises:
        InputError: data.bank=device, and the features do not fit.
    """
    device = mesh.local_devices[0]
    features = data.split.features
    size = int(np.prod(features.shape)) * bank_dtype(features.dtype, config.model.dtype).itemsize / mesh.size
    room = (device.memory_stats() or {}).get("bytes_limit")
    if config.data.bank == "device" and room and size > room:
        raise InputError(
            f"config.data.bank=device: {data.split.source}: {size / 1e9:.1f} GB of features for each device, which has "
            f"{room / 1e9:.1f} GB; take data.bank=host, more devices, or config.model.dtype=bfloat16"
        )
    fits = device.platform != "cpu" and room is not None and size <= SHARE * room
    return {"auto": fits, "device": True, "host": False}[config.data.bank]


def make_bank(data: TextSplit, mesh: Mesh, dtype: jnp.dtype) -> Regions:
    """Returns the regions of all images of a split, [i ...], split over the mesh by images.

    i is filled up to a multiple of the number of devices. The file is read once, in chunks; each process reads what its
    own devices hold.
    """
    count = -(-data.split.num_images // mesh.size) * mesh.size
    sharding = split_batch(mesh)
    shape = data.split.features.shape[1:]
    rows = max(1, CHUNK_BYTES // (int(np.prod(shape)) * data.split.features.dtype.itemsize))

    def read(part: slice, device) -> tuple[Array, Array]:
        shard = jnp.zeros((part.stop - part.start, *shape), dtype, device=device)
        mask = np.zeros((part.stop - part.start, shape[0]), bool)
        for first in range(part.start, min(part.stop, data.split.num_images), rows):
            images = np.arange(first, min(first + rows, part.stop, data.split.num_images))
            chunk, mask[images - part.start] = read_regions(data.split, images)
            shard = _write(shard, jax.device_put(chunk.astype(dtype), device), first - part.start)
        return shard, jax.device_put(mask, device)

    def filled_up(x: AnyArray) -> Array:
        values = np.concatenate([x, np.zeros((count - len(x), *x.shape[1:]), x.dtype)])
        return jax.make_array_from_callback(values.shape, sharding, lambda part: values[part])

    shards = []
    for device, index in sharding.addressable_devices_indices_map((count, *shape)).items():
        assert index is not None  # every device of the mesh has a part
        shards.append(read(slice(*index[0].indices(count)[:2]), device))
    features, masks = zip(*shards, strict=True)
    return Regions(
        features=jax.make_array_from_single_device_arrays((count, *shape), sharding, list(features)),
        mask=jax.make_array_from_single_device_arrays((count, shape[0]), sharding, list(masks)),
        boxes=None if data.split.boxes is None else filled_up(data.split.boxes),
        labels=None if data.labels is None else filled_up(data.labels),
    )


@jax.jit(donate_argnums=0)
def _write(shard: Array, chunk: Array, first: Int[Array, ""]) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(shard, chunk, first, axis=0)


def take(bank: Regions, images: Int[Array, " b"]) -> Regions:
    """Returns the regions of the images from the feature cache."""
    return jax.tree.map(lambda x: x[images], bank)
