"""Folders of small images with captions, and a small backbone for them."""

import json

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import itm_jax
from itm_jax.devices.mesh import make_mesh
from itm_jax.training import build
from itm_jax.vision import vit_weights
from itm_jax.vision.vit import ViT
from itm_jax.vision.weights import shapes_of
from support.commands import command
from support.runs import shrunk

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


def extracted_runs(root, splits, names=("cpfean", "afa"), *, evaluated=True):
    """Extracts the features of a folder of images with a small ViT, and trains models with a BiGRU on them.

    They are trained on one device: the step compiles faster.

    Returns the folder of the images; the run of a model is ROOT/NAME, the features are in ROOT/out.
    """
    checkpoint(root / "vit", np.random.default_rng(0))
    images, captions = folder(root / "data", splits)
    flags = {"images": images, "captions": captions, "backbone": f"vit:{root / 'vit'}", "regions": 5}
    code, _, err = command(*[f"--{k}={v}" for k, v in flags.items()], f"--out={root / 'out'}", module="itm_jax.extract")
    assert code == 0, err
    for name in names:
        config = shrunk(
            data__name="mine", data__source="precomp", data__dir=str(root / "out"), data__batch_size=4,
            data__max_tokens=24, model__name=name, model__text__encoder="gru", train__epochs=1.0,
            optim__decay_epochs=(),
        )  # fmt: skip
        if name == "cpfean":
            config.model.graph.heads = 2
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build, "make_mesh", lambda batch_size: make_mesh(batch_size, jax.devices()[:1]))
            itm_jax.train(config, root / name)
        if evaluated:
            itm_jax.evaluate(config, root / name)
    return images
