"""Small runs that tests train, and what they leave in a workdir."""

import importlib.util
import json
import os

import jax
import numpy as np

from itm_jax.config.fields import set_field
from itm_jax.data.prepare import prepare
from itm_jax.runs import checkpoints
from itm_jax.runs import restore as restoring
from itm_jax.training import build
from support.paths import ROOT

# A config file: a run of a few seconds, with a checkpoint every three steps. {path} is configs/quickstart.py.
RUN_FILE = """
import importlib.util

spec = importlib.util.spec_from_file_location("quickstart", {path!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)


def get_config():
    c = module.get_config()
    c.data.scenes.update({{"train": 96, "dev": 8, "test": 8, "regions": 6, "features": 16}})
    c.data.batch_size = 8
    c.model.width = 256
    c.model.text.update({{"num_layers": 1, "hidden_size": 64, "intermediate_size": 128}})
    c.optim.decay_epochs = (1,)
    c.train.update({{"epochs": 1, "eval_every_epochs": 0.3, "checkpoint_every": 3, "log_every": 1}})
    return c
"""


def load(path):
    """`get_config()` of a config file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shrunk(**changes):
    """configs/quickstart.py with a tiny model on tiny scenes; changes by dotted name with `__` for the dot."""
    config = load(ROOT / "configs" / "quickstart.py").get_config()
    values = {
        "data.batch_size": 8, "data.scenes.train": 16, "data.scenes.dev": 4, "data.scenes.test": 4,
        "data.scenes.regions": 6, "data.scenes.features": 12, "data.eval_batch_size": 8, "model.width": 16,
        "model.text.hidden_size": 16, "model.text.num_layers": 1, "model.text.num_heads": 2,
        "model.text.intermediate_size": 16, "train.epochs": 2, "train.log_every": 1, "optim.decay_epochs": (1,),
    }  # fmt: skip
    for name, value in (values | {k.replace("__", "."): v for k, v in changes.items()}).items():
        set_field(config, name, value)
    return config


def lines(workdir):
    """metrics.jsonl."""
    return [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]


# What starts in the background or under nohup ignores these signals, and hands that on to what it starts.
AS_IN_A_TERMINAL = ("env", "--default-signal=INT", "--default-signal=HUP")


def environment():
    """The environment of a run on one CPU device."""
    return os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}


def outcome(workdir):
    """What must be the same in every run: checksums of the newest checkpoint's arrays, results, lines of metrics.jsonl."""
    newest = max((workdir / "checkpoints").iterdir(), key=lambda p: int(p.name))
    record = json.loads((newest / "meta" / "metadata").read_text())["content"]
    results = json.loads((workdir / "results.json").read_text())
    return {
        "newest": newest.name,
        "arrays": record["checksums"],
        "best": (record["best_step"], record["best_rsum"]),
        "protocols": results["protocols"],
        "step": results["step"],
        "lines": lines(workdir),
    }


def run_of(config, split="train"):
    """The run of a config, freshly built, and its training split."""
    prepared = prepare(config, [split])
    data = prepared.with_text(prepared.splits[0])
    return build.build_run(prepared.config, prepared.text, data), data


def data_of(config, split="train"):
    """A split of a config, with its text."""
    prepared = prepare(config, ["train", split])
    return prepared.with_text(prepared.splits[1])


def final_state(config, workdir):
    """The newest checkpoint's parameters."""
    run, _ = run_of(config)
    return restoring.restore(workdir, checkpoints.steps_of(workdir)[0], run.state)[0]


def same(a, b):
    """Bit-identical trees."""
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: np.array_equal(x, y), a, b)))


def fragment_config(**changes):
    """The shrunk config with CPFEAN."""
    return shrunk(**({"model__name": "cpfean", "model__graph__heads": 4} | changes))
