"""Small models, their inputs, and slow references of their parts."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

from itm_jax.config.default import default_config
from itm_jax.modules.fusion import RegionGate
from itm_jax.modules.numerics import EPS
from itm_jax.structs import Fragments


def small(**changes):
    """The default model, shrunk; changes by dotted field name."""
    config = default_config().model
    config.width = 16
    config.text.update(
        {
            "vocab_size": 40,
            "hidden_size": 8,
            "num_layers": 1,
            "num_heads": 2,
            "intermediate_size": 16,
            "max_positions": 40,
        }
    )
    for name, value in changes.items():
        node, leaf = (config, name) if "__" not in name else (config[name.split("__")[0]], name.split("__")[1])
        node[leaf] = value
    return config


def awake(variables):
    """Parameters in which the kernels that begin as 0 hold random numbers."""

    def fill(path, x):
        key = jax.random.key(zlib.crc32(jax.tree_util.keystr(path).encode()))
        return x if x.ndim < 2 or np.asarray(x).any() else 0.3 * jax.random.normal(key, x.shape, x.dtype)

    return jax.tree_util.tree_map_with_path(fill, variables)


def fragments(rng, items, n, d, dtype, lengths=None):
    """Random unit vectors with random valid ones; the last item has none."""
    rows = rng.standard_normal((items, n, d))
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    mask = rng.random((items, n)) < 0.7 if lengths is None else np.arange(n)[None] < np.array(lengths)[:, None]
    mask[:-1, 0] = True
    mask[-1] = False
    return Fragments(jnp.array(np.where(mask[..., None], rows, 0), dtype), mask)


def region_gate(rng, d, dtype):
    """Weights of a size that leaves the gate unsaturated."""
    u, z = (jnp.array(rng.standard_normal(d) * 0.7, dtype) for _ in range(2))
    return RegionGate(u, z, *(jnp.array(x, dtype) for x in (1.3, -0.2, 0.7)))


def direct_rows(v, w, gate, rounds):
    """Fused regions of one pair as the paper says it, v_i ← v_i + g_i w_j(i); gates and words of the first round.

    Also the least difference between the cosines of a region's two best words.
    """
    rows, gates, chosen, margins = [], [], [], [jnp.inf]
    for x in v:
        for k in range(max(rounds, 1)):
            cosine = (w @ x) / jnp.sqrt(x @ x + EPS**2)
            j = jnp.argmax(jax.lax.stop_gradient(cosine))
            if len(w) > 1:
                margins.append(jnp.diff(jnp.sort(cosine)[-2:])[0])
            g = jnp.ones((), x.dtype)
            if rounds:
                g = jax.nn.sigmoid(gate.u @ x + gate.z @ w[j] + gate.c * cosine[j] + gate.b)
                x = x + g * w[j]
            if not k:
                gates.append(g)
                chosen.append(j)
        rows.append(x)
    return jnp.stack(rows), jnp.stack(gates), jnp.stack(chosen), jnp.min(jnp.stack(margins))
