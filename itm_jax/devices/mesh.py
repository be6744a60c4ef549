"""One mesh with a `data` axis over all devices. Parameters are replicated, batches are split."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from itm_jax.errors import InputError


def make_mesh(batch_size: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a mesh over the devices (default: all). The batch size must be a multiple of their number."""
    devices = jax.devices() if devices is None else devices
    n = len(devices)
    if batch_size % n:
        raise InputError(f"config.data.batch_size={batch_size}: not a multiple of the {n} devices")
    in_order = sorted(devices, key=lambda d: (d.process_index, d.id))  # the rows of a process are consecutive
    return Mesh(np.array(in_order), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding with the same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that splits the leading axis over `data`."""
    return NamedSharding(mesh, PartitionSpec("data"))


def spread(x, mesh: Mesh) -> NamedSharding:
    """Returns the sharding that splits the first axis of x that the devices divide; else each device has all of x."""
    for axis, size in enumerate(x.shape):
        if size and size % mesh.size == 0:
            return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))
    return replicated(mesh)


def put(tree, sharding: NamedSharding):
    """Moves a tree that every process holds whole to the devices. Each process sends its own devices their part."""
    if sharding.is_fully_addressable:
        return jax.tree.map(lambda x: jax.device_put(np.asarray(x), sharding), tree)
    whole = lambda x: jax.make_array_from_callback(x.shape, sharding, lambda part: x[part])  # noqa: E731
    return jax.tree.map(lambda x: whole(np.asarray(x)), tree)


def own_rows(mesh: Mesh, batch_size: int) -> slice:
    """Returns the rows of a batch that this process's devices hold."""
    parts = [index[0].indices(batch_size) for index in _local_parts(mesh, batch_size)]
    return slice(min(p[0] for p in parts), max(p[1] for p in parts))


def _local_parts(mesh: Mesh, batch_size: int):
    return split_batch(mesh).addressable_devices_indices_map((batch_size,)).values()


def put_part(tree, mesh: Mesh):
    """Moves this process's rows of a batch (`own_rows`) to its devices. The parts of all processes form the batch."""
    if split_batch(mesh).is_fully_addressable:
        return put_batch(tree, mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(split_batch(mesh), np.asarray(x)), tree)


def put_batch(tree, mesh: Mesh):
    """Moves a host batch to the devices, split along its leading axis."""
    return put(tree, split_batch(mesh))
