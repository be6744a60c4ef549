"""Extracts the regions of all images of a plan, part by part, and puts the data set together."""

import functools
import pathlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from itm_jax.devices.mesh import put, replicated, split_batch
from itm_jax.errors import InputError
from itm_jax.files import check_space, read_json, write_whole
from itm_jax.terminal import Bar, say
from itm_jax.vision import identity
from itm_jax.vision.backbones import Backbone, region_features
from itm_jax.vision.parts import FOLDER, Extracted, put_together, write_part
from itm_jax.vision.plan import Part, Plan
from itm_jax.vision.regions import Boxes

SKIPPED = "skipped.jsonl"
# Extracts a batch: pixels at each size and boxes -> features and indices of classes.
Compute = Callable[[Sequence[np.ndarray], np.ndarray], tuple[Any, Any]]


def start(plan: Plan, out: pathlib.Path, num_bytes: int) -> pathlib.Path:
    """Returns the folder of the parts, which are of this plan and no other. Makes it where it is not there.

    Raises:
        InputError: the directory holds something else, or there is not enough room.
    """
    folder = out / FOLDER
    note = folder / "plan.json"
    if note.is_file():
        known = read_json(note)
        if known.get("plan") != plan.fingerprint():
            raise InputError(
                f"{out}: holds an extraction that was begun with other images, captions or settings; pass another "
                "--out, or remove it"
            )
        return folder
    if out.exists() and any(path.name != FOLDER for path in out.iterdir()):
        raise InputError(f"{out}: is not empty; pass another --out, or remove what is there")
    check_space(out, 2 * num_bytes)
    folder.mkdir(parents=True, exist_ok=True)
    mine = folder / f"plan-{uuid.uuid4().hex}.json"  # several shards may begin at once; all write the same
    write_whole(mine, identity.text({"plan": plan.fingerprint(), **plan.identity}))
    mine.replace(note)
    return folder


def missing(plan: Plan, folder: pathlib.Path, shard: tuple[int, int]) -> list[Part]:
    """Returns the parts of a shard (i, n) that are not there yet. A split that is put together has none."""
    done = {split for split in plan.splits if (folder.parent / f"{split}_ims.npy").exists()}
    mine = plan.parts[shard[0] :: shard[1]]
    return [part for part in mine if part.split not in done and not (folder / part.name).exists()]


def make_compute(backbone: Backbone, mesh) -> Compute:
    """Returns the compiled extraction of a batch, over all devices of a mesh."""
    params = {"network": backbone.params}
    if backbone.classifier is not None:
        params["classifier"] = dict(backbone.classifier)
    params = put(params, replicated(mesh))
    step = jax.jit(functools.partial(region_features, backbone))
    rows = split_batch(mesh)
    return lambda pixels, boxes: step(params, put(list(pixels), rows), put(boxes, rows))


def extract_parts(
    parts: Sequence[Part],
    folder: pathlib.Path,
    stream: Iterator[dict[str, Any]],
    compute: Compute,
    boxes: Boxes,
    backbone: Backbone,
    *,
    batch: int,
    stop_on_error: bool,
) -> int:
    """Extracts parts and writes each of them. Returns the number of images that could not be used.

    Raises:
        InputError: with `stop_on_error`, an image cannot be used.
    """
    total = sum(len(part.items) for part in parts)
    began, done, failed = time.monotonic(), 0, 0
    with Bar("images", total) as bar:
        for part in parts:
            found: list[Extracted] = []
            for at in range(0, len(part.items), batch):
                items = part.items[at : at + batch]
                images = [next(stream) for _ in items]
                errors = [image["error"] for image in images]
                if stop_on_error and any(errors):
                    raise InputError(next(filter(None, errors)))
                pixels = [np.stack(of_size) for of_size in zip(*(i["pixels"] for i in images), strict=True)]
                found.append(_of_batch([i.image for i in items], pixels, errors, compute, boxes, backbone, batch))
                done, failed = done + len(items), failed + sum(map(bool, errors))
                bar.update(done, f"{done / (time.monotonic() - began):.0f} images/s")
            write_part(folder, part, _joined(found))
    return failed


def _of_batch(names, pixels, errors, compute: Compute, boxes: Boxes, backbone: Backbone, batch: int) -> Extracted:
    """The regions of some images. They are filled up to a whole batch, so that one program serves all."""
    fill = [(0, batch - len(names))] + [(0, 0)] * 3
    where, labels = boxes.of(names, pixels)
    padded = np.concatenate([where, np.repeat(where[-1:], batch - len(names), axis=0)])
    features, classes = compute([np.pad(p, fill) for p in pixels[: len(backbone.sizes)]], padded)
    features = np.asarray(features)[: len(names)].astype(np.float16)
    features[[bool(error) for error in errors]] = 0
    if classes is None:
        names_of = labels if labels is not None else np.empty((len(names), 0), "U1")
    else:
        by_class = np.array(backbone.classes)[np.asarray(classes)[: len(names)]]
        names_of = by_class if labels is None else np.where(labels == "", by_class, labels)
    return Extracted(features, where, names_of, np.array(errors))


def _joined(found: Sequence[Extracted]) -> Extracted:
    return Extracted(
        *(np.concatenate([getattr(x, k) for x in found]) for k in ("features", "boxes", "labels", "errors"))
    )


def finish(plan: Plan, folder: pathlib.Path, out: pathlib.Path) -> None:
    """Puts every split together and says what extracted it. The parts are removed when all is there."""
    for split in plan.splits:
        if not (out / f"{split}_ims.npy").exists():
            count = put_together(plan, split, folder, out)
            say(f"{split}: {count:,} images, {count * len(plan.splits[split][0].captions):,} captions")
        for part in plan.parts:
            if part.split == split:
                (folder / part.name).unlink(missing_ok=True)
    skipped = "".join((folder / f"{split}.skipped").read_text(encoding="utf-8") for split in plan.splits)
    if skipped:
        write_whole(out / SKIPPED, skipped)
        say(f"{skipped.count(chr(10))} images could not be used: {out / SKIPPED}")
    write_whole(out / identity.FILE, identity.text(identity.record(plan, out)))
    shutil.rmtree(folder)
