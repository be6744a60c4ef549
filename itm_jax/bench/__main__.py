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

from itm_jax import bench
from itm_jax.bench import given
from itm_jax.cli import commands, values
from itm_jax.config.fields import flatten
from itm_jax.errors import InputError
from itm_jax.files import write_whole
from itm_jax.terminal import say

assert bench.BEGAN  # its clock starts before the heavy imports
FLAGS = given.FLAGS


def main(word: str) -> None:
    """Runs one benchmark with the flags, and prints its figures."""
    say(f"bench {word}: loading JAX, compiling and timing; the figures come at the end")
    figures = WORDS[word]()
    for name, value in flatten(figures).items():
        print(f"{name:44} {value:.4g}" if isinstance(value, float) else f"{name:44} {value}")
    if given.OUT.value:
        write_whole(pathlib.Path(given.OUT.value), json.dumps({"bench": word} | figures, indent=2) + "\n")


def _config(*, random: bool = False):
    """Returns the validated config of the flags; for random data it needs no data directory."""
    config = commands.config_of(given.CONFIG, FLAGS)
    if random:
        config.data.dir = config.data.dir or "unused"
    from itm_jax.config.validation import validate

    validate(config)
    return config


def _shapes() -> dict[str, int]:
    return {"regions": given.REGIONS.value, "width": given.WIDTH.value, "tokens": given.TOKENS.value}


def _integers(flag: flags.FlagHolder) -> list[int]:
    return sorted(set(values.whole_numbers(flag.name, flag.value)))


def _captions_per_image() -> int:
    if given.CAPTIONS.value % given.IMAGES.value:
        raise InputError(f"--captions={given.CAPTIONS.value}: must be a multiple of --images={given.IMAGES.value}")
    return given.CAPTIONS.value // given.IMAGES.value


def train() -> dict:
    """Measures a training step."""
    config = _config(random=True)
    from itm_jax.bench.train import bench_train

    return bench_train(config, **_shapes(), repeats=given.REPEATS.value, against=given.AGAINST.value)


def encode() -> dict:
    """Measures the encoding of a split."""
    config = _config(random=True)
    from itm_jax.bench.encode import bench_encode

    return bench_encode(
        config,
        images=given.IMAGES.value,
        captions_per_image=_captions_per_image(),
        **_shapes(),
        repeats=given.REPEATS.value,
    )


def inputs() -> dict:
    """Measures the input pipeline."""
    config = _config()
    from itm_jax.bench.inputs import bench_input

    return bench_input(
        config, tfds=given.TFDS.value, repeats=given.REPEATS.value, batches=given.BATCHES.value, step=given.STEP.value
    )


def extract() -> dict:
    """Measures the extraction of region features."""
    from itm_jax.bench.extract import bench_extract

    return bench_extract(
        given.BACKBONE.value,
        images=given.IMAGES.value,
        regions=given.REGIONS.value,
        threads=given.THREADS.value,
        repeats=given.REPEATS.value,
        against=given.AGAINST.value,
    )


def rank() -> dict:
    """Measures ranks from scores."""
    from itm_jax.bench.rank import bench_rank

    _captions_per_image()
    return bench_rank(images=given.IMAGES.value, captions=given.CAPTIONS.value, repeats=given.REPEATS.value)


def score() -> dict:
    """Measures CPFEAN's scores of all pairs."""
    from itm_jax.bench.score import bench_score

    _captions_per_image()
    return bench_score(
        images=given.IMAGES.value,
        captions=given.CAPTIONS.value,
        regions=given.REGIONS.value,
        tokens=given.TOKENS.value,
        width=given.JOINT.value,
        tile=given.TILE.value,
        repeats=given.REPEATS.value,
    )


def growth() -> dict:
    """Measures how cost grows."""
    if not given.OUT_DIR.value:
        raise InputError("--out_dir: missing; pass --out_dir=DIR, the directory for the table and the plot")
    config = _config(random=True)
    from itm_jax.bench.growth import bench_growth

    return bench_growth(
        config,
        pathlib.Path(given.OUT_DIR.value).expanduser(),
        batch_sizes=_integers(given.BATCH_SIZES),
        galleries=_integers(given.GALLERIES),
        tiles=_integers(given.TILES),
        **_shapes(),
        joint=given.JOINT.value,
        repeats=given.REPEATS.value,
    )


def shortlist() -> dict:
    """Measures what a shortlist loses."""
    if len(given.RUNS.value) != 2:
        raise InputError(
            f"--runs={','.join(given.RUNS.value)}: must be two finished runs, RUN_OF_THE_SHORTLIST,RUN_THAT_RANKS_IT"
        )
    from itm_jax.bench.shortlist import bench_shortlist

    runs = [pathlib.Path(run).expanduser() for run in given.RUNS.value]
    return bench_shortlist(*runs, splits=given.SPLITS.value, lengths=_integers(given.LENGTHS))


def models() -> dict:
    """Measures several models in turn."""
    if not given.PLAN.value:
        raise InputError(
            "--plan: missing; pass --plan=FILE, as itm_jax.reproduce --table=configs/tables/complexity.py does"
        )
    from itm_jax.bench.models import bench_plan

    return bench_plan(pathlib.Path(given.PLAN.value).expanduser(), repeats=given.REPEATS.value)


def load() -> dict:
    """Measures how soon a loaded model answers."""
    from itm_jax.bench.load import bench_load

    return bench_load(commands.required(given.MODEL, "DIR", "the model"), repeats=given.REPEATS.value)


def search() -> dict:
    """Measures search in a gallery of random vectors."""
    from itm_jax.bench.search import bench_search

    return bench_search(
        given.IMAGES.value, regions=given.REGIONS.value, width=given.JOINT.value, repeats=given.REPEATS.value
    )


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
