"""Measures the extraction of region features: decoding, the network and pooling, and writing, each alone."""

import functools
import pathlib
import tempfile
from typing import Any

import jax
import numpy as np
from PIL import Image

from itm_jax.bench.measure import limits, memory, seconds_of, summary, timed, where
from itm_jax.errors import InputError
from itm_jax.vision.backbones import Backbone, load_backbone, region_features
from itm_jax.vision.convolution import convolved, shifted
from itm_jax.vision.decode import decoded
from itm_jax.vision.efficientnet import EfficientNetLite
from itm_jax.vision.layout import layout
from itm_jax.vision.parts import Extracted, write_part
from itm_jax.vision.plan import IMAGES_PER_PART, Part

BATCH = 32
PHOTOGRAPH = (640, 480)  # width and height of the images that are decoded


def bench_extract(name: str, *, images: int, regions: int, threads: int, repeats: int, against: str | None) -> dict:
    """Returns images/s of each stage of an extraction, and what limits the network.

    Args:
        name: name of the backbone.
        images: number of images to decode.
        regions: number of regions of an image.
        threads: number of threads that decode.
        repeats: number of timed repetitions.
        against: with `torch` the network is measured in plain PyTorch too, in turn with ours.
    """
    backbone = load_backbone(name)
    if against and not isinstance(backbone.network, EfficientNetLite):
        raise InputError("--against=torch: is written for efficientnet-lite0 and -lite2")
    figures: dict[str, Any] = {"backbone": name, "devices": where(), "sizes": str(backbone.sizes), "regions": regions}
    with tempfile.TemporaryDirectory() as folder:
        figures["decode_images_per_second"] = _decode(pathlib.Path(folder), backbone.sizes, images, threads, repeats)
        figures["write_images_per_second"] = _write(pathlib.Path(folder), backbone.width, regions, repeats)
    figures["width"] = backbone.width
    pixels = [np.random.default_rng(0).integers(0, 256, (BATCH, s, s, 3)).astype(np.uint8) for s in backbone.sizes]
    boxes = np.repeat(layout(regions)[None], BATCH, axis=0)
    params, pixels, boxes = jax.device_put((backbone.variables, pixels, boxes))
    step = jax.jit(functools.partial(region_features, backbone)).lower(params, pixels, boxes).compile()
    jax.block_until_ready(step(params, pixels, boxes))
    times = timed(lambda: step(params, pixels, boxes), repeats)
    figures |= {f"step_{k}": v for k, v in times.items()}
    figures["step_images_per_second"] = BATCH / times["seconds_median"]
    figures |= {f"step_{k}": v for k, v in limits(step, None, times["seconds_median"], "float32").items()}
    if isinstance(backbone.network, EfficientNetLite):
        figures |= _depthwise(repeats)
        if against:
            figures |= _against_torch(backbone.network, backbone, repeats)
    return figures | memory()


def _decode(folder: pathlib.Path, sizes: tuple[int, ...], count: int, threads: int, repeats: int) -> float:
    """Images/s from JPEG files to squares of pixels."""
    rng, names = np.random.default_rng(0), [f"{k}.jpg" for k in range(count)]
    for name in names:
        rough = Image.fromarray(rng.integers(0, 256, (24, 32, 3)).astype(np.uint8))
        rough.resize(PHOTOGRAPH, Image.Resampling.BICUBIC).save(folder / name, quality=90)
    best = timed(lambda: list(decoded(names, folder, sizes, threads=threads)), min(repeats, 3))
    return count / best["seconds_min"]


def _write(folder: pathlib.Path, width: int, regions: int, repeats: int) -> float:
    """Images/s of writing a part."""
    n = IMAGES_PER_PART
    content = Extracted(
        np.random.default_rng(0).random((n, regions, width), np.float32).astype(np.float16),
        np.repeat(layout(regions)[None], n, axis=0),
        np.full((n, regions), "golden retriever"),
        np.full(n, ""),
    )
    return n / timed(lambda: write_part(folder, Part("train", 0, ()), content), repeats)["seconds_median"]


def _depthwise(repeats: int) -> dict[str, float]:
    """Seconds of one depthwise convolution, 112 x 112 x 32 by 3 x 3, in both forms, in turn."""
    x = jax.random.normal(jax.random.key(0), (BATCH, 112, 112, 32))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 1, 32))
    forms = {
        "shifted": jax.jit(lambda x, k: shifted(x, k, 1)),
        "convolved": jax.jit(lambda x, k: convolved(x, k, 1, groups=32)),
    }
    for form in forms.values():
        jax.block_until_ready(form(x, kernel))
    times = seconds_of(*(functools.partial(form, x, kernel) for form in forms.values()), repeats=repeats)
    return {f"depthwise_{k}_seconds": summary(t)["seconds_median"] for k, t in zip(forms, times, strict=True)}


def _against_torch(network: EfficientNetLite, backbone: Backbone, repeats: int) -> dict[str, float]:
    """Seconds of the network at the first size, ours and PyTorch's, in turn, and their largest difference."""
    from itm_jax.bench.pytorch.efficientnet import make_network

    side = backbone.sizes[0]
    images = np.random.default_rng(0).uniform(-1, 1, (BATCH, side, side, 3)).astype(np.float32)
    ours = jax.jit(lambda x: network.apply({"params": backbone.params}, x))
    theirs = make_network(network, backbone.params)
    difference = float(np.abs(np.asarray(ours(images)) - theirs(images)).max())
    one, other = seconds_of(lambda: ours(images), lambda: theirs(images), repeats=repeats)
    out = {"network_seconds": summary(one)["seconds_median"], "torch_seconds": summary(other)["seconds_median"]}
    return out | {"torch_over_ours": out["torch_seconds"] / out["network_seconds"], "torch_difference": difference}
