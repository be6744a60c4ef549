"""Folders of small images with captions, and a small backbone for them."""

import json

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from itm_jax.vision import vit_weights
from itm_jax.vision.vit import ViT
from itm_jax.vision.weights import shapes_of

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SMALL |= {"patch_size": 8, "image_size": 32}
COLOURS = ("red", "green", "blue", "yellow", "white", "black", "orange", "purple")


def made_up(config, rng):
    """Tensors of a checkpoint of a ViT, drawn at random, in PyTorch's order of axes."""
    shapes, out = shapes_of(ViT(config), config.image_size), {}
    for ours, theirs in vit_weights.table(config).items():
        shape = shapes[ours]
        if ours == "patches/kernel":
            shape = tuple(shape[k] for k in (3, 2, 0, 1))
        elif ours.endswith("kernel"):
            inputs = int(np.prod(shape[:2])) if ours.endswith("output/kernel") else shape[0]
            shape = np.empty(shape).reshape(inputs, -1).T.shape
        out[theirs] = rng.standard_normal(shape).astype(np.float32) * 0.1
    return out


def checkpoint(path, rng, kind="vit", **values):
    """A directory with a small ViT of a kind; returns its sizes."""
    path.mkdir()
    values = SMALL | {"model_type": kind} | values
    (path / "config.json").write_text(json.dumps(values))
    config = vit_weights.config_of(values, "test")
    save_file(made_up(config, rng), path / "model.safetensors")
    return config


def folder(path, splits, captions=2):
    """A folder of images of two colours, and a JSONL file of captions beside it; returns (images, captions)."""
    images = path / "images"
    images.mkdir(parents=True)
    rows, n = [], 0
    for split, count in splits.items():
        for _ in range(count):
            one, other = COLOURS[n % 8], COLOURS[(n // 8 + 1 + n) % 8]
            picture = Image.new("RGB", (40 + n % 3, 30), one)
            picture.paste(other, (20, 0, 44, 30))
            picture.save(images / f"{n:03}.png")
            texts = [f"{one} left of {other} , number {n}", f"{other} right of {one} , number {n}"] * captions
            rows.append({"image": f"{n:03}.png", "captions": texts[:captions], "split": split})
            n += 1
    file = path / "captions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return images, file
