"""What `itm_jax.extract` does, from its settings to the data set."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from itm_jax.devices.mesh import make_mesh
from itm_jax.errors import InputError
from itm_jax.terminal import say
from itm_jax.vision import extraction
from itm_jax.vision.backbones import Backbone, load_backbone
from itm_jax.vision.box_sources import BoxSource, LayoutBoxes, read_boxes
from itm_jax.vision.caption_files import read_items
from itm_jax.vision.decode import decoded
from itm_jax.vision.items import Item
from itm_jax.vision.plan import IMAGES_PER_PART, Plan
from itm_jax.vision.splits import same_number, split_items


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
    batch: int | None
    threads: int


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An extraction whose captions are read and whose backbone is loaded; no image was opened yet."""

    settings: Settings
    plan: Plan
    backbone: Backbone
    boxes: BoxSource


def prepare(s: Settings) -> Prepared:
    """Reads the captions, and loads the backbone and the source of boxes.

    Raises:
        InputError: one of them cannot be used.
    """
    splits, left_out = _splits(s)
    backbone, boxes = load_backbone(s.backbone, s.sizes), _boxes(s, splits)
    labels = [kind for kind, used in (("boxes", boxes.labelled), ("classes", bool(backbone.classes))) if used]
    plan = Plan(
        s.images,
        splits,
        {**backbone.identity, **boxes.identity, "labels": labels},
        {**backbone.source, "boxes": s.boxes},
        boxes.checksum,
        left_out,
    )
    return Prepared(s, plan, backbone, boxes)


def extract(prepared: Prepared) -> bool:
    """Extracts what is missing, and puts the data set together where nothing is missing any more.

    Returns:
        Whether the data set is complete.
    """
    s, plan, backbone = prepared.settings, prepared.plan, prepared.backbone
    if extraction.is_done(plan, s.out):
        say(f"{s.out}: already extracted")
        return True
    _check_all_there(s, plan.splits)
    folder = extraction.start(plan, s.out, plan.num_images * s.regions * backbone.width * 2)
    parts = extraction.missing(plan, folder, s.shard or (0, 1), skip=s.skip)
    say(_summary(plan, parts, s))
    if parts:
        devices = jax.local_device_count()
        batch = -(-min(s.batch or backbone.batch * devices, IMAGES_PER_PART) // devices) * devices
        sizes = (*backbone.sizes, prepared.boxes.extra_size) if prepared.boxes.extra_size else backbone.sizes
        compute = extraction.make_compute(backbone, make_mesh(batch))
        work = extraction.Extraction(backbone, prepared.boxes, compute, batch)
        names = [item.image for part in parts for item in part.items]
        with contextlib.closing(decoded(names, s.images, sizes, threads=s.threads)) as stream:
            extraction.extract_parts(parts, folder, stream, work, stop_on_error=not s.skip)
    if s.shard:
        say(f"shard {s.shard[0]} of {s.shard[1]}: done; the same command without --shard puts the data set together")
        return False
    extraction.finish(plan, folder, s.out)
    return True


def _splits(s: Settings) -> tuple[dict[str, list[Item]], list[dict[str, Any]]]:
    """The images of each split, with as many captions each, and those that are left out."""
    if not s.images.is_dir():
        raise InputError(f"{s.images}: no such directory; --images is a folder of images")
    items = read_items(s.captions)
    bare = [item for item in items if not item.captions]
    if bare and not s.skip:
        raise InputError(
            f"{s.captions}: {bare[0].where}: {bare[0].image} has no caption ({len(bare)} such images); remove them, or "
            "pass --on_error=skip"
        )
    items, few = same_number([i for i in items if i.captions], s.captions, s.captions_per_image)
    left_out = [_left_out(item, "it has no caption") for item in bare]
    left_out += [_left_out(item, f"it has {len(item.captions)} captions") for item in few]
    if few:
        say(f"left out, fewer than {s.captions_per_image} captions: {len(few):,} images ({few[0].image} is the first)")
    return split_items(items, s.captions, lists=s.split_lists, draw=s.draw, seed=s.seed), left_out


def _left_out(item: Item, reason: str) -> dict[str, Any]:
    return {"image": item.image, "split": item.split, "where": item.where, "reason": reason}


def _check_all_there(s: Settings, splits: Mapping[str, Sequence[Item]]) -> None:
    """Raises InputError where images are missing and not skipped; says how many images have no captions."""
    items = [item for found in splits.values() for item in found]
    folders = {pathlib.PurePosixPath(item.image).parent for item in items}
    there: set[str] = set()
    for folder in folders:
        with contextlib.suppress(OSError):  # the images in it are missing then, which is said below
            there |= {str(folder / entry.name) for entry in os.scandir(s.images / folder) if not entry.is_dir()}
    missing = [item for item in items if item.image not in there]
    if missing and not s.skip:
        raise InputError(
            f"{s.captions}: {missing[0].where}: {missing[0].image} is not in {s.images} ({len(missing):,} such "
            "images); get them, or pass --on_error=skip"
        )
    if more := len(there) - (len(items) - len(missing)):
        say(f"{s.images}: {more:,} files are not in the data set, because no caption of it names them")


def _boxes(s: Settings, splits: Mapping[str, Sequence[Item]]) -> BoxSource:
    if s.boxes == "layout":
        return LayoutBoxes(s.regions)
    kind, _, checkpoint = s.boxes.partition(":")
    if kind == "detector":
        if not checkpoint:
            raise InputError("--boxes=detector: say detector:CHECKPOINT, with a directory or a hub name")
        from itm_jax.vision.detector import load_detector

        return load_detector(checkpoint, s.regions)
    path = pathlib.Path(s.boxes).expanduser()
    boxes = read_boxes(path, s.regions)
    if note := boxes.check_names((item.image for items in splits.values() for item in items), path):
        say(note)
    return boxes


def _summary(plan: Plan, parts, s: Settings) -> str:
    counts = ", ".join(f"{split} {len(items):,}" for split, items in plan.splits.items())
    left = sum(len(part.items) for part in parts)
    rest = "" if left == plan.num_images else f"; {left:,} left to do"
    return f"{plan.num_images:,} images ({counts}), {s.regions} regions, {s.backbone}{rest}"
