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


def put_batch(tree, mesh: Mesh):
    """Moves a host batch to the devices, split along its leading axis."""
    sharding = split_batch(mesh)
    return jax.tree.map(lambda x: jax.device_put(np.asarray(x), sharding), tree)
