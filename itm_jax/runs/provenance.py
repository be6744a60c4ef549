"""Where a number comes from: fingerprints of the config, the data and the code, written into results.json."""

import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import itm_jax
from itm_jax.config.fields import FREE_FIELDS, PLACES, flatten
from itm_jax.data import watch
from itm_jax.data.regions import masked_regions
from itm_jax.structs import Split

SAMPLED = 64  # images whose features enter the fingerprint


def _short_hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:16]


def config_hash(config: Any, text: Mapping[str, str]) -> str:
    """A hash, 16 hexadecimal digits, of every field that decides a run's numbers, including the seed.

    In place of the paths of the text encoder it covers `text`, the fingerprints of the text side.
    """
    fields = {k: v for k, v in flatten(config).items() if k not in (*FREE_FIELDS, *PLACES)}
    return _short_hash(json.dumps([fields, dict(text)], sort_keys=True).encode())


@functools.cache
def code_version() -> dict[str, str]:
    """The package's version, and a hash of its sources that changes with any edit."""
    root = pathlib.Path(itm_jax.__file__).parent
    # A wheel has the configs in the package, a checkout beside it.
    files = sorted(p for p in root.rglob("*.py") if p.relative_to(root).parts[0] != "configs")
    parts = [part for p in files for part in (p.relative_to(root).as_posix().encode(), p.read_bytes())]
    return {"version": itm_jax.__version__, "source": _short_hash(*parts)}


def _plain(edges: Sequence[Sequence[int]]) -> list[list[int]]:
    return [[int(word) for word in edge] for edge in edges]


def fingerprint(split: Split) -> dict[str, Any]:
    """Returns what identifies the content of a split, wherever and in whatever form it is stored.

    `captions` is a hash of all captions, `features` a hash of the features of 64 images spread over the split, and
    `companions` a hash of the boxes, labels and edges of the same images. `extractor`, where it is known, is what
    extracted the features. `id` is a hash of all these and the sizes.
    """
    rows = np.unique(np.linspace(0, split.num_images - 1, SAMPLED).astype(int))
    sample = np.ascontiguousarray(masked_regions(split, rows)[0])
    counts = split.captions_per_image
    companions = [
        b"" if split.boxes is None else np.ascontiguousarray(split.boxes[rows], np.float32).tobytes(),
        b"" if split.labels is None else json.dumps(np.array(split.label_names)[split.labels[rows]].tolist()).encode(),
        b""
        if split.edges is None
        else json.dumps([_plain(split.edges[split.caption_starts[r]]) for r in rows]).encode(),
    ]
    out = {
        "images": split.num_images,
        "captions_per_image": counts if isinstance(counts, int) else _describe_counts(counts),
        "features_shape": [int(n) for n in split.features.shape[1:]],
        "features_dtype": str(split.features.dtype),
        "captions": _short_hash("\n".join(split.captions).encode()),
        "features": _short_hash(sample.tobytes()),
        "companions": _short_hash(*companions),
    }
    if split.extractor is not None:
        out["extractor"] = split.extractor.fingerprint
    return out | {"id": _short_hash(json.dumps(out, sort_keys=True).encode())}


def _describe_counts(counts: np.ndarray) -> dict[str, Any]:
    """Describes different numbers of captions: the least, the most, and a hash of all."""
    numbers = counts.astype("<i4").tobytes()
    return {"least": int(counts.min()), "most": int(counts.max()), "all": _short_hash(numbers)}


def files_of(split: Split) -> dict[str, int]:
    """Names and sizes in bytes of the files that the split was read from."""
    return {path.name: path.stat().st_size for path in watch.paths_of(split)}


def describe_split(split: Split) -> dict[str, Any]:
    """The fingerprint of a split and the files it came from."""
    return fingerprint(split) | {"files": files_of(split)}
