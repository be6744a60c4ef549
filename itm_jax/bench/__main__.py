"""Measures speed and memory, beside the limits of the machine in the same run.

python -m itm_jax.bench train --config=configs/afa_f8k.py --width=1280 --tokens=32 --against=torch
python -m itm_jax.bench encode --config=configs/afa_f8k.py --images=1000 --captions=5000
python -m itm_jax.bench input --config=configs/afa_f8k.py --config.data.dir=DIR --tfds=OUT --step
python -m itm_jax.bench extract --images=128 --against=torch
python -m itm_jax.bench rank --images=5000 --captions=25000
python -m itm_jax.bench score --images=1000 --captions=5000 --joint=1024
python -m itm_jax.bench growth --config=configs/cpfean_quickstart.py --out_dir=DIR
python -m itm_jax.bench shortlist --runs=AFA_RUN,CPFEAN_RUN
python -m itm_jax.bench load --model=DIR --repeats=5
python -m itm_jax.bench search --images=100000 --regions=1 --joint=256
python -m itm_jax.bench models --plan=FILE                      (for itm_jax.reproduce's table of costs)
"""

import json
import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from itm_jax import bench
from itm_jax.cli import commands
from itm_jax.config.fields import flatten
from itm_jax.errors import InputError
from itm_jax.files import write_whole
from itm_jax.terminal import say

assert bench.BEGAN  # its clock starts before the heavy imports
FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "train, encode, input, growth: config file", flag_values=FLAGS
)
_TFDS = flags.DEFINE_string(
    "tfds",
    None,
    "input: directory of the same data as itm_jax.convert tfds wrote them, to be measured in the same run",
    flag_values=FLAGS,
)
_STEP = flags.DEFINE_bool(
    "step",
    False,
    "input: also measure the training step of the config on such batches, and the ratio of both",
    flag_values=FLAGS,
)
_AGAINST = flags.DEFINE_enum(
    "against",
    None,
    ["torch"],
    "train, extract: also measure a plain PyTorch version, in turn with ours",
    flag_values=FLAGS,
)
_BATCHES = flags.DEFINE_integer("batches", 50, "input: batches per timed repetition", lower_bound=1, flag_values=FLAGS)
_REPEATS = flags.DEFINE_integer("repeats", 10, "timed repetitions", lower_bound=1, flag_values=FLAGS)
_REGIONS = flags.DEFINE_integer(
    "regions",
    36,
    "train, encode, score, growth, extract, search: regions per image",
    lower_bound=1,
    flag_values=FLAGS,
)
_WIDTH = flags.DEFINE_integer(
    "width", 2048, "train, encode, growth: width of a region feature", lower_bound=1, flag_values=FLAGS
)
_TOKENS = flags.DEFINE_integer(
    "tokens", 32, "train, encode, score, growth: padded caption length", lower_bound=8, flag_values=FLAGS
)
_IMAGES = flags.DEFINE_integer(
    "images", 5000, "encode, rank, score, extract, search: images", lower_bound=1, flag_values=FLAGS
)
_CAPTIONS = flags.DEFINE_integer(
    "captions",
    25000,
    "encode, rank, score: captions, a multiple of the images",
    lower_bound=1,
    flag_values=FLAGS,
)
_JOINT = flags.DEFINE_integer("joint", 1024, "score, growth, search: joint width", lower_bound=2, flag_values=FLAGS)
_TILE = flags.DEFINE_integer("tile", 256, "score: images and captions per tile", lower_bound=1, flag_values=FLAGS)
_BATCH_SIZES = flags.DEFINE_list(
    "batch_sizes", ["16", "32", "64", "128"], "growth: batch sizes of the step", flag_values=FLAGS
)
_GALLERIES = flags.DEFINE_list(
    "galleries", ["250", "500", "1000", "2000"], "growth: numbers of images in the gallery", flag_values=FLAGS
)
_TILES = flags.DEFINE_list("tiles", ["64", "128", "256", "512"], "growth: tile sizes of the scores", flag_values=FLAGS)
_OUT_DIR = flags.DEFINE_string("out_dir", None, "growth: directory for the table and the plot", flag_values=FLAGS)
_RUNS = flags.DEFINE_list(
    "runs", [], "shortlist: two finished runs on the same data, AFA_RUN,CPFEAN_RUN", flag_values=FLAGS
)
_SPLITS = flags.DEFINE_list(
    "splits", ["dev", "test"], "shortlist: splits of their data, which together are one gallery", flag_values=FLAGS
)
_LENGTHS = flags.DEFINE_list(
    "lengths", ["10", "20", "50", "100", "200"], "shortlist: lengths of the shortlist", flag_values=FLAGS
)
_BACKBONE = flags.DEFINE_string("backbone", "efficientnet-lite0", "extract: the backbone", flag_values=FLAGS)
_THREADS = flags.DEFINE_integer("threads", 4, "extract: threads that decode", lower_bound=1, flag_values=FLAGS)
_MODEL = flags.DEFINE_string("model", None, "load: run, exported folder or hub name", flag_values=FLAGS)
_PLAN = flags.DEFINE_string("plan", None, "models: JSON file with a config for each name", flag_values=FLAGS)
_OUT = flags.DEFINE_string("out", None, "also write the figures to this JSON file", flag_values=FLAGS)


def main(word: str) -> None:
    """Runs one benchmark with the flags, and prints its figures."""
    say(f"bench {word}: loading JAX, compiling and timing; the figures come at the end")
    figures = WORDS[word]()
    for name, value in flatten(figures).items():
        print(f"{name:44} {value:.4g}" if isinstance(value, float) else f"{name:44} {value}")
    if _OUT.value:
        write_whole(pathlib.Path(_OUT.value), json.dumps({"bench": word} | figures, indent=2) + "\n")


def _config(*, random: bool = False):
    """Returns the validated config of the flags; for random data it needs no data directory."""
    config = commands.config_of(_CONFIG, FLAGS)
    if random:
        config.data.dir = config.data.dir or "unused"
    from itm_jax.config.validation import validate

    validate(config)
    return config


def _shapes() -> dict[str, int]:
    return {"regions": _REGIONS.value, "width": _WIDTH.value, "tokens": _TOKENS.value}


def _integers(flag: flags.FlagHolder) -> list[int]:
    if not flag.value or not all(x.isdecimal() and int(x) > 0 for x in flag.value):
        raise InputError(f"--{flag.name}={','.join(flag.value)}: must be positive integers, separated by commas")
    return sorted({int(x) for x in flag.value})


def _captions_per_image() -> int:
    if _CAPTIONS.value % _IMAGES.value:
        raise InputError(f"--captions={_CAPTIONS.value}: must be a multiple of --images={_IMAGES.value}")
    return _CAPTIONS.value // _IMAGES.value


def train() -> dict:
    """Measures a training step."""
    config = _config(random=True)
    from itm_jax.bench.train import bench_train

    return bench_train(config, **_shapes(), repeats=_REPEATS.value, against=_AGAINST.value)


def encode() -> dict:
    """Measures the encoding of a split."""
    config = _config(random=True)
    from itm_jax.bench.encode import bench_encode

    return bench_encode(
        config,
        images=_IMAGES.value,
        captions_per_image=_captions_per_image(),
        **_shapes(),
        repeats=_REPEATS.value,
    )


def inputs() -> dict:
    """Measures the input pipeline."""
    config = _config()
    from itm_jax.bench.inputs import bench_input

    return bench_input(config, tfds=_TFDS.value, repeats=_REPEATS.value, batches=_BATCHES.value, step=_STEP.value)


def extract() -> dict:
    """Measures the extraction of region features."""
    from itm_jax.bench.extract import bench_extract

    return bench_extract(
        _BACKBONE.value,
        images=_IMAGES.value,
        regions=_REGIONS.value,
        threads=_THREADS.value,
        repeats=_REPEATS.value,
        against=_AGAINST.value,
    )


def rank() -> dict:
    """Measures ranks from scores."""
    from itm_jax.bench.rank import bench_rank

    _captions_per_image()
    return bench_rank(images=_IMAGES.value, captions=_CAPTIONS.value, repeats=_REPEATS.value)


def score() -> dict:
    """Measures CPFEAN's scores of all pairs."""
    from itm_jax.bench.score import bench_score

    _captions_per_image()
    return bench_score(
        images=_IMAGES.value,
        captions=_CAPTIONS.value,
        regions=_REGIONS.value,
        tokens=_TOKENS.value,
        width=_JOINT.value,
        tile=_TILE.value,
        repeats=_REPEATS.value,
    )


def growth() -> dict:
    """Measures how cost grows."""
    if not _OUT_DIR.value:
        raise InputError("--out_dir: missing; pass --out_dir=DIR, the directory for the table and the plot")
    config = _config(random=True)
    from itm_jax.bench.growth import bench_growth

    return bench_growth(
        config,
        pathlib.Path(_OUT_DIR.value).expanduser(),
        batch_sizes=_integers(_BATCH_SIZES),
        galleries=_integers(_GALLERIES),
        tiles=_integers(_TILES),
        **_shapes(),
        joint=_JOINT.value,
        repeats=_REPEATS.value,
    )


def shortlist() -> dict:
    """Measures what a shortlist loses."""
    if len(_RUNS.value) != 2:
        raise InputError(
            f"--runs={','.join(_RUNS.value)}: must be two finished runs, RUN_OF_THE_SHORTLIST,RUN_THAT_RANKS_IT"
        )
    from itm_jax.bench.shortlist import bench_shortlist

    runs = [pathlib.Path(run).expanduser() for run in _RUNS.value]
    return bench_shortlist(*runs, splits=_SPLITS.value, lengths=_integers(_LENGTHS))


def models() -> dict:
    """Measures several models in turn."""
    if not _PLAN.value:
        raise InputError(
            "--plan: missing; pass --plan=FILE, as itm_jax.reproduce --table=configs/tables/complexity.py does"
        )
    from itm_jax.bench.models import bench_plan

    return bench_plan(pathlib.Path(_PLAN.value).expanduser(), repeats=_REPEATS.value)


def load() -> dict:
    """Measures how soon a loaded model answers."""
    from itm_jax.bench.load import bench_load

    return bench_load(commands.required(_MODEL, "DIR", "the model"), repeats=_REPEATS.value)


def search() -> dict:
    """Measures search in a gallery of random vectors."""
    from itm_jax.bench.search import bench_search

    return bench_search(_IMAGES.value, regions=_REGIONS.value, width=_JOINT.value, repeats=_REPEATS.value)


WORDS = {
    "train": train,
    "encode": encode,
    "input": inputs,
    "extract": extract,
    "rank": rank,
    "score": score,
    "growth": growth,
    "models": models,
    "shortlist": shortlist,
    "load": load,
    "search": search,
}

if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
