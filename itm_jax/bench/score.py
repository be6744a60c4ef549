"""Measures CPFEAN's scores of all pairs, beside the bare product of regions and words and the direct form."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from itm_jax.bench.measure import memory, timed, where
from itm_jax.config.default import default_config
from itm_jax.models import build
from itm_jax.modules.fusion import RegionGate
from itm_jax.modules.numerics import EPS, HIGHEST
from itm_jax.scoring import score_matrix
from itm_jax.structs import Fragments, Regions, Tokens


def random_fragments(rng: np.random.Generator, items: int, n: int, width: int) -> Fragments:
    """Returns random unit vectors, all valid, on the host."""
    rows = rng.standard_normal((items, n, width), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    return Fragments(rows, np.ones((items, n), bool))


def direct_score(v: Float[Array, "r d"], w: Float[Array, "l d"], gate: RegionGate) -> Float[Array, ""]:
    """Returns the score of one pair with one round, as the paper writes it: fused regions of width d, then cosines.

    All rows are valid, and β = 1.
    """
    cosines = (v @ w.T) * jax.lax.rsqrt(jnp.sum(v * v, axis=1) + EPS**2)[:, None]
    j = jnp.argmax(cosines, axis=1)
    g = jax.nn.sigmoid(v @ gate.u + w[j] @ gate.z + gate.c * jnp.max(cosines, axis=1) + gate.b)
    fused = v + g[:, None] * w[j]
    s = (fused @ w.T) * jax.lax.rsqrt(jnp.sum(fused * fused, axis=1) + EPS**2)[:, None]
    p = jnp.zeros(len(w)).at[j].add(g) / (jnp.sum(g) + EPS)
    words = jnp.sum((1 + len(w) * p) / (2 * len(w)) * jnp.max(s, axis=0))
    return (words + jnp.sum(g * jnp.max(s, axis=1)) / (jnp.sum(g) + EPS)) / 2


def exactly(function):
    """Returns the function with all its matrix products in full precision."""

    def exact(*args):
        with jax.default_matmul_precision("highest"):
            return function(*args)

    return exact


def fresh_cpfean(width: int) -> tuple[Partial, nn.Module, Any]:
    """Returns `score(images, captions)`, the model and its random variables."""
    config = default_config().model
    config.name, config.width, config.text.vocab_size, config.text.hidden_size = "cpfean", width, 8, 8
    config.text.num_heads = config.text.num_layers = 1
    config.graph.layers = 0  # encoding is not measured
    model = build(config)
    ones = jnp.ones((1, 4), bool)
    example = Regions(jnp.zeros((1, 4, 4)), ones), Tokens(jnp.zeros((1, 4), jnp.int32), ones)
    variables = model.init(jax.random.key(0), *example, train=False)
    score = Partial(lambda variables, i, c: model.apply(variables, i, c, method="score"), variables)
    return score, model, variables


def fastest(function: Callable[[], object], repeats: int) -> float:
    """Returns the seconds of the fastest of `repeats` calls; an extra first call, which compiles, is not counted."""
    jax.block_until_ready(function())
    return timed(function, repeats)["seconds_min"]


def bench_score(
    *, images: int, captions: int, regions: int, tokens: int, width: int, tile: int, repeats: int, sample: int = 32
) -> dict:
    """Returns the seconds of `score_matrix` with a fresh CPFEAN, beside those of two other computations.

    These are the bare `V Wᵀ` in the same tiles, and the direct form. The direct form is timed on `sample` x `sample`
    pairs, and its seconds are scaled to all pairs.
    """
    score, model, variables = fresh_cpfean(width)
    rng = np.random.default_rng(0)
    v, w = random_fragments(rng, images, regions, width), random_fragments(rng, captions, tokens, width)

    def bare(i, c):
        return jnp.max(jnp.einsum("ird,tld->irtl", i.rows, c.rows, precision=HIGHEST), axis=(1, 3))

    ours = fastest(lambda: score_matrix(score, v, w, tile=tile), repeats)
    product = jax.jit(lambda a, b: jnp.matmul(a, b.T, precision=HIGHEST))
    rows = jax.device_put((v.rows[:tile].reshape(-1, width), w.rows[:tile].reshape(-1, width)))
    tiles = images / min(tile, images) * captions / min(tile, captions)
    matrix_product = fastest(lambda: product(*rows), repeats) * tiles
    in_tiles = fastest(lambda: score_matrix(bare, v, w, tile=tile), repeats)
    gate = model.apply(variables, method=lambda m: m.gate)
    direct_scores = jax.jit(jax.vmap(jax.vmap(exactly(direct_score), (None, 0, None)), (0, None, None)))
    few = (v.rows[:sample], w.rows[:sample])
    pairs = len(few[0]) * len(few[1])
    direct = fastest(lambda: direct_scores(*few, gate), repeats) / pairs * images * captions
    sampled = np.asarray(score_matrix(score, *(jax.tree.map(lambda x: x[:sample], f) for f in (v, w)), tile=sample))
    flops = 2.0 * images * captions * regions * tokens * width
    return {
        "devices": where(),
        "pairs": f"{images} x {captions}",
        "fragments": f"{regions} regions, {tokens} words, width {width}",
        "tile": tile,
        "seconds": ours,
        "seconds_of_matrix_product": matrix_product,
        "seconds_of_product_and_maximum": in_tiles,
        "ratio_to_matrix_product": ours / matrix_product,
        "ratio_to_product_and_maximum": ours / in_tiles,
        "tflop_of_matrix_product": flops / 1e12,
        "gflops": flops / ours / 1e9,
        "direct_form_seconds_from_a_sample": direct,
        "ratio_direct_to_ours": direct / ours,
        "largest_difference_to_direct": float(np.abs(sampled - np.asarray(direct_scores(*few, gate))).max()),
        **memory(),
    }
