"""Readers of images, and of the files that go with them: boxes of GSMN, columns for filters, ground truth."""

import contextlib
import json

import numpy as np
from PIL import Image

from fuzz.cases import Target
from fuzz.data_targets import REGIONS, boxes_of, npy, picture


def gsmn_seed():
    """Boxes of GSMN with images."""
    return {
        "test_ims_bbx.npy": npy(boxes_of(2, REGIONS) * 20),
        "test_ids.txt": b"a.png\nb\n",
        "images/a.png": picture("PNG"),
        "images/b.jpg": picture("JPEG"),
    }


def read_gsmn(folder, names, out):
    """`convert gsmn_boxes`, in a copy of the folder."""
    import shutil

    from itm_jax.data.forms.gsmn import convert_boxes

    shutil.copytree(folder, out)
    convert_boxes(out, out / "images")


def image_seed():
    """An image of each format, and some modes."""
    return {
        "a.png": picture("PNG"), "alpha.png": picture("PNG", "RGBA"), "palette.png": picture("PNG", "P"),
        "deep.png": picture("PNG", "I;16"), "a.jpg": picture("JPEG"),
        "cmyk.jpg": picture("JPEG", "CMYK"), "progressive.jpg": picture("JPEG", progressive=True, exif=exif()),
        "a.webp": picture("WEBP"), "a.bmp": picture("BMP"), "a.gif": picture("GIF"), "a.tif": picture("TIFF"),
        "lzw.tif": picture("TIFF", compression="tiff_lzw"), "a.ppm": picture("PPM"), "alpha.webp": picture("WEBP", "RGBA"),
    }  # fmt: skip


def exif():
    """EXIF data that turn an image."""
    data = Image.Exif()
    data[0x0112] = 6
    return data


def read_image(folder, names, out):
    """The pixels and the size of an image."""
    from itm_jax.errors import InputError
    from itm_jax.vision.images import open_rgb, read_pixels, size_of

    with contextlib.suppress(InputError):
        size_of(folder / names[0])
    open_rgb(folder / names[0], at_least=16).thumbnail((16, 16))
    read_pixels(folder / names[0], (16, 8))


def metadata_seed():
    """Columns for the filters of a search."""
    return {"meta.csv": b'id,year,price,place\na.jpg,2001,1.5,here\nb.jpg,1999,,"over, there"\n'}


def read_metadata(folder, names, out):
    """The columns, new and for an index that is there."""
    from itm_jax.search.metadata import read_metadata as read
    from itm_jax.search.metadata import types_of

    found = read(folder / "meta.csv")
    types_of(found)
    read(folder / "meta.csv", {"year": "int64", "price": "double", "place": "string"})


def truth_seed():
    """The ground truth of ECCV Caption and CxC for two images."""
    pairs = {"image_to_caption": {"10": [1, 2], "20": [6]}, "caption_to_image": {"1": [10], "6": [20]}}
    out = {f"{n}_{k}.json": json.dumps(v).encode() for n in ("eccv", "cxc") for k, v in pairs.items()}
    ids = {"coco_test_ids.npy": npy(np.arange(1, 11)), "coco_testall_ids.txt": b"\n".join([b"10"] * 5 + [b"20"] * 5)}
    return out | ids


def read_truth(folder, names, out):
    """The ground truth for a split that fits."""
    from itm_jax.metrics.eccv import read_truth as read
    from itm_jax.structs import Split

    features = np.zeros((2, 1, 1), np.float32)
    read(folder, Split("test", features, ["a dog"] * 10, 5, ["0", "1"], source="test_ims.npy"))


IMAGES_AND_MORE = {
    "gsmn_boxes": Target(gsmn_seed, read_gsmn, r"(npy|ids\.txt)$", weight=0.5),
    "images": Target(image_seed, read_image, megabytes=1600, weight=2),
    "metadata": Target(metadata_seed, read_metadata),
    "truth": Target(truth_seed, read_truth),
}
