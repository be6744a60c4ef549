"""What `itm_jax.extract` does, from its settings to the data set."""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax

from itm_jax.devices.mesh import make_mesh
from itm_jax.errors import InputError
from itm_jax.terminal import say
from itm_jax.vision import extraction
from itm_jax.vision.backbones import Backbone, load_backbone
from itm_jax.vision.caption_files import read_items
from itm_jax.vision.decode import decoded
from itm_jax.vision.identity import FILE
from itm_jax.vision.plan import Plan
from itm_jax.vision.regions import Boxes, Layout, read_boxes
from itm_jax.vision.splits import same_number, split_items

SHOWN = 5  # names in a line


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags of `itm_jax.extract`."""

    images: pathlib.Path
    captions: pathlib.Path
    out: pathlib.Path
    backbone: str
    boxes: str
    regions: int
    sizes: tuple[int, ...]
    split_lists: Mapping[str, pathlib.Path]
    draw: Mapping[str, int]
    seed: int
    captions_per_image: int | None
    shard: tuple[int, int] | None
    skip: bool
    batch: int
    threads: int


def extract(s: Settings) -> bool:
    """Extracts what is missing, and puts the data set together where nothing is missing any more.

    Returns:
        Whether the data set is complete.
    """
    splits = _splits(s)
    if (s.out / FILE).exists():
        return True
    backbone, boxes = load_backbone(s.backbone, s.sizes), _boxes(s)
    labels = {"labels": "classes of the backbone" if backbone.classes else "none"}
    plan = Plan(s.images, splits, {**backbone.identity, **boxes.identity, **labels})
    devices = jax.local_device_count()
    batch = -(-s.batch // devices) * devices
    folder = extraction.start(plan, s.out, plan.num_images * s.regions * _width(backbone) * 2)
    parts = extraction.missing(plan, folder, s.shard or (0, 1))
    say(_summary(plan, parts, s))
    if parts:
        sizes = (*backbone.sizes, boxes.extra_size) if boxes.extra_size else backbone.sizes
        names = [item.image for part in parts for item in part.items]
        stream = decoded(names, s.images, sizes, threads=s.threads)
        compute = extraction.make_compute(backbone, make_mesh(batch))
        extraction.extract_parts(parts, folder, stream, compute, boxes, backbone, batch=batch, stop_on_error=not s.skip)
    if s.shard:
        say(f"shard {s.shard[0]} of {s.shard[1]}: done; the same command without --shard puts the data set together")
        return False
    extraction.finish(plan, folder, s.out)
    return True


def _splits(s: Settings) -> dict:
    """The images of each split, with as many captions each."""
    if not s.images.is_dir():
        raise InputError(f"{s.images}: no such directory; --images is a folder of images")
    items = read_items(s.captions)
    seen: dict[str, str] = {}
    for item in items:
        if item.image in seen:
            raise InputError(f"{s.captions}: {item.where}: {item.image} is at {seen[item.image]} already")
        seen[item.image] = item.where
    bare = [item for item in items if not item.captions]
    if bare and not s.skip:
        raise InputError(
            f"{s.captions}: {bare[0].where}: {bare[0].image} has no caption ({len(bare)} such images); remove them, or "
            "pass --on_error=skip"
        )
    items, few = same_number([i for i in items if i.captions], s.captions, s.captions_per_image)
    if few:
        names = ", ".join(item.image for item in few[:SHOWN])
        say(f"left out, fewer than {s.captions_per_image} captions: {len(few)} images ({names}, ...)")
    return split_items(items, s.captions, lists=s.split_lists, draw=s.draw, seed=s.seed)


def _boxes(s: Settings) -> Boxes:
    if s.boxes == "layout":
        return Layout(s.regions)
    if s.boxes.startswith("detector:"):
        from itm_jax.vision.detector import load_detector

        return load_detector(s.boxes.removeprefix("detector:"), s.regions)
    return read_boxes(pathlib.Path(s.boxes).expanduser(), s.regions)


def _width(backbone: Backbone) -> int:
    side = backbone.sizes[0]
    shape = jax.eval_shape(
        lambda x: backbone.network.apply({"params": backbone.params}, x),
        jax.ShapeDtypeStruct((1, side, side, 3), "float32"),
    )
    return shape.shape[-1]


def _summary(plan: Plan, parts, s: Settings) -> str:
    counts = ", ".join(f"{split} {len(items):,}" for split, items in plan.splits.items())
    left = sum(len(part.items) for part in parts)
    rest = "" if left == plan.num_images else f"; {left:,} left to do"
    return f"{plan.num_images:,} images ({counts}), {s.regions} regions, {s.backbone}{rest}"
