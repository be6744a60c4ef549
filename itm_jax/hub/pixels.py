"""From images to regions with the extractor of a trained model: what `itm_jax.extract` does, for a few images."""

import concurrent.futures
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from itm_jax.devices.mesh import make_mesh
from itm_jax.errors import InputError
from itm_jax.structs import Extractor, Split
from itm_jax.vision.backbones import Backbone, load_backbone
from itm_jax.vision.box_sources import BoxSource, LayoutBoxes
from itm_jax.vision.extraction import Begun, Compute, Extraction, make_compute
from itm_jax.vision.identity import difference
from itm_jax.vision.images import read_pixels, squares, to_rgb

FEW = 4  # images of the smaller of two programs; the larger one has the batch of the backbone


@dataclasses.dataclass(frozen=True)
class PixelReader:
    """The extractor of a model, loaded again.

    Attributes:
        backbone: the network.
        boxes: say which boxes an image gets.
    """

    backbone: Backbone
    boxes: BoxSource

    @functools.cached_property
    def _compute(self) -> Compute:
        return make_compute(self.backbone, make_mesh(jax.local_device_count()))

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names that it may give to regions."""
        return tuple(dict.fromkeys([*self.boxes.names, *self.backbone.classes]))

    @property
    def _sizes(self) -> tuple[int, ...]:
        return (*self.backbone.sizes, self.boxes.extra_size) if self.boxes.extra_size else self.backbone.sizes

    def error_of(self, path: pathlib.Path) -> str:
        """Returns what is wrong with an image file, "" where nothing is."""
        try:
            _pixels(path, self._sizes, str(path))
        except InputError as e:
            return str(e)
        return ""

    def split(self, images: Sequence[Any]) -> Split:
        """Returns the regions of images as a split without captions.

        Args:
            images: paths, PIL images, or [h w 3] uint8 arrays.

        Raises:
            InputError: an image cannot be used; the message names it.
        """
        names = [str(x) if isinstance(x, str | pathlib.Path) else f"image {k}" for k, x in enumerate(images)]
        sizes = self._sizes
        devices = jax.local_device_count()
        batch = -(-(FEW if len(images) <= FEW else self.backbone.batch * devices) // devices) * devices
        work = Extraction(self.backbone, self.boxes, self._compute, batch)
        parts = []
        under_way: Begun | None = None  # decoding overlaps with the devices
        with concurrent.futures.ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
            for start in range(0, len(images), batch):
                items = slice(start, start + batch)
                pixels = list(pool.map(lambda x, name: _pixels(x, sizes, name), images[items], names[items]))
                if under_way:
                    parts.append(under_way.finish())
                under_way = work.begin([{"pixels": p, "error": ""} for p in pixels], names[items])
        assert under_way is not None  # there is an image
        parts.append(under_way.finish())
        labels = np.concatenate([x.labels for x in parts])
        label_names, index = np.unique(labels, return_inverse=True)
        return Split(
            name="images",
            features=np.concatenate([x.features for x in parts]),
            captions=[],
            captions_per_image=0,
            ids=names,
            boxes=np.concatenate([x.boxes for x in parts]),
            labels=index.reshape(labels.shape).astype(np.int32) if labels.size else None,
            label_names=tuple(label_names.tolist()),
            source="the images",
        )


def reads_pixels(extractor: Extractor) -> bool:
    """Returns whether new images can go through an extractor: boxes of a file are known for its own images alone."""
    source = str(extractor.record.get("source", {}).get("boxes"))
    return source == "layout" or source.startswith("detector:")


def load_reader(extractor: Extractor, backbone_name: str | None = None) -> PixelReader:
    """Loads the extractor that a model's features come from.

    Args:
        extractor: what extractor.json says.
        backbone_name: the name of the backbone, as for `itm_jax.extract --backbone=`, where its weights lie in another
            place today.

    Raises:
        InputError: its weights are not here, are not the same, or its boxes come from a file, which new images lack.
    """
    identity, source = extractor.record["identity"], extractor.record.get("source", {})
    name = backbone_name or str(source.get("backbone"))
    if not backbone_name and source.get("revision") and "@" not in name:  # of the hub, as it was for the training
        name = f"{name}@{source['revision']}"
    sizes = identity.get("preprocessing", {}).get("sizes")
    if not isinstance(sizes, list) or not isinstance(identity.get("regions"), int):
        raise InputError(f"{name}: extractor.json does not say its sizes and regions; extract the features again")
    try:
        backbone = load_backbone(name, tuple(sizes))
    except InputError as e:
        hint = 'if its weights lie elsewhere, pass itm_jax.load(..., backbone="KIND:DIR"), or --backbone=KIND:DIR'
        raise InputError(f"{e}; {hint}" if ":" in name else str(e)) from None
    boxes = _boxes(identity, str(source.get("boxes")))
    labels = [kind for kind, used in (("boxes", boxes.labelled), ("classes", bool(backbone.classes))) if used]
    now = {**backbone.identity, **boxes.identity, "labels": labels}
    now = json.loads(json.dumps(now))  # as a file has it: lists, not tuples
    if now != identity:
        raise InputError(
            f"{name}: not the extractor of the features that the model was trained on "
            f"({difference(now, identity)}); get the same weights, or extract the features and train again"
        )
    return PixelReader(backbone, boxes)


def _boxes(identity: Any, source: str) -> BoxSource:
    kind, _, checkpoint = source.partition(":")
    if source == "layout":
        return LayoutBoxes(identity["regions"])
    if kind == "detector" and checkpoint:
        from itm_jax.vision.detector import load_detector

        return load_detector(checkpoint, identity["regions"])
    raise InputError(
        f"{source}: the boxes of the training images come from this file, and new images are not in it; pass regions "
        "(itm_jax.structs.Regions) in place of images"
    )


def _pixels(image: Any, sizes: Sequence[int], name: str) -> list[np.ndarray]:
    from PIL import Image

    if isinstance(image, str | pathlib.Path):
        return read_pixels(pathlib.Path(image).expanduser(), sizes)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError(
                f"{name}: an array of {image.dtype} {list(image.shape)}; expected uint8 [height, width, 3]"
            )
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise InputError(f"{name}: a {type(image).__name__}; expected a path, a PIL image or a uint8 array")
    return squares(to_rgb(pathlib.Path(name), image), sizes, name)
