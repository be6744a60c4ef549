"""Reads the caption files of the field: COCO JSON, Karpathy JSON, Flickr token files, CSV and JSONL."""

import csv
import io
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from itm_jax.errors import InputError
from itm_jax.files import LFS_HINT, is_lfs_pointer, parse_json
from itm_jax.vision.items import Item, caption_text, safe_name

# What the files of the field call the columns that are needed.
IMAGE = ("image", "image_name", "file_name", "filename", "filepath", "path", "img", "image_path", "image_file")
CAPTION = ("caption", "captions", "comment", "text", "sentence", "raw", "title", "description")
SPLIT = ("split", "set", "partition")
SPLITS = {"val": "dev", "valid": "dev", "validation": "dev", "restval": "train"}  # other names of ours
TOKEN = re.compile(r"^(?P<image>[^\t]+)#\d+\t(?P<caption>.*)$")
KNOWN = "COCO JSON, Karpathy JSON (dataset_*.json), a Flickr token file, CSV and JSONL can be read"


def read_items(path: pathlib.Path) -> list[Item]:
    """Returns the images of a caption file with their captions, in the order of the file.

    Raises:
        InputError: the file is missing, of no known form, or a line of it is wrong; the message names the line.
    """
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path}: empty; {KNOWN}")
    if text.lstrip()[0] in "{[" and path.suffix.lower() not in (".jsonl", ".ndjson"):
        items = list(_json(path, text))
    elif path.suffix.lower() in (".jsonl", ".ndjson"):
        items = _grouped(path, _jsonl(path, text))
    elif TOKEN.match(lines_of(text)[0]):
        items = _grouped(path, _tokens(path, text))
    else:
        items = _grouped(path, _table(path, text))
    if not items:
        raise InputError(f"{path}: no image with a caption; {KNOWN}")
    seen: dict[str, str] = {}
    for item in items:
        if item.image in seen:
            raise InputError(f"{path}: {item.where}: {item.image} is listed twice (first at {seen[item.image]})")
        seen[item.image] = item.where
    return items


def lines_of(text: str) -> list[str]:
    """Returns the lines of a text. Only a line feed ends a line, with or without a carriage return before it."""
    return [line.removesuffix("\r") for line in text.split("\n")]


def read_text(path: pathlib.Path) -> str:
    """Returns the text of a UTF-8 file, without its byte order mark. Raises InputError where it cannot be read."""
    if is_lfs_pointer(path):
        raise InputError(f"{path}: {LFS_HINT}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    except UnicodeDecodeError as e:
        raise InputError(f"{path}: byte {e.start}: not UTF-8; save the file as UTF-8") from None


def _grouped(path: pathlib.Path, rows: Iterable[tuple[str, list[str], str | None, str]]) -> list[Item]:
    """Puts the captions of one image together, in the order in which the images first occur."""
    found: dict[str, Item] = {}
    for image, captions, split, where in rows:
        before = found.get(image, Item(image, (), split, where))
        if split != before.split:
            raise InputError(
                f"{path}: {where}: {image} is in the split {split} here, but in {before.split} at {before.where}"
            )
        found[image] = Item(image, (*before.captions, *captions), before.split, before.where)
    return list(found.values())


def _split(value: Any, path: pathlib.Path, where: str) -> str | None:
    if value is None or value == "":
        return None
    name = str(value).strip().lower()
    if not re.fullmatch(r"[a-z0-9_]{1,100}", name):  # it is part of the names of files
        raise InputError(f"{path}: {where}: the split {value!r} is no plain word, such as train, dev or test")
    return SPLITS.get(name, name)


def _tokens(path: pathlib.Path, text: str) -> Iterator[tuple[str, list[str], str | None, str]]:
    """Flickr's token files: NAME.jpg#0, a tab, a caption."""
    for n, line in enumerate(lines_of(text), 1):
        where = f"line {n}"
        if not line.strip():
            continue
        match = TOKEN.match(line)
        if not match:
            raise InputError(f"{path}: {where}: expected NAME.jpg#0, a tab and a caption, as in the first line")
        yield safe_name(match["image"], path, where), [caption_text(match["caption"], path, where)], None, where


def _jsonl(path: pathlib.Path, text: str) -> Iterator[tuple[str, list[str], str | None, str]]:
    """One JSON object a line, with an image, a caption or a list of captions, and perhaps a split."""
    for where, value in json_lines(path, text, "an image and a caption"):
        yield _record(value, path, where)


def json_lines(path: pathlib.Path, text: str, content: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (the place, the object) of each line of a JSONL file that is not blank.

    Raises:
        InputError: a line is no JSON object; the message names it, and says the `content` that is expected.
    """
    for n, line in enumerate(lines_of(text), 1):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except ValueError as e:
            raise InputError(f"{path}: line {n}: not JSON ({e})") from None
        if not isinstance(value, dict):
            raise InputError(f"{path}: line {n}: expected an object with {content}")
        yield f"line {n}", value


def _table(path: pathlib.Path, text: str) -> Iterator[tuple[str, list[str], str | None, str]]:
    """A CSV with a header; the columns are separated by commas, tabs, semicolons or bars."""
    header = lines_of(text)[0]
    delimiter = max(",\t;|", key=header.count)
    # Only with commas are quotation marks the rule; elsewhere a mark may begin a caption, and must not join lines.
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if delimiter in ",;" else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, quoting=quoting, strict=True)
    try:
        names = [name.strip().lower() for name in next(reader)]
        if not set(names) & set(IMAGE) or not set(names) & set(CAPTION):
            raise InputError(
                f"{path}: line 1: no header with a column of images ({', '.join(IMAGE[:4])}, ...) and one of captions "
                f"({', '.join(CAPTION[:4])}, ...); {KNOWN}"
            )
        for row in reader:
            where = f"line {reader.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if any("\n" in cell for cell in row):
                raise InputError(
                    f"{path}: {where}: a cell that ends here has several lines; is a quotation mark missing?"
                )
            if len(row) != len(names):
                raise InputError(
                    f"{path}: {where}: {len(row)} columns, the header has {len(names)}; put text with the separator "
                    f"{delimiter!r} in quotation marks"
                )
            yield _record(dict(zip(names, row, strict=True)), path, where)
    except csv.Error as e:
        raise InputError(f"{path}: line {reader.line_num}: {e}") from None


def _record(value: dict[str, Any], path: pathlib.Path, where: str) -> tuple[str, list[str], str | None, str]:
    """An image, its captions and its split, from the cells of a table or a JSON object."""
    image = next((value[k] for k in IMAGE if k in value), None)
    captions = next((value[k] for k in CAPTION if k in value), None)
    split = next((value[k] for k in SPLIT if k in value), None)
    texts = captions if isinstance(captions, list) else [captions]
    return (
        safe_name(image, path, where),
        [caption_text(text, path, where) for text in texts],
        _split(split, path, where),
        where,
    )


def _json(path: pathlib.Path, text: str) -> Iterator[Item]:
    try:
        value = parse_json(text)
    except ValueError as e:
        raise InputError(f"{path}: not JSON ({e})") from None
    images = value.get("images") if isinstance(value, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise InputError(f"{path}: no list of images in it; {KNOWN}")
    if images and all("sentences" in image for image in images):
        yield from _karpathy(path, images)
    elif isinstance(value.get("annotations"), list):
        yield from _coco(path, images, value["annotations"])
    else:
        raise InputError(f"{path}: its images have no sentences (Karpathy), and it has no annotations (COCO); {KNOWN}")


def _karpathy(path: pathlib.Path, images: list[dict[str, Any]]) -> Iterator[Item]:
    """Karpathy's files: images with filename, split and sentences; those of COCO are in folders, `filepath`."""
    for n, image in enumerate(images):
        where = f"images[{n}]"
        folder, name = image.get("filepath") or "", image.get("filename")
        sentences = image["sentences"] if isinstance(image["sentences"], list) else []
        texts = [s.get("raw") if isinstance(s, dict) else None for s in sentences]
        yield Item(
            safe_name(f"{folder}/{name}" if folder and name else name, path, where),
            tuple(caption_text(text, path, f"{where}.sentences[{k}]") for k, text in enumerate(texts)),
            _split(image.get("split"), path, where),
            where,
            image["imgid"] if isinstance(image.get("imgid"), int) else None,
        )


def _coco(path: pathlib.Path, images: list[dict[str, Any]], annotations: list[Any]) -> Iterator[Item]:
    """COCO's files: images with an id and a file_name, and annotations with an image_id and a caption."""
    captions: dict[str, list[str]] = {}
    keys = [repr(image.get("id")) for image in images]  # an id may be a number or a word
    for n, (image, key) in enumerate(zip(images, keys, strict=True)):
        if "id" not in image or key in captions:
            what = "has no id" if "id" not in image else f"has the id {key} of an earlier image"
            raise InputError(f"{path}: images[{n}]: {what}")
        captions[key] = []
    for n, annotation in enumerate(annotations):
        where = f"annotations[{n}]"
        key = repr(annotation.get("image_id")) if isinstance(annotation, dict) else ""
        if key not in captions:
            raise InputError(f"{path}: {where}: its image_id is not among the images")
        captions[key].append(caption_text(annotation.get("caption"), path, where))
    for n, (image, key) in enumerate(zip(images, keys, strict=True)):
        where = f"images[{n}]"
        name = safe_name(image.get("file_name"), path, where)
        yield Item(name, tuple(captions[key]), _split(image.get("split"), path, where), where)
