"""Small `precomp` directories, and ways to damage them."""

import dataclasses
import json
import os

import numpy as np

IMAGES, REGIONS, WIDTH, EACH = 4, 3, 6, 5


def write(directory, split="train", *, dtype=np.float32, repeats=1, ids="image"):
    """A good directory with all companions, one id per `ids` (image, row, caption; empty: none); [i, r, f] features."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    features = rng.standard_normal((IMAGES, REGIONS, WIDTH)).astype(dtype)
    np.save(directory / f"{split}_ims.npy", np.repeat(features, repeats, axis=0))
    captions = [f"caption {c} of image {i}" for i in range(IMAGES) for c in range(EACH)]
    (directory / f"{split}_caps.txt").write_text("\n".join(captions) + "\n")
    if ids:
        times = {"image": 1, "row": repeats, "caption": EACH}[ids]
        names = [f"{i}.jpg" for i in range(IMAGES) for _ in range(times)]
        (directory / f"{split}_ids.txt").write_text("\n".join(names) + "\n")
    corners = np.sort(rng.uniform(0, 1, (IMAGES, REGIONS, 2, 2)), axis=2).reshape(IMAGES, REGIONS, 4)
    np.save(directory / f"{split}_boxes.npy", np.repeat(corners.astype(np.float32), repeats, axis=0))
    labels = [[f"label{(i + r) % 3}" for r in range(REGIONS)] for i in range(IMAGES) for _ in range(repeats)]
    (directory / f"{split}_labels.json").write_text(json.dumps(labels))
    (directory / f"{split}_dependencies.json").write_text(json.dumps([[[0, 1], [4, 3]]] * len(captions)))
    return features


def damage(path, change):
    """Changes the array of an .npy, the lines of a .txt, the value of a .json or `Bytes` of any; None removes it."""
    if change is None:
        path.unlink()
    elif isinstance(change, Bytes):
        path.write_bytes(change.change(path.read_bytes()))
    elif path.suffix == ".npy":
        np.save(path, change(np.load(path) if path.exists() else None))
    elif path.suffix == ".txt":
        path.write_bytes(b"\n".join(change(path.read_bytes().splitlines())) + b"\n")
    else:
        path.write_text(json.dumps(change(json.loads(path.read_text()))))


Bytes = dataclasses.make_dataclass("Bytes", ["change"])
Tripwire = type("Tripwire", (), {"__reduce__": lambda _: (os.mkdir, ("unpickled",))})  # unpickling it leaves a trace
pickled = lambda _: np.array([Tripwire()], object)  # noqa: E731
at = lambda index, value: lambda x: [x.__setitem__(index, value), x][1]  # noqa: E731
line = lambda k, *new: lambda x: [*x[:k], *new, *x[k + 1 :]]  # noqa: E731
