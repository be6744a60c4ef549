"""Make a report of a run: one HTML page with everything in it, and its pictures one by one.

    python -m itm_jax.visualize --run=runs/cpfean_quickstart
    python -m itm_jax.visualize --run=runs/cpfean_f8k --images=DIR --count=20
    python -m itm_jax.visualize --run=runs/cpfean_coco --images=DIR --image_name='COCO_val2014_{id:012d}.jpg'
    python -m itm_jax.visualize --run=runs/cpfean_f8k --images=DIR --captions=0,17,305 --format=svg --out=pictures
    python -m itm_jax.visualize --compare=runs/afa,runs/cpfean --out=compared

RUN/report.html has the results beside published ones, the curves, recall at K, and queries with what they found: the
best, the worst, and some spread over the split. It also shows what the model sees in pairs: for cpfean, late and scan
the region that each word took and how strongly, the gates of regions, and the weights of words; for afa the regions and
words that make up the score, and the regions that it merged. --compare shows two runs side by side, on the same split:
their results, and queries for which only one of them puts a right answer first.

Images of `scenes` are rendered; other images are read from --images by the ids of {split}_ids.txt. Where an id is not
the name of a file, --image_names=id_mapping.json or --image_name='COCO_val2014_{id:012d}.jpg' says the name. A missing
picture is counted, and does not stop the report. Any data field of the run's config can be set as --config.FIELD=VALUE.
"""

import sys

from absl import flags
from ml_collections import config_flags

from itm_jax.buckets.store import is_url
from itm_jax.cli import commands
from itm_jax.config.validation import validate
from itm_jax.errors import InputError
from itm_jax.terminal import say

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "config, default: that of the run", lock_config=True, flag_values=FLAGS
)
_RUN = flags.DEFINE_string("run", None, "workdir of a run", flag_values=FLAGS)
_COMPARE = flags.DEFINE_list("compare", [], "two workdirs, RUN1,RUN2, that are compared", flag_values=FLAGS)
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
    compared = _COMPARE.value
    if not compared and not _RUN.value:
        raise InputError("--run: missing; pass --run=DIR, the workdir of a run")
    if compared and (len(compared) != 2 or _RUN.value or not _OUT.value):
        raise InputError("--compare: takes two runs, RUN1,RUN2, and --out=DIR for the page, in place of --run")
    for name in ("count", "captions", "format") if compared else ():
        if FLAGS[name].present:
            raise InputError(f"--{name}: has no effect on --compare; leave it out")
    if is_url(_RUN.value or "") and not _OUT.value:
        raise InputError("--out: missing; a run in a bucket is only read, so pass --out=DIR for the report")
    config = commands.config_of(_CONFIG, FLAGS)
    validate(config)
    naming = image_naming()
    out = commands.directory("out", _OUT.value) if _OUT.value else None
    name, places = ("run", [_RUN.value]) if _RUN.value else ("compare", compared)
    runs = [commands.copy_of_run(name, run, config.data.cache_dir) for run in places]
    say(f"{' and '.join(map(str, runs))}: loading JAX, the data and the text encoder")
    if _COMPARE.value:
        from itm_jax.viz.compare import write_comparison

        assert out is not None  # --compare needs --out
        written = write_comparison(config, runs, out, queries=_QUERIES.value, **naming)
        print(f"written: {written}")
        return
    from itm_jax.viz.report import Wanted, write_report

    wanted = Wanted(_COUNT.value, tuple(_CAPTIONS.value), _QUERIES.value, _FORMAT.value)
    report = write_report(config, runs[0], out, wanted, **naming)
    if report.missing:
        print(report.missing)
    print(f"{report.pictures} pictures in {report.directory}; written: {report.page}")


def image_naming() -> dict:
    """Where the pictures of the images are, and what their files are called: arguments of `viz.images.pictures_of`."""
    if _IMAGE_NAME.value and _IMAGE_NAMES.value:
        raise InputError("--image_name, --image_names: both say the names of the image files; pass one of them")
    if (_IMAGE_NAME.value or _IMAGE_NAMES.value) and not _IMAGES.value:
        raise InputError("--images: missing; pass --images=DIR, the directory of the image files that are named")
    directory = commands.directory("images", _IMAGES.value) if _IMAGES.value else None
    if directory is not None and not directory.is_dir():
        raise InputError(f"--images={directory}: no such directory")
    from itm_jax.viz.images import read_names

    names = read_names(commands.file("image_names", _IMAGE_NAMES.value)) if _IMAGE_NAMES.value else None
    return {"directory": directory, "names": names, "pattern": _IMAGE_NAME.value}


def arguments(argv: list[str]) -> list[str]:
    """Adds the config of the run, or of the first of two, where --config is missing."""
    given = commands.given(argv)
    return commands.with_config_of_run(argv, given.get("run") or given.get("compare", "").split(",")[0])


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
