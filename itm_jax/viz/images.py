"""Finds and reads the pictures of the images of a split; a missing picture does not stop a report."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from itm_jax.data.scenes import world as scenes
from itm_jax.data.scenes.render import render
from itm_jax.errors import InputError
from itm_jax.files import is_inside, read_json
from itm_jax.structs import Split
from itm_jax.vision.images import open_rgb

MISSING = (480, 640)  # height and width of the grey picture that stands for a missing one
ENDINGS = ("", ".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


@dataclasses.dataclass
class Pictures:
    """The pictures of a split: rendered for `scenes`, else files in `directory`.

    Attributes:
        split: whose images.
        seed: of `scenes`; None for files.
        directory: of the files; None: there are no pictures.
        names: the file name of each id, as in the id_mapping.json of VSE∞'s release.
        pattern: a file name with `{id}`, such as `COCO_val2014_{id:012d}.jpg`, where an id is not the name itself.
        missing: what is wrong with each picture that could not be shown so far, by image.
        why_none: why there are no pictures, where that is known.
    """

    split: Split
    seed: int | None
    directory: pathlib.Path | None
    names: Mapping[str, str] | None = None
    pattern: str | None = None
    missing: dict[int, str] = dataclasses.field(default_factory=dict)
    why_none: str = ""

    @property
    def available(self) -> bool:
        """Whether there are pictures at all."""
        return self.seed is not None or self.directory is not None

    def get(self, image: int) -> np.ndarray | None:
        """Returns the [h w 3] picture of an image; None where it is missing, which `missing` then says."""
        if not self.available:
            return None
        try:
            return self.read(image)
        except InputError as e:
            self.missing[image] = str(e)
            return None

    def get_or_grey(self, image: int) -> np.ndarray:
        """Returns the picture of an image, or a grey one in its place."""
        pixels = self.get(image)
        return np.full((*MISSING, 3), 200, np.uint8) if pixels is None else pixels

    def check_some(self) -> None:
        """Raises InputError where no image of the split has a file: then the directory or the names are wrong."""
        if self.seed is not None or self.directory is None:
            return
        images = range(self.split.num_images)
        if not any(self._find(image) for image in images):
            raise InputError(
                f"{self._candidates(0)[0]}: no such file, and none of the {len(images)} images is there; name the "
                "files with --image_names=FILE (a JSON object from ids to file names), or --image_name='{id:012d}.jpg'"
            )

    def note(self) -> str:
        """Says that there are no pictures, or how many are missing; empty where none is."""
        if not self.available:
            return self.why_none or "Images are named, not shown: --images is not set."
        if not self.missing:
            return ""
        return f"Missing pictures: {len(self.missing)} (first: {next(iter(self.missing.values()))})."

    def read(self, image: int) -> np.ndarray:
        """Returns the [h w 3] picture of an image.

        Raises:
            InputError: there is no directory, it has no such file, or the file cannot be read.
        """
        if self.seed is not None:
            return render(scenes.make_world(self.split.num_images, self.seed, self.split.name), image)
        if self.directory is None:
            name = self.split.ids[image]
            raise InputError(f"--images: missing; pass --images=DIR, the directory with {name} and the other images")
        file = self._find(image)
        if file is None:
            raise InputError(f"{self._candidates(image)[0]}: no such file")
        return np.asarray(open_rgb(file))

    def _find(self, image: int) -> pathlib.Path | None:
        return next((path for path in self._candidates(image) if path.is_file()), None)

    def _candidates(self, image: int) -> list[pathlib.Path]:
        """Returns the files that may be the picture of an image."""
        assert self.directory is not None
        name = str(self.split.ids[image])
        names = [f"{name}{ending}" for ending in ENDINGS]
        if self.names is not None:
            names = [self.names.get(name, name)]
        elif self.pattern:
            names = [_formatted(self.pattern, name)]
        candidates = [candidate for candidate in names if is_inside(str(pathlib.PurePosixPath(candidate)))]
        if not candidates:
            raise InputError(f"{self.split.source}: {names[0]!r} is not the name of a file inside {self.directory}")
        return [self.directory / candidate for candidate in candidates]


def pictures_of(config, split: Split, directory: pathlib.Path | None, **naming) -> Pictures:
    """Returns the pictures of a split; without a directory, those that the features were extracted from.

    `naming` are the fields `names` and `pattern` of `Pictures`.
    """
    seed = config.data.scenes.seed if config.data.source == "scenes" else None
    pictures = Pictures(split, seed, directory, **naming)
    if directory is not None or split.extractor is None:
        return pictures
    found = dataclasses.replace(pictures, directory=split.extractor.images)
    try:
        found.check_some()
    except InputError:
        why = f"Images are named, not shown: those that extractor.json names are not in {split.extractor.images}."
        return dataclasses.replace(pictures, why_none=f"{why} Pass --images=DIR.")
    return found


def _formatted(pattern: str, name: str) -> str:
    """Returns the file name of an id: the id as it stands, as a number only where the pattern needs one."""
    values: list[str | int] = [name, int(name)] if name.isdecimal() else [name]
    for value in values if "{id" in pattern else ():
        try:
            return pattern.format(id=value)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError):
            pass
    raise InputError(
        f"--image_name={pattern}: does not fit the id {name}; write {{id}} for the id, or {{id:012d}} for a number of "
        "12 digits"
    )


def read_names(path: pathlib.Path) -> dict[str, str]:
    """Reads a JSON object from ids to file names, such as id_mapping.json."""
    names = read_json(path, "--image_names must be a JSON object from ids to file names")
    if not isinstance(names, dict) or not all(isinstance(x, str) for x in names.values()):
        raise InputError(f"{path}: must hold an object from ids to file names")
    return names
