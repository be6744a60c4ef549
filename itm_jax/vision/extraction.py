"""Extracts the regions of all images of a plan, part by part, and puts the data set together."""

import concurrent.futures
import dataclasses
import functools
import json
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from itm_jax.devices.mesh import put, replicated, split_batch
from itm_jax.errors import InputError
from itm_jax.files import check_space, make_directory, read_json, whole, write_whole
from itm_jax.terminal import Bar, say
from itm_jax.vision import identity
from itm_jax.vision.backbones import Backbone, region_features
from itm_jax.vision.box_sources import BoxSource
from itm_jax.vision.images import read_pixels
from itm_jax.vision.items import Item
from itm_jax.vision.parts import FOLDER, Extracted, put_together, read_errors, write_part
from itm_jax.vision.plan import Part, Plan

SKIPPED = "skipped.jsonl"
UNNAMED = "region"  # the label of a box that nothing names, where other boxes have names
OTHER = "was extracted with other images, captions or settings; pass another --out, or remove it"
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
        if not isinstance(known, dict) or known.get("plan") != plan.fingerprint():
            raise InputError(f"{out}: holds parts of an extraction, which {OTHER}")
        return folder
    if out.is_dir() and any(path.name != FOLDER for path in out.iterdir()):
        raise InputError(f"{out}: is not empty; pass another --out, or remove what is there")
    check_space(out, 2 * num_bytes)
    make_directory(folder)
    with whole(note, shared=True) as file:  # several shards may begin at once; all write the same
        file.write(identity.text({"plan": plan.fingerprint(), **plan.identity}).encode())
    return folder


def is_done(plan: Plan, out: pathlib.Path) -> bool:
    """Returns whether the data set of a plan is complete. Raises InputError where it is that of another plan."""
    found = identity.read(out)
    if found is None:
        return False
    if found.record.get("plan") != plan.fingerprint():
        raise InputError(f"{out}: holds a data set, which {OTHER}")
    shutil.rmtree(out / FOLDER, ignore_errors=True)  # a stop may have left it
    return True


def missing(plan: Plan, folder: pathlib.Path, shard: tuple[int, int], *, skip: bool) -> list[Part]:
    """Returns the parts of a shard (i, n) that are to be extracted. A split that is put together has none.

    A part with images that could not be used is done again, unless they are skipped and still cannot be used.
    """
    done = {split for split in plan.splits if (folder.parent / f"{split}_ims.npy").exists()}
    return [
        part
        for part in plan.parts[shard[0] :: shard[1]]
        if part.split not in done and not _is_whole(plan, folder, part, skip)
    ]


def _is_whole(plan: Plan, folder: pathlib.Path, part: Part, skip: bool) -> bool:
    if not (folder / part.name).exists():
        return False
    failed = [item for item, error in zip(part.items, read_errors(folder, part), strict=True) if error]
    return not failed or (skip and not any(_opens(plan.images / item.image) for item in failed))


def _opens(path: pathlib.Path) -> bool:
    try:
        read_pixels(path, (8,))
    except InputError:
        return False
    return True


def make_compute(backbone: Backbone, mesh) -> Compute:
    """Returns the compiled extraction of a batch, over all devices of a mesh."""
    params = put(backbone.variables, replicated(mesh))
    step = jax.jit(functools.partial(region_features, backbone))
    rows = split_batch(mesh)
    return lambda pixels, boxes: step(params, put(list(pixels), rows), put(boxes, rows))


@dataclasses.dataclass(frozen=True)
class Begun:
    """A batch that the devices work on.

    Attributes:
        outputs: the arrays that they compute.
        finish: waits for them, and returns the result.
    """

    outputs: Any
    finish: Callable[[], Extracted]


@dataclasses.dataclass(frozen=True)
class Extraction:
    """What extracts a batch of images.

    Attributes:
        backbone: the network and its classes.
        boxes: say which boxes an image gets.
        compute: from `make_compute`.
        batch: the number of images at a time; a smaller batch is filled up, so that one program serves all.
    """

    backbone: Backbone
    boxes: BoxSource
    compute: Compute
    batch: int

    def begin(self, images: Sequence[dict[str, Any]], names: Sequence[str]) -> Begun:
        """Starts the extraction of some images.

        Args:
            images: from `decode.decoded`.
            names: of the images.
        """
        errors = [image["error"] for image in images]
        pixels = [np.stack(of_size) for of_size in zip(*(i["pixels"] for i in images), strict=True)]
        boxes, labels = self.boxes.of(names, pixels)
        more = self.batch - len(names)
        fill = [(0, more)] + [(0, 0)] * 3
        padded = np.concatenate([boxes, np.repeat(boxes[-1:], more, axis=0)])
        begun = self.compute([np.pad(p, fill) for p in pixels[: len(self.backbone.sizes)]], padded)

        def finish() -> Extracted:
            features = np.asarray(begun[0])[: len(names)].astype(np.float16)
            bad = np.flatnonzero(~np.isfinite(features).all(axis=(1, 2)))
            if bad.size:
                raise InputError(
                    f"{names[bad[0]]}: its features are not finite; are the weights of the backbone whole?"
                )
            features = features.astype(np.float16)
            features[[bool(error) for error in errors]] = 0
            return Extracted(features, boxes, self._labels(labels, begun[1], len(names)), np.array(errors))

        return Begun(begun, finish)

    def _labels(self, of_boxes: np.ndarray | None, classes: Any, count: int) -> np.ndarray:
        """The names of boxes: those that come with them, else those of the classes."""
        if classes is None:
            return np.empty((count, 0), "U1") if of_boxes is None else np.where(of_boxes == "", UNNAMED, of_boxes)
        by_class = np.array(self.backbone.classes)[np.asarray(classes)[:count]]
        return by_class if of_boxes is None else np.where(of_boxes == "", by_class, of_boxes)


def extract_parts(
    parts: Sequence[Part],
    folder: pathlib.Path,
    stream: Iterator[dict[str, Any]],
    extraction: Extraction,
    *,
    stop_on_error: bool,
) -> None:
    """Extracts parts. While the devices work on a batch, the next one is decoded and the part before is written.

    Raises:
        InputError: with `stop_on_error`, an image cannot be used; or a part cannot be written.
    """
    total, began, done = sum(len(part.items) for part in parts), time.monotonic(), 0
    with concurrent.futures.ThreadPoolExecutor(1) as writer, Bar("images", total) as bar:
        found: list[Extracted] = []
        writing: list[concurrent.futures.Future] = []

        def fetch(part: Part, batch: Begun) -> None:
            """Takes the result of a batch; a part that is complete goes to the writer."""
            found.append(batch.finish())
            if sum(len(batch.errors) for batch in found) == len(part.items):
                if writing:
                    writing.pop().result()
                writing.append(writer.submit(write_part, folder, part, _joined(found)))
                found.clear()

        begun: tuple[Part, Begun] | None = None
        one_by_one = jax.default_backend() == "cpu"  # there, every batch under way holds memory of its own
        for part, items in _batches(parts, extraction.batch):
            images = [next(stream) for _ in items]
            if stop_on_error and (errors := [image["error"] for image in images if image["error"]]):
                raise InputError(errors[0])
            if begun and one_by_one:
                jax.block_until_ready(begun[1].outputs)
            before, begun = begun, (part, extraction.begin(images, [item.image for item in items]))
            if before:
                fetch(*before)
            done += len(items)
            bar.update(done, f"{done / (time.monotonic() - began):.0f} images/s")
        if begun:
            fetch(*begun)
        if writing:
            writing.pop().result()


def _batches(parts: Sequence[Part], size: int) -> Iterator[tuple[Part, Sequence[Item]]]:
    """Yields (part, some of its images), at most so many at a time."""
    for part in parts:
        for at in range(0, len(part.items), size):
            yield part, part.items[at : at + size]


def _joined(found: Sequence[Extracted]) -> Extracted:
    names = [field.name for field in dataclasses.fields(Extracted)]
    return Extracted(*(np.concatenate([getattr(x, name) for x in found]) for name in names))


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
    skipped += "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in plan.left_out)
    if skipped:
        write_whole(out / SKIPPED, skipped)
        say(f"{skipped.count(chr(10))} images are not in the data set: {out / SKIPPED} says why")
    write_whole(out / identity.FILE, identity.text(identity.record(plan, out)))
    shutil.rmtree(folder)
