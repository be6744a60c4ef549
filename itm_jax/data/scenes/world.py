"""`scenes`: a generated, compositional world with known truth. It needs no download and is a pure function of its seed.

An image shows 2 to 6 objects with shape, colour, size and place on a background. A detector sees regions: the features
of a region are a noisy encoding of what its box covers. Images come in twins. The second twin has the objects of the
first, but two of them have swapped their colours or their places, so that every gallery has hard distractors. About
half of the captions are true of the twin too, because they do not say what was swapped. So among 500 images no model
can rank the right one first for more than about 71% of the captions. Captions are in `captions.py`, pictures in
`render.py`.

All draws come from a counter-based integer hash (SplitMix64, Steele et al., 2014). Only additions and products follow,
so that the data set is the same on every machine and NumPy version.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from itm_jax.data.draws import noise, uniform
from itm_jax.data.scenes.captions import BACKGROUNDS, COLOURS, SHAPES, SIZES, describe
from itm_jax.errors import InputError
from itm_jax.modules.boxes import area, intersection
from itm_jax.structs import Split

MAX_OBJECTS = 6
CAPTIONS_PER_IMAGE = 5
HALF_EXTENT = np.array([0.07, 0.11, 0.15])  # half the width of small, medium and large objects, in images
LABEL_NOISE = 0.1  # the share of labels that are drawn at random
LABEL_NAMES = tuple(sorted({s[0] for s in SHAPES} | {b[0] for b in BACKGROUNDS}))


@dataclasses.dataclass(frozen=True)
class World:
    """The truth of a split: attributes of objects, [i, 6]. The first `count` objects of each image exist."""

    count: Int[np.ndarray, " i"]
    shape: Int[np.ndarray, "i o"]
    colour: Int[np.ndarray, "i o"]
    size: Int[np.ndarray, "i o"]
    centre: Float[np.ndarray, "i o 2"]
    background: Int[np.ndarray, " i"]

    @property
    def boxes(self) -> Float[np.ndarray, "i o 4"]:
        """The boxes of the objects (x1, y1, x2, y2), as fractions of the image."""
        half = HALF_EXTENT[self.size][..., None]
        return np.concatenate([self.centre - half, self.centre + half], axis=-1)


def make_world(images: int, seed: int, split: str) -> World:
    """Returns the objects of all images of a split; image 2k + 1 is the twin of image 2k."""
    pairs = -(-images // 2)

    def choose(name: str, n: int, *shape: int) -> np.ndarray:
        return (uniform(seed, f"{split}/{name}", pairs, *shape) * n).astype(np.int64)

    count = 2 + choose("count", MAX_OBJECTS - 1)
    shape, colour, size = (choose(n, len(c), MAX_OBJECTS) for n, c in (("s", SHAPES), ("c", COLOURS), ("z", SIZES)))
    # Objects stand in different cells of a 3 x 3 grid, up to 0.03 off the centres of the cells.
    cell = np.argsort(uniform(seed, f"{split}/cell", pairs, 9), axis=1, kind="stable")[:, :MAX_OBJECTS]
    centre = (np.stack([cell % 3, cell // 3], axis=-1) * 2 + 1) / 6.0
    centre = centre + (uniform(seed, f"{split}/place", pairs, MAX_OBJECTS, 2) - 0.5) * 0.06
    background = choose("background", len(BACKGROUNDS))
    # The first two objects are swapped. If they were alike in everything, the twins would be the same image.
    alike = (shape[:, 0] == shape[:, 1]) & (colour[:, 0] == colour[:, 1]) & (size[:, 0] == size[:, 1])
    colour[:, 1] = (colour[:, 1] + alike) % len(COLOURS)

    def twins(x: np.ndarray) -> np.ndarray:
        return np.repeat(x, 2, axis=0)[:images]

    colour, centre = twins(colour), twins(centre)
    swap_colours = twins((choose("swap", 2) == 0)[:, None])[:, 0] & (colour[:, 0] != colour[:, 1])
    odd = np.arange(images) % 2 == 1
    swapped = np.r_[1, 0, 2:MAX_OBJECTS]
    colour = np.where((odd & swap_colours)[:, None], colour[:, swapped], colour)
    centre = np.where((odd & ~swap_colours)[:, None, None], centre[:, swapped], centre)
    return World(twins(count), twins(shape), colour, twins(size), centre, twins(background))


def grid_boxes() -> Float[np.ndarray, "g 4"]:
    """Returns the boxes of the whole image, then of its 2 x 2, 3 x 3, 4 x 4, ... 7 x 7 parts."""
    boxes = []
    for n in range(1, 8):
        for k in range(n * n):
            x, y = k % n, k // n
            boxes.append([x / n, y / n, (x + 1) / n, (y + 1) / n])
    return np.array(boxes)


def detect(world: World, regions: int, seed: int, split: str) -> Float[np.ndarray, "i r 4"]:
    """Returns the boxes of a detector.

    Each object has one box. Looser boxes of objects follow, up to half of the regions, and then the boxes of a grid.
    """
    images = len(world.count)
    again = (uniform(seed, f"{split}/again", images, regions) * world.count[:, None]).astype(np.int64)
    slot = np.arange(regions)[None, :]
    seen_object = np.where(slot < world.count[:, None], np.minimum(slot, MAX_OBJECTS - 1), again)
    tight = np.where(slot < world.count[:, None], 0.1, 0.35)[..., None]
    box = np.take_along_axis(world.boxes, seen_object[..., None], axis=1)
    extent = (box[..., 2:] - box[..., :2])[..., [0, 1, 0, 1]]
    box = box + (uniform(seed, f"{split}/jitter", images, regions, 4) - 0.5) * 2 * tight * extent
    on_grid = slot >= np.maximum(world.count[:, None], regions // 2)
    grid = grid_boxes()
    grid_slot = np.clip(slot - np.maximum(world.count[:, None], regions // 2), 0, len(grid) - 1)
    return np.clip(np.where(on_grid[..., None], grid[grid_slot], box), 0.0, 1.0)


def coverage(world: World, boxes: Float[np.ndarray, "i r 4"]) -> Float[np.ndarray, "i r o"]:
    """Returns how much each box shows each object.

    It is the share of the object inside the box, times the smaller of 1 and twice the object's share of the box.
    """
    a, b = boxes[:, :, None, :], world.boxes[:, None, :, :]
    inside = intersection(a, b)
    exists = np.arange(MAX_OBJECTS)[None, None, :] < world.count[:, None, None]
    return np.where(exists, inside / area(b) * np.minimum(1.0, 2.0 * inside / np.maximum(area(a), 1e-9)), 0.0)


def encode_regions(
    world: World, boxes: np.ndarray, seen: np.ndarray, *, width: int, level: float, seed: int, split: str
) -> Float[np.ndarray, "i r f"]:
    """Returns region features: codes of covered objects and of the background, a weak code of the place, and noise."""
    images, regions, _ = boxes.shape
    codes = {n: noise(seed, f"code/{n}", len(c), width) for n, c in _VOCABULARIES.items()}
    objects = codes["shape"][world.shape] + codes["colour"][world.colour] + 0.7 * codes["size"][world.size]
    free = np.maximum(0.0, 1.0 - np.sum(seen, axis=2))
    out = level * noise(seed, f"{split}/noise", images, regions, width)
    for o in range(MAX_OBJECTS):  # one by one, because the order of the sums in a matrix product is up to the library
        out += seen[:, :, o, None] * objects[:, None, o, :]
    out += free[..., None] * codes["background"][world.background][:, None, :]
    place = noise(seed, "code/place", 4, width)
    for k in range(4):
        out += 0.5 * (boxes[..., k, None] - 0.5) * place[k]
    return out.astype(np.float32)


def label_regions(world: World, seen: np.ndarray, seed: int, split: str) -> Int[np.ndarray, "i r"]:
    """Returns the label of each region: the shape of the object that it shows most, or the background.

    A region that shows no object has the background as its label. One label in ten is drawn at random.
    """
    index = {name: k for k, name in enumerate(LABEL_NAMES)}
    shapes = np.array([index[s[0]] for s in SHAPES])[world.shape]
    grounds = np.array([index[b[0]] for b in BACKGROUNDS])[world.background]
    best = np.argmax(seen, axis=2)
    label = np.take_along_axis(shapes, best, axis=1)
    label = np.where(np.max(seen, axis=2) > 0.15, label, grounds[:, None])
    wrong = uniform(seed, f"{split}/wrong", *label.shape) < LABEL_NOISE
    other = (uniform(seed, f"{split}/other", *label.shape) * len(LABEL_NAMES)).astype(np.int64)
    return np.where(wrong, other, label).astype(np.int32)


def make_split(config, name: str) -> Split:
    """Generates a split.

    Args:
        config: the `data.scenes` section: images per split, regions, feature width, noise level, seed.
        name: train, dev or test.

    Returns:
        The split, with boxes, labels and dependency edges.

    Examples:
        >>> from itm_jax import quickstart
        >>> dev = make_split(quickstart().data.scenes, "dev")
        >>> dev.features.shape, dev.captions_per_image, dev.ids[0]
        ((500, 16, 128), 5, 'dev-000000')
    """
    if name not in ("train", "dev", "test"):
        raise InputError(f"scenes: no split {name!r}; its splits are train, dev and test")
    if config[name] < 2 or not 1 <= config.regions <= 100:
        raise InputError(
            f"config.data.scenes: {name}={config[name]}, regions={config.regions}: "
            "must be at least 2 images and 1 to 100 regions"
        )
    world = make_world(config[name], config.seed, name)
    boxes = detect(world, config.regions, config.seed, name)
    seen = coverage(world, boxes)
    features = encode_regions(
        world, boxes, seen, width=config.features, level=config.noise, seed=config.seed, split=name
    )
    captions, edges = describe(world, uniform(config.seed, f"{name}/text", config[name], CAPTIONS_PER_IMAGE, 24))
    return Split(
        name=name,
        features=features,
        captions=captions,
        captions_per_image=CAPTIONS_PER_IMAGE,
        ids=[f"{name}-{i:06d}" for i in range(config[name])],
        boxes=boxes.astype(np.float32),
        labels=label_regions(world, seen, config.seed, name),
        label_names=LABEL_NAMES,
        edges=edges,
        objects=world.count.astype(np.int32),
        source=f"scenes {name}",
    )


_VOCABULARIES = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "background": BACKGROUNDS}
