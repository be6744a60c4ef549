"""Readers of data sets: precomp, captions, boxes, other projects' features, images."""

import base64
import contextlib
import io
import json
import os

import numpy as np
from PIL import Image

from fuzz import limits
from fuzz.cases import Target

IMAGES, REGIONS, WIDTH, EACH = 4, 3, 5, 2


def npy(array):
    """The bytes of an .npy file."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(**arrays):
    """The bytes of an .npz file."""
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def picture(form, mode="RGB", side=24, **how):
    """The bytes of a small image."""
    pixels = np.random.default_rng(1).integers(0, 255, (side, side + 3, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, form, **how)
    return out.getvalue()


def boxes_of(*shape):
    """Valid boxes, as fractions."""
    corners = np.sort(np.random.default_rng(2).uniform(0, 1, (*shape, 2, 2)), axis=-2)
    return corners.reshape(*shape, 4).astype(np.float32)


def precomp():
    """A split `test` with all companions."""
    rng = np.random.default_rng(0)
    captions = [f"a small dog number {c} in picture {i}" for i in range(IMAGES) for c in range(EACH)]
    return {
        "test_ims.npy": npy(rng.standard_normal((IMAGES, REGIONS, WIDTH)).astype(np.float32)),
        "test_caps.txt": ("\n".join(captions) + "\n").encode(),
        "test_ids.txt": "".join(f"{i}.jpg\n" for i in range(IMAGES) for _ in range(EACH)).encode(),
        "test_image_ids.txt": "".join(f"{i}.jpg\n" for i in range(IMAGES)).encode(),
        "test_boxes.npy": npy(boxes_of(IMAGES, REGIONS) * 400),
        "test_img_sizes.npy": npy(np.tile(np.float32([500, 400]), (IMAGES, 1))),
        "test_num_regions.npy": npy(np.full(IMAGES, REGIONS)),
        "test_labels.json": json.dumps([[f"thing {r}" for r in range(REGIONS)]] * IMAGES).encode(),
        "test_dependencies.json": json.dumps([[[1, 0], [2, 1]]] * len(captions)).encode(),
        "extractor.json": extractor_record(),
    }


def extractor_record(**changes):
    """A valid extractor.json."""
    from itm_jax.vision.identity import fingerprint

    identity = {"backbone": "vit", "regions": 3, "boxes": "layout"}
    record = {"format": 1, "fingerprint": fingerprint(identity), "identity": identity, "images": "../images"}
    return json.dumps({**record, "source": {}, "plan": "x", "versions": {}} | changes).encode()


def read_precomp(folder, names, out):
    """One of both pairings, by the size of the changed file; the first defect, and the list of all."""
    from itm_jax.data.defects import Defects
    from itm_jax.data.precomp.reader import read_split
    from itm_jax.data.regions import check_regions
    from itm_jax.errors import InputError
    from itm_jax.runs.provenance import describe_split

    pairing = ("order", "ids")[(folder / names[0]).stat().st_size % 2]
    defects = Defects(strict=False)
    with contextlib.suppress(InputError):
        split = read_split(str(folder), "test", defects, pairing=pairing)
        assert all(limits.can_be_shown(line) for line in defects.lines)
        if split is not None and not defects.count:
            check_regions(split)
            describe_split(split)
    read_split(str(folder), "test", pairing=pairing)


def read_npz(folder, names, out):
    """A folder of .npz, with and without a folder of boxes."""
    from itm_jax.data.forms.bottom_up import rows_of_npz

    list(rows_of_npz(folder / "npz"))
    list(rows_of_npz(folder / "npz", folder / "boxes"))


def npz_seed():
    """An image as bottom-up-attention.pytorch writes it, and its boxes as TERAN does."""
    features = np.random.default_rng(0).standard_normal((REGIONS, WIDTH)).astype(np.float32)
    boxes = boxes_of(REGIONS) * 100
    return {
        "npz/7.npz": npz(features=features, bbox=boxes, image_w=np.array(100), image_h=np.array(100)),
        "boxes/7.npy": npy(boxes),
    }


def tsv_seed():
    """A line of bottom-up attention, and one of LXMERT's extractor; captions for their images."""
    features = np.random.default_rng(0).standard_normal((REGIONS, WIDTH)).astype(np.float32)
    data = [base64.b64encode(x.astype(np.float32).tobytes()).decode() for x in (boxes_of(REGIONS) * 100, features)]
    short = ["7", "100", "100", str(REGIONS), *data]
    long = ["8", "100", "100", "a", "b", "c", "d", str(REGIONS), *data]
    return {"x.tsv": "".join("\t".join(row) + "\n" for row in (short, long)).encode()}


def read_tsv(folder, names, out):
    """Lines of a TSV file, written as a data set."""
    from itm_jax.data.forms.bottom_up import read_tsv as read
    from itm_jax.data.forms.write_precomp import write_data_set
    from itm_jax.vision.items import Item

    splits = {"train": [Item("7.jpg", ("a dog",), "train", "x"), Item("8.jpg", ("a cat",), "train", "x")]}
    write_data_set(read([folder / "x.tsv"]), splits, out, regions=REGIONS, dtype="float32")


def caption_seed():
    """A small file of each form."""
    rows = [(f"d/{i}.jpg", f"a dog number {i}", s) for i, s in enumerate(("train", "val", "test"))]
    karpathy = [
        {"filepath": "d", "filename": f"{i}.jpg", "split": s, "imgid": i, "sentences": [{"raw": c}] * 2}
        for i, (_, c, s) in enumerate(rows)
    ]
    coco = {
        "images": [{"id": i, "file_name": n} for i, (n, _, _) in enumerate(rows)],
        "annotations": [{"image_id": i, "caption": c} for i, (_, c, _) in enumerate(rows)],
    }
    return {
        "karpathy.json": json.dumps({"images": karpathy}).encode(),
        "coco.json": json.dumps(coco).encode(),
        "tokens.token": "".join(f"{n}#0\t{c}\n" for n, c, _ in rows).encode(),
        "table.csv": ("image,caption,split\n" + "".join(f'{n},"{c}",{s}\n' for n, c, s in rows)).encode(),
        "lines.jsonl": "".join(
            json.dumps({"image": n, "captions": [c, c], "split": s}) + "\n" for n, c, s in rows
        ).encode(),
    }


def read_captions(folder, names, out):
    """The images of a caption file, and what `convert karpathy` writes of them."""
    from itm_jax.data.forms.write_precomp import write_texts
    from itm_jax.vision.caption_files import read_items
    from itm_jax.vision.splits import same_number, split_items

    path = folder / names[0]
    items, _ = same_number([item for item in read_items(path) if item.captions], path, 1)
    draw = {} if any(item.split for item in items) else {"dev": 1, "test": 1}
    splits = split_items(items, path, lists={}, draw=draw, seed=0)
    for item in items:
        assert os.path.normpath(folder / item.image).startswith(f"{folder}{os.sep}")
    write_texts(out, splits)
    assert {p.parent for p in out.rglob("*")} <= {out}


def read_box_file(folder, names, out):
    """A file of boxes, as `extract --boxes` takes it."""
    from itm_jax.vision.box_sources import read_boxes

    boxes = read_boxes(folder / "boxes.jsonl", REGIONS)
    boxes.check_names(["a.jpg", "b.jpg"], folder / "boxes.jsonl")
    boxes.of(["a.jpg", "b.jpg"], [])


def box_seed():
    """Two lines, one in pixels."""
    lines = [
        {"image": "a.jpg", "boxes": [[0, 0, 0.5, 0.5], [0.1, 0.2, 0.9, 1.0]], "labels": ["dog", "cat"]},
        {"image": "b.jpg", "boxes": [[0, 0, 50, 50]], "size": [100, 80]},
    ]
    return {"boxes.jsonl": "\n".join(json.dumps(line) for line in lines).encode()}


def list_seed():
    """Lists of the images of splits, and a file of questions."""
    return {
        "train.txt": b"d/0.jpg\n1\n",
        "dev.txt": b"2.jpg\n",
        "test.txt": b"3\n",
        "queries.txt": b"a dog\ntwo cats\n",
    }


def read_lists(folder, names, out):
    """Lists of splits, and of questions to a gallery."""
    from itm_jax.hub.gallery import lines_of
    from itm_jax.vision.items import Item
    from itm_jax.vision.splits import split_items

    items = [Item(f"d/{i}.jpg", ("a dog",), None, f"line {i}") for i in range(4)]
    lists = {name: folder / f"{name}.txt" for name in ("train", "dev", "test")}
    if names == ["queries.txt"]:
        lines_of(folder / "queries.txt")
    else:
        split_items(items, folder / "captions.csv", lists=lists, draw={}, seed=0)


DATA = {
    "arrays": Target(precomp, read_precomp, r"\.npy$"),
    "captions_ids": Target(precomp, read_precomp, r"\.txt$"),
    "labels_edges": Target(precomp, read_precomp, r"\.json$"),
    "caption_files": Target(caption_seed, read_captions, weight=2),
    "lists": Target(list_seed, read_lists),
    "box_file": Target(box_seed, read_box_file),
    "bottom_up_tsv": Target(tsv_seed, read_tsv),
    "bottom_up_npz": Target(npz_seed, read_npz),
}
