"""The bank: all region features of a split on the devices, split over them by images; a step gathers its own by index."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from itm_jax.data.pipeline import TextSplit
from itm_jax.data.precomp import reader as precomp
from itm_jax.devices.mesh import split_batch
from itm_jax.errors import InputError
from itm_jax.structs import Regions

SHARE = 0.4  # of a device's memory that a bank may take: the rest is for parameters, optimiser and the step
CHUNK_BYTES = 256 << 20  # read from the file at a time


def bank_dtype(stored: np.dtype, compute: str) -> jnp.dtype:
    """The dtype of the features in the bank: what a step would make of them first, so that numbers are those of the host."""
    return jnp.dtype(jnp.bfloat16) if compute == "bfloat16" else jnp.dtype(stored)


def on_device(config, data: TextSplit, mesh: Mesh) -> bool:
    """Whether the features go to the devices: `data.bank`, and for auto where they are accelerators with room.

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
    """Regions of all images of a split, [i ...] split over the mesh, filled up to a multiple of its devices.

    The file is read once, in chunks; each process reads what its own devices hold.
    """
    count = -(-data.split.num_images // mesh.size) * mesh.size
    sharding = split_batch(mesh)
    shape = data.split.features.shape[1:]
    rows = max(1, CHUNK_BYTES // (int(np.prod(shape)) * data.split.features.dtype.itemsize))

    def features(part: slice, device) -> Array:
        shard = jnp.zeros((part.stop - part.start, *shape), dtype, device=device)
        for first in range(part.start, min(part.stop, data.split.num_images), rows):
            images = np.arange(first, min(first + rows, part.stop, data.split.num_images))
            chunk = data.split.features[images]
            precomp.check_finite(chunk, images * data.split.rows_per_image, data.split.source)
            shard = _write(shard, jax.device_put(chunk.astype(dtype), device), first - part.start)
        return shard

    def whole(x: np.ndarray) -> Array:
        x = np.concatenate([x, np.zeros((count - len(x), *x.shape[1:]), x.dtype)])
        return jax.make_array_from_callback(x.shape, sharding, lambda part: x[part])

    parts = sharding.addressable_devices_indices_map((count, *shape))
    shards = [features(slice(*index[0].indices(count)[:2]), device) for device, index in parts.items()]
    rest = data.companions(np.arange(data.split.num_images))
    return Regions(
        jax.make_array_from_single_device_arrays((count, *shape), sharding, shards),
        *(None if x is None else whole(x) for x in (rest.mask, rest.boxes, rest.labels)),
    )


@jax.jit(donate_argnums=0)
def _write(shard: Array, chunk: Array, first: int) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(shard, chunk, first, axis=0)


def take(bank: Regions, images: Int[Array, " b"]) -> Regions:
    """The regions of the images."""
    return jax.tree.map(lambda x: x[images], bank)
