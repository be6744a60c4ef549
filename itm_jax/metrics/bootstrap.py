"""Confidence of recalls over queries: hits of each image, and a bootstrap over images with their captions."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from itm_jax.metrics.retrieval import RECALLS

RESAMPLES = 1000


def hits(arrays: Mapping[str, np.ndarray], protocol: str) -> Float[np.ndarray, "i 6"]:
    """Returns the hits of each image, in percent.

    Columns 1 to 3: whether the image finds one of its captions among the first 1, 5 and 10 (0 or 100). Columns 4 to 6:
    the share of its captions that find the image among the first 1, 5 and 10. Where images have different numbers of
    captions, this share is scaled with the image's number, so that the mean over images is that over all captions.
    """
    images, captions = arrays[f"{protocol}_images"], arrays[f"{protocol}_captions"]
    counts = np.broadcast_to(arrays["captions_per_image"], len(images))
    owner, scale = np.repeat(np.arange(len(images)), counts), len(images) / len(captions)
    shares = [np.bincount(owner, weights=captions < k, minlength=len(images)) * scale for k in RECALLS]
    columns = [images < k for k in RECALLS] + shares
    return 100.0 * np.stack(columns, axis=1).astype(np.float64)


def resampled(values: Float[np.ndarray, " i"]) -> Float[np.ndarray, " n"]:
    """Returns the means of RESAMPLES bootstrap resamples; the draws are the same for the same number of images."""
    images = len(values)
    counts = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), RESAMPLES)
    return counts @ values / images


def interval(per_seed: Float[np.ndarray, "s i 6"]) -> tuple[float, float]:
    """Returns (low, high) of rSum at 95%, with hits averaged over the seeds."""
    low, high = np.percentile(resampled(per_seed.mean(axis=0).sum(axis=1)), [2.5, 97.5])
    return float(low), float(high)
