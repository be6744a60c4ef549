"""Boxes and labels of an object detector of transformers (extra `detect`, which brings PyTorch)."""

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from itm_jax.errors import InputError
from itm_jax.pretrained.directory import checkpoint_dir
from itm_jax.pretrained.safetensors_files import read_safetensors
from itm_jax.vision.box_sources import fill_up, with_area
from itm_jax.vision.weights import checksum

SIDE = 640  # of the squares that the detector sees
THRESHOLD = 0.15  # the least score of a detection
MOST = 20  # detections of an image


@dataclasses.dataclass(frozen=True)
class Detector:
    """An object detector; its boxes, the most certain first, are filled up from the layout.

    Attributes:
        model, processor: of transformers.
        sha256: checksum of its weights.
        regions: the number of boxes of an image.
        extra_size: side of the squares that it sees.
    """

    model: Any
    processor: Any
    sha256: str
    regions: int
    extra_size: int = SIDE
    labelled: bool = True
    checksum: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its classes."""
        return tuple(dict.fromkeys(self.model.config.id2label.values()))

    def of(self, names: Sequence[str], pixels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the boxes of images with their labels, "" for those of the layout; `pixels[-1]` are its squares."""
        import torch

        del names
        inputs = self.processor(images=list(pixels[-1]), return_tensors="pt")
        with torch.no_grad():
            outputs = self.model(**inputs)
        found = self.processor.post_process_object_detection(
            outputs, threshold=THRESHOLD, target_sizes=[(1, 1)] * len(pixels[-1])
        )
        return fill_up([self._of_image(one) for one in found], self.regions)

    def _of_image(self, found: dict[str, Any]) -> tuple[np.ndarray, list[str]]:
        """The boxes of an image that have an area, the most certain first, and the names of what they show."""
        order = np.argsort(-found["scores"].numpy(), kind="stable")
        boxes, inside = with_area(found["boxes"].numpy()[order])
        labels = found["labels"].numpy()[order][inside]
        return boxes[inside][:MOST], [self.model.config.id2label[int(k)] for k in labels[:MOST]]

    @property
    def identity(self) -> dict[str, Any]:
        """The detector, its weights, and how many boxes are taken."""
        detector = {"type": self.model.config.model_type, "sha256": self.sha256}
        detector |= {"threshold": THRESHOLD, "most": MOST, "side": SIDE}
        return {"boxes": "detector", "regions": self.regions, "detector": detector}


def load_detector(name: str, regions: int) -> Detector:
    """Loads a detector of transformers from a directory or by hub name.

    Raises:
        InputError: PyTorch is not installed, or there is no such detector, or it cannot be loaded.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise InputError(f"--boxes=detector:{name}: needs PyTorch; pip install 'itm_jax[detect]'") from None
    import transformers

    directory = checkpoint_dir(name, flag="--boxes")
    digest = checksum(read_safetensors(directory))  # only safetensors are loaded
    transformers.logging.set_verbosity_error()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its bars
            processor = transformers.AutoImageProcessor.from_pretrained(str(directory), local_files_only=True)
            model = transformers.AutoModelForObjectDetection.from_pretrained(
                str(directory), local_files_only=True, use_safetensors=True
            )
    except Exception as e:  # transformers raises many kinds
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise InputError(f"--boxes=detector:{name}: no object detector of transformers ({reason})") from None
    if not hasattr(processor, "post_process_object_detection"):
        raise InputError(f"--boxes=detector:{name}: its processor gives no boxes; take an object detector")
    return Detector(model.eval(), processor, digest, regions)
