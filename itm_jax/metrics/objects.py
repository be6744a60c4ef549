"""The number of objects that an image shows, from its labels, for recalls by the number of prominent objects."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from itm_jax.modules.boxes import area, intersection
from itm_jax.structs import Split

SAME_OBJECT = 0.3  # two regions with one name show one object where their IoU is above this
PEOPLE = {"man", "woman", "boy", "girl", "people"}  # COCO calls them person
# COCO's 80 classes. Beside labels from a detector of these, there may be names that a classifier gave to fixed boxes.
COCO = frozenset(
    [
        "person",
        "bicycle",
        "car",
        "motorcycle",
        "airplane",
        "bus",
        "train",
        "truck",
        "boat",
        "traffic light",
        "fire hydrant",
        "stop sign",
        "parking meter",
        "bench",
        "bird",
        "cat",
        "dog",
        "horse",
        "sheep",
        "cow",
        "elephant",
        "bear",
        "zebra",
        "giraffe",
        "backpack",
        "umbrella",
        "handbag",
        "tie",
        "suitcase",
        "frisbee",
        "skis",
        "snowboard",
        "sports ball",
        "kite",
        "baseball bat",
        "baseball glove",
        "skateboard",
        "surfboard",
        "tennis racket",
        "bottle",
        "wine glass",
        "cup",
        "fork",
        "knife",
        "spoon",
        "bowl",
        "banana",
        "apple",
        "sandwich",
        "orange",
        "broccoli",
        "carrot",
        "hot dog",
        "pizza",
        "donut",
        "cake",
        "chair",
        "couch",
        "potted plant",
        "bed",
        "dining table",
        "toilet",
        "tv",
        "laptop",
        "mouse",
        "remote",
        "keyboard",
        "cell phone",
        "microwave",
        "oven",
        "toaster",
        "sink",
        "refrigerator",
        "book",
        "clock",
        "vase",
        "scissors",
        "teddy bear",
        "hair drier",
        "toothbrush",
    ]
)


def object_counts(
    split: Split, mask: Callable[[], Bool[np.ndarray, "i r"]] | None = None
) -> Int[np.ndarray, " i"] | None:
    """Returns the number of objects of each image.

    The source may give this number. Otherwise it is counted from the labels: regions with the same name whose boxes
    overlap are one object, and the first of them counts. Where some of the split's names are COCO classes, only those
    count. If a name such as man or woman occurs, the labels come from a larger vocabulary (for example Visual Genome).
    Then all names count.

    Args:
        split: any split.
        mask: returns which regions are valid (`data.regions.region_mask`); it is called only where regions are
            counted. None: those of `split.num_regions`, else all.

    Returns:
        [i] numbers, or None where the source does not give them and the split has no boxes or labels.
    """
    if split.objects is not None:
        return split.objects
    if split.boxes is None or split.labels is None:
        return None
    counted = np.array([name in COCO for name in split.label_names])
    counted = (
        counted if counted.any() and not PEOPLE & set(split.label_names) else np.ones(len(split.label_names), bool)
    )
    shows = counted[split.labels]
    if mask is not None:
        shows &= mask()
    elif split.num_regions is not None:
        shows &= np.arange(shows.shape[1]) < split.num_regions[:, None]
    new = np.zeros_like(shows)
    for r in range(shows.shape[1]):  # over regions, all images at once
        again = (split.labels[:, :r] == split.labels[:, r, None]) & new[:, :r]
        again &= overlap(split.boxes[:, :r], split.boxes[:, r, None]) > SAME_OBJECT
        new[:, r] = shows[:, r] & ~again.any(axis=1)
    return new.sum(axis=1).astype(np.int32)


def overlap(a: Float[np.ndarray, "i r 4"], b: Float[np.ndarray, "i #r 4"]) -> Float[np.ndarray, "i r"]:
    """Returns the IoU of boxes (x1, y1, x2, y2), broadcast against one another."""
    both = intersection(a, b)
    return both / np.maximum(area(a) + area(b) - both, 1e-9)
