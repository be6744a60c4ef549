"""Evaluation: encode a split, score it in tiles, rank, and write results.json."""

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import itm_jax
from itm_jax.config import decided_by_variant
from itm_jax.data.pipeline import TextSplit
from itm_jax.mesh import put_batch
from itm_jax.metrics.retrieval import protocols
from itm_jax.scoring import score_matrix


def make_encoders(model) -> tuple[Callable, Callable]:
    """Compiled `encode_images(variables, regions)` and `encode_captions(variables, tokens)` in evaluation mode."""
    images = jax.jit(lambda v, regions: model.apply(v, regions, train=False, method="encode_images"))
    captions = jax.jit(lambda v, tokens: model.apply(v, tokens, train=False, method="encode_captions"))
    return images, captions


def _encode(encode: Callable, variables: Any, read: Callable, order: np.ndarray, batch_size: int, mesh) -> Any:
    """Encodes the items in `order`, batch by batch; the rows of the result are in the items' own order."""
    batch_size = -(-min(batch_size, len(order)) // mesh.size) * mesh.size
    parts = []
    for start in range(0, len(order), batch_size):
        rows = np.resize(order[start : start + batch_size], batch_size)  # the last batch is whole again
        parts.append(encode(variables, put_batch(read(rows), mesh)))
    encoded = jax.tree.map(lambda *x: np.concatenate([np.asarray(p) for p in x])[: len(order)], *parts)
    inverse = np.argsort(order, kind="stable")
    return jax.tree.map(lambda x: x[inverse], encoded)


def depends_on_batch(model) -> bool:
    """Whether an embedding depends on the other items of its batch: the official variant of AFA's aggregation."""
    return model.aggregation.enabled and decided_by_variant(model)["aggregation.variant"] == "official"


def encode_split(encoders, variables: Any, data: TextSplit, *, config, mesh) -> tuple[Any, Any]:
    """Encodings of all images and captions of a split, on the host.

    Captions of like length share a batch, except where an embedding depends on its batch: then the batches are those
    of the authors' code, in the split's order and as large as in training.
    """
    encode_images, encode_captions = encoders
    fixed = depends_on_batch(config.model)
    batch_size = config.data.batch_size if fixed else config.data.eval_batch_size
    lengths = data.table.lengths
    order = np.arange(len(lengths)) if fixed else np.argsort(lengths, kind="stable")
    images = _encode(encode_images, variables, data.regions, np.arange(data.split.num_images), batch_size, mesh)
    return images, _encode(encode_captions, variables, data.tokens, order, batch_size, mesh)


def score_split(model, encoders, variables: Any, data: TextSplit, config, mesh) -> tuple[np.ndarray, dict[str, float]]:
    """The [i, t] score matrix of a split and the seconds that encoding and scoring took."""
    began = time.perf_counter()
    images, captions = encode_split(encoders, variables, data, config=config, mesh=mesh)
    encoded = time.perf_counter()
    score = lambda i, t: model.apply(variables, i, t, method="score")  # noqa: E731
    scores = score_matrix(score, images, captions, tile=config.eval.tile)
    return scores, {"encode": encoded - began, "score": time.perf_counter() - encoded}


def evaluate_split(model, encoders, variables: Any, data: TextSplit, config, mesh) -> tuple[dict, dict[str, float]]:
    """(metrics by protocol, seconds by part) of a split."""
    scores, seconds = score_split(model, encoders, variables, data, config, mesh)
    began = time.perf_counter()
    metrics = protocols(scores, data.split.caption_image_index)
    return metrics, seconds | {"rank": time.perf_counter() - began}


def results(config, data: TextSplit, *, step: int, metrics: dict, seconds: dict[str, float], params: int) -> dict:
    """The content of results.json."""
    import flax
    import optax
    import orbax.checkpoint

    device = jax.devices()[0]
    return {
        "model": config.model.name,
        "dataset": config.data.name,
        "split": data.split.name,
        "step": step,
        "selected_on": config.data.dev_split,
        "seed": config.seed,
        "protocols": metrics,
        "counts": {"images": data.split.num_images, "captions": len(data.split.captions), "params": params},
        "seconds": seconds,
        "versions": {
            "itm_jax": itm_jax.__version__,
            "jax": jax.__version__,
            "flax": flax.__version__,
            "optax": optax.__version__,
            "orbax": orbax.checkpoint.__version__,
            "numpy": np.__version__,
        },
        "devices": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
    }


def write_results(path: pathlib.Path, content: dict) -> None:
    """Writes results.json whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def summary(content: dict) -> str:
    """The results as the lines that a command prints."""
    lines = []
    for name, m in content["protocols"].items():
        i2t, t2i = (" / ".join(f"{m[f'{d}_r{k}']:.1f}" for k in (1, 5, 10)) for d in ("i2t", "t2i"))
        lines.append(
            f"{content['dataset']} {content['split']} {name}: image to text R@1/5/10 {i2t}, "
            f"text to image {t2i}, rSum {m['rsum']:.1f}"
        )
    return "\n".join(lines)
