"""Puts images into splits, and gives every image the same number of captions."""

import collections
import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from itm_jax.errors import InputError
from itm_jax.terminal import say
from itm_jax.vision.caption_files import SPLITS, lines_of, read_text
from itm_jax.vision.items import Item

LEAST = 10  # images from which dev and test are drawn without being told
DRAWN = 1000  # images of dev and of test that are drawn where nothing else is said, but at most a tenth of all


def split_items(
    items: Sequence[Item],
    source: pathlib.Path,
    *,
    lists: Mapping[str, pathlib.Path],
    draw: Mapping[str, int],
    seed: int,
) -> dict[str, list[Item]]:
    """Returns the images of each split: in the order of a list where there are lists, else of the caption file.

    Lists of names come first, then the splits of the caption file; where neither is there, dev and test are drawn, and
    the rest is train. Other names of the splits (`val`) become ours (`dev`).

    Args:
        items: all images.
        source: the caption file, for messages.
        lists: a file with the names of the images of a split, one per line, for each split.
        draw: how many images of a split are drawn.
        seed: seed of the draw.

    Raises:
        InputError: a name in a list is unknown or twice there, only some images have a split, or too many are drawn.
    """
    if not items:
        raise InputError(f"{source}: no image has a caption")
    lists, draw = _our_names("--split_lists", lists), _our_names("--draw", draw)
    if lists and draw:
        raise InputError("--draw: has no effect beside --split_lists; leave one of them out")
    if lists:
        return _by_lists(items, source, lists)
    without = [item for item in items if item.split is None]
    if without and len(without) < len(items):
        raise InputError(f"{source}: {without[0].where}: {without[0].image} has no split, but other images have one")
    if not without:
        if draw:
            raise InputError(f"--draw: {source} says itself which split an image is in; leave the flag out")
        out: dict[str, list[Item]] = {}
        for item in items:
            out.setdefault(item.split or "", []).append(item)
        return out
    if not draw and len(items) < LEAST:
        raise InputError(
            f"{source}: has {len(items)} images and no splits, too few to draw from; say --draw=dev=1,test=1, or give "
            "lists with --split_lists"
        )
    return _drawn(items, draw or dict.fromkeys(("dev", "test"), min(DRAWN, len(items) // LEAST)), seed)


def _our_names(flag: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a flag under our names of the splits."""
    out = {SPLITS.get(name, name): value for name, value in values.items()}
    if len(out) < len(values):
        raise InputError(f"{flag}: {', '.join(values)}: two names of one split")
    return out


def _by_lists(items, source, lists) -> dict[str, list[Item]]:
    known = {item.image: item for item in items}
    short = _short_names(known)
    taken: dict[str, str] = {}
    out: dict[str, list[Item]] = {}
    for split, path in lists.items():
        names = []
        for n, line in enumerate(lines_of(read_text(path)), 1):
            given = line.strip()
            if not given:
                continue
            found = [given] if given in known else short.get(given, [])
            if len(found) != 1:
                what = f"is the name of {len(found)} images" if found else "is not among the images"
                raise InputError(f"{path}: line {n}: {given} {what} of {source}")
            name = found[0]
            if name in taken:
                raise InputError(f"{path}: line {n}: {name} is in the list of {taken[name]} already")
            taken[name] = split
            names.append(name)
        if not names:
            raise InputError(f"{path}: empty; it must have the names of the images of {split}, one per line")
        out[split] = [dataclasses.replace(known[name], split=split) for name in names]
    if len(taken) < len(known):
        first = next(name for name in known if name not in taken)
        say(f"left out, in no list: {len(known) - len(taken):,} images ({first} is the first)")
    return out


def _short_names(names: Iterable[str]) -> dict[str, list[str]]:
    """The images that a name without its folder, or without folder and ending, may mean."""
    out: dict[str, list[str]] = {}
    for name in names:
        path = pathlib.PurePosixPath(name)
        for short in {path.name, path.stem}:
            out.setdefault(short, []).append(name)
    return out


def _drawn(items, draw, seed) -> dict[str, list[Item]]:
    wanted = sum(draw.values())
    if "train" in draw:
        raise InputError("--draw: train is what is left; say how many images dev and test get")
    if wanted >= len(items):
        raise InputError(f"--draw: {wanted} images are drawn, but there are only {len(items)}; draw fewer")
    order = np.random.default_rng(seed).permutation(len(items))
    split_of: dict[int, str] = {}
    for split, count in draw.items():
        split_of |= dict.fromkeys(order[:count].tolist(), split)
        order = order[count:]
    out: dict[str, list[Item]] = {"train": []} | {split: [] for split, count in draw.items() if count}
    for n, item in enumerate(items):
        split = split_of.get(n, "train")
        out[split].append(dataclasses.replace(item, split=split))
    return out


def same_number(items: Sequence[Item], source: pathlib.Path, wanted: int | None) -> tuple[list[Item], list[Item]]:
    """Returns the images with the same number of captions each, and those that have too few.

    Args:
        items: images with one caption or more.
        source: the caption file, for messages.
        wanted: how many captions of an image to take, the first ones; None where all have the same number.

    Raises:
        InputError: the numbers differ, and `wanted` does not say how many to take; or no image has so many.
    """
    numbers = collections.Counter(len(item.captions) for item in items)
    if not numbers:
        raise InputError(f"{source}: no image has a caption")
    if wanted is None:
        if len(numbers) > 1:
            spread = ", ".join(f"{count:,} have {number}" for number, count in sorted(numbers.items())[:6])
            raise InputError(
                f"{source}: the images have different numbers of captions ({spread}); --captions_per_image=N takes the "
                "first N of each, and leaves out the images that have fewer"
            )
        return list(items), []
    enough = [item for item in items if len(item.captions) >= wanted]
    if not enough:
        raise InputError(f"--captions_per_image={wanted}: no image of {source} has so many; at most {max(numbers)}")
    cut = [dataclasses.replace(item, captions=item.captions[:wanted]) for item in enough]
    return cut, [item for item in items if len(item.captions) < wanted]
