"""A small data set of three splits with all companions, and a config for it."""

import json

import numpy as np

from itm_jax.config.default import default_config
from itm_jax.config.fields import set_field
from itm_jax.data.text.text_input import SCENES_VOCAB

IMAGES, REGIONS, WIDTH, EACH = 6, 3, 6, 5


SPLITS = ("train", "dev", "test")


def write_all(directory, repeats=1):
    """A good data set of three splits with all companions; dev and test rows repeated, as SCAN has them."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    for split in SPLITS:
        times = 1 if split == "train" else repeats
        rows = lambda x, times=times: np.repeat(x, times, axis=0)  # noqa: E731
        features = rng.standard_normal((IMAGES, REGIONS, WIDTH)).astype(np.float32)
        np.save(directory / f"{split}_ims.npy", rows(features))
        captions = [f"a {split} caption {c} of image {i}" for i in range(IMAGES) for c in range(EACH)]
        (directory / f"{split}_caps.txt").write_text("\n".join(captions) + "\n")
        names = [f"{split}{i}.jpg" for i in range(IMAGES) for _ in range(times)]
        (directory / f"{split}_ids.txt").write_text("\n".join(names) + "\n")
        corners = np.sort(rng.uniform(0, 1, (IMAGES, REGIONS, 2, 2)), axis=2).reshape(IMAGES, REGIONS, 4)
        np.save(directory / f"{split}_boxes.npy", rows(corners.astype(np.float32)))
        labels = [[f"label{(i + r) % 3}" for r in range(REGIONS)] for i in range(IMAGES) for _ in range(times)]
        (directory / f"{split}_labels.json").write_text(json.dumps(labels))
        (directory / f"{split}_dependencies.json").write_text(json.dumps([[[0, 1], [4, 3]]] * len(captions)))


def config_for(directory, **changes):
    """A small model on that data, its text encoder from scratch; changes by dotted name with `__` for the dot."""
    config = default_config()
    values = {
        "data.dir": str(directory), "data.batch_size": 8, "model.width": 16, "model.text.vocab": str(SCENES_VOCAB),
        "model.text.hidden_size": 16, "model.text.num_layers": 1, "model.text.num_heads": 2,
        "model.text.intermediate_size": 16,
    }  # fmt: skip
    for name, value in (values | {k.replace("__", "."): v for k, v in changes.items()}).items():
        set_field(config, name, value)
    return config
