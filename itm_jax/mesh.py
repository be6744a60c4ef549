"""One mesh with a `data` axis over all devices; parameters replicated, batches split."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from itm_jax.errors import InputError


def make_mesh(batch_size: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over the devices (default: all); the batch must divide evenly."""
    devices = jax.devices() if devices is None else devices
    n = len(devices)
    if batch_size % n:
        raise InputError(f"config.data.batch_size={batch_size}: not a multiple of the {n} devices")
    return jax.make_mesh((n,), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """Leading axis over `data`."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put(tree, sharding: NamedSharding):
    """Moves what every process holds whole to the devices; each process sends its own devices their part."""
    if sharding.is_fully_addressable:
        return jax.tree.map(lambda x: jax.device_put(np.asarray(x), sharding), tree)
    whole = lambda x: jax.make_array_from_callback(x.shape, sharding, lambda part: x[part])  # noqa: E731
    return jax.tree.map(lambda x: whole(np.asarray(x)), tree)


def put_batch(tree, mesh: Mesh):
    """Moves a host batch to the devices, split along its leading axis."""
    return put(tree, split_batch(mesh))
