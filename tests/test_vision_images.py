"""Opening images: every mode and orientation comes out as RGB; every file that cannot be used is named."""

import io
import pathlib
import struct
import zlib

import numpy as np
import PIL
import pytest
from PIL import Image

from itm_jax.errors import InputError
from itm_jax.vision.decode import Decode, decoded
from itm_jax.vision.images import MOST_PIXELS, open_rgb, read_pixels


def picture(width=40, height=20):
    """Yellow on the left, blue on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, :2] = 255
    pixels[:, width // 2 :, 2] = 255
    return Image.fromarray(pixels)


def save(path, image, **options):
    image.save(path, **options)
    return path


def bomb(width, height):
    """A PNG whose header promises an enormous image."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1", "I;16", "YCbCr"])
@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_every_mode_comes_out_as_rgb(tmp_path, mode, kind):
    image = picture()
    if mode == "I;16":
        if kind not in ("png", "tiff"):
            pytest.skip(f"Pillow clips {mode} in {kind}")
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert("RGBA").convert(mode) if mode in ("LA",) else image.convert(mode)
    try:
        path = save(tmp_path / f"x.{kind}", image)
    except (OSError, KeyError, ValueError):
        pytest.skip(f"{kind} has no {mode}")
    if (mode, kind) == ("YCbCr", "tiff") and int(PIL.__version__.split(".")[0]) < 13:
        pytest.skip("older versions of Pillow write such a file cut off")
    [pixels] = read_pixels(path, (16,))
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8
    left, right = pixels[8, 3].astype(int), pixels[8, 12].astype(int)
    if mode in ("RGB", "RGBA", "CMYK", "P", "YCbCr"):
        assert left[0] > 200 > 60 > left[2]
        assert right[2] > 200 > 60 > right[0]
    else:
        assert left.min() > right.max() + 100  # grey: yellow is brighter than blue


def test_an_image_is_turned_as_its_exif_data_say(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    upright = picture()
    path = save(tmp_path / "x.jpg", upright, exif=exif, quality=95)
    assert open_rgb(path).size == (20, 40)
    [pixels] = read_pixels(path, (16,))
    assert pixels[3, 8, 0] > 200  # yellow, which was on the left, is on top
    assert pixels[12, 8, 2] > 200


def test_transparent_places_are_white_and_animations_give_their_first_picture(tmp_path):
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    [pixels] = read_pixels(save(tmp_path / "x.png", clear), (4,))
    assert pixels.min() == 255
    path = tmp_path / "x.gif"
    Image.new("RGB", (8, 8), "red").save(path, save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")])
    [pixels] = read_pixels(path, (4,))
    assert pixels[0, 0].tolist() == [255, 0, 0]


def test_a_large_jpeg_gives_nearly_the_same_pixels_when_it_is_decoded_small(tmp_path, rng):
    smooth = Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).resize((1600, 1200))
    path = save(tmp_path / "x.jpg", smooth, quality=95)
    whole = np.asarray(open_rgb(path).resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    [fast] = read_pixels(path, (64,))
    assert abs(fast.astype(int) - whole).mean() < 2


HEIC = b"\x00\x00\x00\x24ftypheic" + b"\0" * 40


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jpg", b"", "empty (0 bytes)"),
        ("text.jpg", b"this is no image at all, only text", "not an image"),
        ("page.jpg", b"<!DOCTYPE html><html>404</html>", "an HTML page"),
        ("photo.heic", HEIC, "HEIC"),
        ("drawing.svg", b"<svg xmlns='x'></svg>", "SVG"),
        ("paper.pdf", b"%PDF-1.7 ...", "PDF"),
        ("lfs.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n", "Git LFS"),
        ("bomb.png", bomb(12_000, 12_000), "more than 80 million pixels"),
        ("bigger.png", bomb(60_000, 60_000), "more than 80 million pixels"),
        ("none.png", bomb(0, 5), "not an image"),
        ("wide.png", bomb(70_000_000, 1), "70,000,000 x 1 pixels, more than 80 million pixels or 32,768 on a side"),
        ("photo.avif", b"\x00\x00\x00\x20ftypavif" + b"\0" * 40, "AVIF"),
        ("bad.png", bomb(30, 30), "damaged"),
    ],
)
def test_files_that_are_no_images_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_pixels(path, (8,))
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_a_damaged_or_missing_file_is_named(tmp_path):
    whole = io.BytesIO()
    picture(200, 200).save(whole, "JPEG")
    for name, content in {"cut.jpg": whole.getvalue()[:600], "head.jpg": whole.getvalue()[:30]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: (damaged|not an image)"):
            read_pixels(tmp_path / name, (8,))
    png = io.BytesIO()
    picture(50, 50).save(png, "PNG")
    broken = bytearray(png.getvalue())
    broken[60] ^= 255
    (tmp_path / "flip.png").write_bytes(broken)
    with pytest.raises(InputError, match="damaged"):
        read_pixels(tmp_path / "flip.png", (8,))
    with pytest.raises(InputError, match="no such file"):
        read_pixels(tmp_path / "gone.jpg", (8,))
    with pytest.raises(InputError, match="a directory"):
        read_pixels(tmp_path, (8,))
    floats = save(tmp_path / "f.tiff", Image.fromarray(np.zeros((4, 4), np.float32)))
    with pytest.raises(InputError, match="floating-point"):
        read_pixels(floats, (8,))


def test_the_brightness_of_16_bits_does_not_depend_on_the_content(tmp_path):
    for value in (189, 315, 60_000):
        grey = Image.fromarray(np.full((8, 8), value, np.uint16))
        [pixels] = read_pixels(save(tmp_path / "g.png", grey), (8,))
        assert pixels[0, 0].tolist() == [value >> 8] * 3


def test_the_limit_is_below_that_of_pillow():
    assert Image.MAX_IMAGE_PIXELS is not None
    assert MOST_PIXELS < Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("threads", [1, 5])
def test_images_come_in_order_and_errors_as_text(tmp_path, threads):
    names = []
    for k in range(7):
        names.append(f"{k}.png")
        Image.new("RGB", (8, 8), (k * 30, 0, 0)).save(tmp_path / names[-1])
    (tmp_path / "3.png").write_bytes(b"")
    found = list(decoded(names, tmp_path, (4, 6), threads=threads))
    assert [f["error"] != "" for f in found] == [k == 3 for k in range(7)]
    for k, one in enumerate(found):
        assert [p.shape for p in one["pixels"]] == [(4, 4, 3), (6, 6, 3)]
        assert one["pixels"][0][0, 0, 0] == (0 if k == 3 else k * 30)
    assert pathlib.Path("3.png").name in found[3]["error"]
    assert Decode(tmp_path, (4,))("3.png")["error"].endswith("remove it")
