"""One mesh with a `data` axis over all devices; parameters replicated, batches split."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from itm_jax.errors import InputError


def make_mesh(batch_size: int) -> Mesh:
    """A mesh over all devices; the batch must divide evenly."""
    n = jax.device_count()
    if batch_size % n:
        raise InputError(f"config.data.batch_size={batch_size}: not a multiple of the {n} devices")
    return jax.make_mesh((n,), ("data",), axis_types=(AxisType.Auto,))


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
