"""Pictures of what a trained run does with pairs of images and captions, and a page that shows them.

    python -m itm_jax.visualize --run=runs/cpfean_quickstart
    python -m itm_jax.visualize --run=runs/cpfean_f8k --images=DIR --count=20
    python -m itm_jax.visualize --run=runs/cpfean_f8k --images=DIR --captions=0,17,305 --out=pictures

For cpfean, late and scan: the region that each word took and how strongly, gates of regions, weights of words. For afa: the
rows that it merged. Images of `scenes` are rendered; others are read from --images by the ids of {split}_ids.txt.
Any data field of the run's config can be set as --config.FIELD=VALUE.
"""

import html
import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from itm_jax import commands
from itm_jax.errors import InputError
from itm_jax.files import write_whole
from itm_jax.validation import validate

_CONFIG = config_flags.DEFINE_config_file("config", None, "config, default: that of the run", lock_config=True)
_RUN = flags.DEFINE_string("run", None, "workdir of a run")
_OUT = flags.DEFINE_string("out", None, "directory to write to, default: RUN/pictures")
_IMAGES = flags.DEFINE_string("images", None, "directory of the image files, named by the ids of the split")
_COUNT = flags.DEFINE_integer("count", 10, "pairs, spread evenly over the split", lower_bound=1)
_CAPTIONS = flags.DEFINE_list("captions", [], "indices of captions to show, in place of --count")


def main() -> None:
    """Flags -> pictures."""
    if not _RUN.value:
        raise InputError("--run: not given; pass --run=DIR, the workdir of a run")
    config, run = commands.config_of(_CONFIG), pathlib.Path(_RUN.value).expanduser()
    validate(config)
    import numpy as np

    from itm_jax.evaluate import open_run
    from itm_jax.viz.explain import explain

    opened = open_run(config, run)
    split = opened.data.split
    if split.boxes is None:
        raise InputError(f"{split.source}: no boxes of its regions, which pictures need")
    captions = chosen_captions(len(split.captions), split.captions_per_image)
    found = explain(opened, np.array(captions))
    out = pathlib.Path(_OUT.value).expanduser() if _OUT.value else run / "pictures"
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = [draw(opened, caption, seen, out) for caption, seen in zip(captions, found, strict=True)]
        page = out / "index.html"
        write_whole(page, to_html(run.name, [(f, split.captions[c]) for f, c in zip(files, captions, strict=True)]))
    except OSError as e:
        raise InputError(f"{e.filename or out}: cannot be written ({e.strerror})") from None
    print(f"{len(files)} pictures; written: {page}")


def chosen_captions(total: int, per_image: int) -> list[int]:
    """Indices from --captions, else the first caption of --count images spread over the split."""
    for given in _CAPTIONS.value:
        if not given.isdecimal() or int(given) >= total:
            raise InputError(f"--captions={given}: must be indices below {total}")
    if _CAPTIONS.value:
        return [int(given) for given in _CAPTIONS.value]
    images = total // per_image
    count = min(_COUNT.value, images)
    return [k * images // count * per_image for k in range(count)]


def draw(opened, caption: int, found, out: pathlib.Path) -> str:
    """Writes the picture of a pair and returns its name."""
    from itm_jax.viz.alignment import draw_matching, draw_merging, picture
    from itm_jax.viz.explain import Matching

    split = opened.data.split
    image = caption // split.captions_per_image
    directory = pathlib.Path(_IMAGES.value).expanduser() if _IMAGES.value else None
    pixels = picture(opened.config, split, image, directory)
    name = f"{split.name}-{caption:06d}.png"
    drawing = draw_matching if isinstance(found, Matching) else draw_merging
    drawing(out / name, pixels, split.boxes[image], split.captions[caption], found)
    return name


def to_html(title: str, pictures: list[tuple[str, str]]) -> str:
    """A page with the pictures under their captions."""
    parts = [f"<h2>{html.escape(caption)}</h2>\n<img src='{html.escape(name)}'>" for name, caption in pictures]
    style = "body{font-family:sans-serif;margin:2em}img{max-width:100%}h2{font-size:1em}"
    return (
        f"<!doctype html><meta charset='utf-8'><title>{html.escape(title)}</title><style>{style}</style>\n"
        + f"<h1>{html.escape(title)}</h1>\n"
        + "\n".join(parts)
        + "\n"
    )


def arguments(argv: list[str]) -> list[str]:
    """Without --config: the config of the run."""
    return commands.with_config_of_run(argv, commands.given(argv).get("run"))


if __name__ == "__main__":
    sys.exit(commands.run(main, arguments(sys.argv)))
