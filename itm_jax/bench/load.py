"""Measures the seconds from `import itm_jax` to the first score of a loaded model, in processes of their own."""

import json
import statistics
import subprocess
import sys

from itm_jax.bench.measure import where
from itm_jax.errors import InputError

# Prints {step: seconds}. The image is blank regions, so no pixels are read.
SCRIPT = """
import json, sys, time
began = [time.perf_counter()]
laps = {}
def lap(name):
    laps[name] = time.perf_counter() - began[-1]
    began.append(time.perf_counter())
import numpy as np
import itm_jax
itm_jax.load
lap("import")
model = itm_jax.load(sys.argv[1])
lap("load")
from itm_jax.structs import Regions
r, f = model.shape
boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (1, r, 1))
regions = Regions(np.ones((1, r, f), np.float32), np.ones((1, r), bool), boxes, np.zeros((1, r), np.int32))
image = model.encode_images(regions)
lap("image")
caption = model.encode_captions(["two dogs play in the snow"])
lap("caption")
model.score(image, caption)
lap("score")
print(json.dumps(laps))
"""


def bench_load(model: str, *, repeats: int) -> dict:
    """Returns the seconds of each step: in the first process, and the medians of `repeats` later ones.

    The first one compiles what the cache of compiled programs does not have.

    Raises:
        InputError: the model cannot be loaded.
    """
    first, *later = [_laps(model) for _ in range(repeats + 1)]
    medians = {step: statistics.median(laps[step] for laps in later) for step in first}
    return {
        "devices": where(),
        "first": first | {"total": sum(first.values())},
        "later": medians | {"total": statistics.median(sum(laps.values()) for laps in later)},
    }


def _laps(model: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, model], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"{model}: the process ended with {done.returncode}"])[-1]
        raise InputError(last.removeprefix("itm_jax.errors.InputError: "))
    return json.loads(done.stdout.splitlines()[-1])
