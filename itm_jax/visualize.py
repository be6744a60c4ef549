"""Make a report of a run: one HTML page with everything in it, and its pictures one by one.

    python -m itm_jax.visualize --run=runs/cpfean_quickstart
    python -m itm_jax.visualize --run=runs/cpfean_f8k --images=DIR --count=20
    python -m itm_jax.visualize --run=runs/cpfean_coco --images=DIR --image_name='COCO_val2014_{id:012d}.jpg'
    python -m itm_jax.visualize --run=runs/cpfean_f8k --images=DIR --captions=0,17,305 --format=svg --out=pictures

RUN/report.html has the results beside published ones, the curves, recall at K, and queries with what they found: the
best, the worst, and some spread over the split. It also shows what the model sees in pairs: for cpfean, late and scan
the region that each word took and how strongly, the gates of regions, and the weights of words; for afa the rows that
it merged. Images of `scenes` are rendered; other images are read from --images by the ids of {split}_ids.txt. Where an
id is not the name of a file, --image_names=id_mapping.json or --image_name='COCO_val2014_{id:012d}.jpg' says the name.
A missing picture is counted, and does not stop the report. Any data field of the run's config can be set as
--config.FIELD=VALUE.
"""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from itm_jax.cli import commands
from itm_jax.config.validation import validate
from itm_jax.errors import InputError
from itm_jax.files import write_whole
from itm_jax.terminal import say

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "config, default: that of the run", lock_config=True, flag_values=FLAGS
)
_RUN = flags.DEFINE_string("run", None, "workdir of a run", flag_values=FLAGS)
_OUT = flags.DEFINE_string(
    "out", None, "directory for the page and its pictures, default: RUN and RUN/pictures", flag_values=FLAGS
)
_IMAGES = flags.DEFINE_string(
    "images", None, "directory of the image files, named by the ids of the split", flag_values=FLAGS
)
_IMAGE_NAMES = flags.DEFINE_string(
    "image_names", None, "JSON file with the file name of each id, such as id_mapping.json", flag_values=FLAGS
)
_IMAGE_NAME = flags.DEFINE_string(
    "image_name", None, "the file name of an id, such as COCO_val2014_{id:012d}.jpg", flag_values=FLAGS
)
_COUNT = flags.DEFINE_integer(
    "count",
    10,
    "number of pairs whose alignment is shown, spread evenly over the split",
    lower_bound=1,
    flag_values=FLAGS,
)
_QUERIES = flags.DEFINE_integer(
    "queries", 4, "number of queries of each kind and direction", lower_bound=1, flag_values=FLAGS
)
_CAPTIONS = flags.DEFINE_list(
    "captions", [], "indices of captions whose alignment is shown, in place of --count", flag_values=FLAGS
)
_FORMAT = flags.DEFINE_enum("format", "png", ["png", "svg"], "format of the pictures", flag_values=FLAGS)


def main() -> None:
    """Flags -> report."""
    if not _RUN.value:
        raise InputError("--run: missing; pass --run=DIR, the workdir of a run")
    run, config = commands.directory("run", _RUN.value), commands.config_of(_CONFIG, FLAGS)
    validate(config)
    if _IMAGE_NAME.value and _IMAGE_NAMES.value:
        raise InputError("--image_name, --image_names: both say the names of the image files; pass one of them")
    if (_IMAGE_NAME.value or _IMAGE_NAMES.value) and not _IMAGES.value:
        raise InputError("--images: missing; pass --images=DIR, the directory of the image files that are named")
    say(f"{run}: loading JAX, the run and its data")
    from itm_jax.config.fields import flatten
    from itm_jax.evaluation.evaluate import results_of
    from itm_jax.evaluation.open_run import open_run
    from itm_jax.viz.images import pictures_of, read_names
    from itm_jax.viz.report import to_html

    directory = commands.directory("images", _IMAGES.value) if _IMAGES.value else None
    names = read_names(pathlib.Path(_IMAGE_NAMES.value).expanduser()) if _IMAGE_NAMES.value else None
    opened = open_run(config, run)
    images = pictures_of(config, opened.data.split, directory, names=names, pattern=_IMAGE_NAME.value)
    images.check_some()
    captions = chosen_captions(opened.data.split.caption_starts)
    if not opened.can_hold_scores:
        raise InputError(f"config.eval.matrix_gb: a report needs all scores; set it above {opened.gigabytes:.2g}")
    ranked, content = results_of(opened)
    scores, ranks = ranked.scores, ranked.ranks
    page = commands.directory("out", _OUT.value) if _OUT.value else run
    pictures = page if _OUT.value else run / "pictures"
    try:
        pictures.mkdir(parents=True, exist_ok=True)
        curves = draw_curves(run, ranks, pictures)
        queries = draw_queries(opened, images, scores, ranks, pictures)
        alignments, note = draw_alignments(opened, images, captions, pictures)
        notes = [x for x in (note, images.note()) if x]
        if not images.available:
            notes.append("Images are named, not shown: --images is not set.")
        text = to_html(run.name, content, flatten(config), curves, queries, alignments, notes)
        write_whole(page / "report.html", text)
    except OSError as e:
        raise InputError(f"{e.filename or pictures}: cannot be written ({e.strerror})") from None
    count = len(curves) + len({path for paths in queries.values() for path in paths}) + len(alignments)
    if images.missing:
        print(images.note())
    print(f"{count} pictures in {pictures}; written: {page / 'report.html'}")


def chosen_captions(starts) -> list[int]:
    """The indices of --captions, else of the first caption of --count images spread over the split."""
    images, total = len(starts) - 1, int(starts[-1])
    for given in _CAPTIONS.value:
        if not given.isdecimal() or int(given) >= total:
            raise InputError(f"--captions={given}: must be indices below {total}")
    if _CAPTIONS.value:
        return [int(given) for given in _CAPTIONS.value]
    count = min(_COUNT.value, images)
    return [int(starts[k * images // count]) for k in range(count)]


def draw_curves(run: pathlib.Path, ranks, out: pathlib.Path) -> list[pathlib.Path]:
    """Writes the curves of training and of recall; returns their files."""
    from itm_jax.runs.metrics_log import read_metrics
    from itm_jax.viz.curves import draw_recall, draw_training

    training, recall = (out / f"{name}.{_FORMAT.value}" for name in ("training", "recall"))
    draw_recall(recall, *ranks["full"])
    lines = read_metrics(run)
    if not lines:
        return [recall]
    draw_training(training, lines)
    return [training, recall]


def draw_queries(opened, images, scores, ranks, out: pathlib.Path) -> dict[tuple[str, str], list[pathlib.Path]]:
    """Writes a picture of each chosen query; returns the files by (direction, kind)."""
    from itm_jax.viz.retrieval import draw_caption_query, draw_image_query, shown_queries

    split = opened.data.split
    written: dict[tuple[str, str], list[pathlib.Path]] = {}
    for (direction, kind), answers in shown_queries(
        scores, split.caption_image_index, ranks["full"], _QUERIES.value
    ).items():
        draw = draw_image_query if direction == "i2t" else draw_caption_query
        for answer in answers:
            path = out / f"{direction}-{answer.query:06d}.{_FORMAT.value}"
            if not any(path in paths for paths in written.values()):  # a query may be of two kinds
                draw(path, split, answer, images.get)
            written.setdefault((direction, kind), []).append(path)
    return written


def draw_alignments(
    opened, images, captions: list[int], out: pathlib.Path
) -> tuple[list[tuple[str, pathlib.Path]], str]:
    """Writes pictures of what the model sees in pairs.

    Returns:
        (caption, picture) of each pair, and a note that is empty, or says why there is nothing to show.
    """
    import numpy as np

    from itm_jax.viz.alignment import draw_matching, draw_merging
    from itm_jax.viz.explain import Matching, explain

    split = opened.data.split
    try:
        if split.boxes is None:
            raise InputError(f"{split.source}: has no boxes, which pictures of alignments need")
        if not images.available:
            raise InputError("alignments: --images is missing; pass --images=DIR, the directory of the images")
        explanations = explain(opened, np.array(captions))
    except InputError as e:
        if _CAPTIONS.value:
            raise
        return [], f"No alignments: {e}."
    written = []
    for caption, seen in zip(captions, explanations, strict=True):
        image = int(split.caption_image_index[caption])
        path = out / f"{split.name}-{caption:06d}.{_FORMAT.value}"
        pixels, boxes, text = images.get_or_grey(image), split.boxes[image], split.captions[caption]
        if isinstance(seen, Matching):
            draw_matching(path, pixels, boxes, text, seen)
        else:
            draw_merging(path, pixels, boxes, text, seen)
        written.append((split.captions[caption], path))
    return written, ""


def arguments(argv: list[str]) -> list[str]:
    """Adds the config of the run where --config is missing."""
    return commands.with_config_of_run(argv, commands.given(argv).get("run"))


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
