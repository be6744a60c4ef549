"""Models compose modules as the papers do; `build` makes one from the `model` section of a config."""

import copy
import dataclasses

import flax.linen as nn

from itm_jax.config.plugins import is_own, load
from itm_jax.errors import InputError
from itm_jax.models.afa import AFA
from itm_jax.models.baselines import SCAN, VSE, LateInteraction
from itm_jax.models.cpfean import CPFEAN
from itm_jax.pretrained.huggingface import checkpoint_dir, read_config

MODELS = {"afa": AFA, "cpfean": CPFEAN, "vsepp": VSE, "vseinf": VSE, "scan": SCAN, "late": LateInteraction}


def build(config) -> nn.Module:
    """The model that `config.model` describes.

    Args:
        config: the `model` section; `name` is one of `MODELS` or MODULE:CLASS, whose `from_config(config)` is called. Where `data.text.load_text` has not filled in the text encoder's architecture, it
            is read from the pretrained checkpoint's config.json.

    Returns:
        A Linen module with methods `encode_images(regions, *, train)`, `encode_captions(tokens, *, train)` and
        `score(images, captions) -> [i t]`.

    Raises:
        InputError: unknown model, or a text encoder from scratch whose vocabulary size is not known.
    """
    own = load(config.name, "model.name") if is_own(config.name) else None
    if own is None and config.name not in MODELS:
        raise InputError(f"config.model.name={config.name!r}: must be one of {', '.join(MODELS)}")
    if config.text.trainable and not config.text.vocab_size:
        if config.text.encoder == "gru" or not config.text.pretrained:
            raise InputError(
                "config.model.text.vocab_size=0: set it to the size of the vocabulary (data.text.load_text does)"
            )
        config = copy.deepcopy(config)
        config.text.update(dataclasses.asdict(read_config(checkpoint_dir(config.text.pretrained))))
    return (own or MODELS[config.name]).from_config(config)
