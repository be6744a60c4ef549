"""Models compose modules as the papers do; `build` makes one from the `model` section of a config."""

import flax.linen as nn

from itm_jax.errors import InputError
from itm_jax.models.afa import AFA

MODELS = {"afa": AFA}


def build(config) -> nn.Module:
    """The model that `config.model` describes.

    Args:
        config: the `model` section. `text.vocab_size` and the architecture of a pretrained text encoder must be
            filled in (`data.text.load_text` does it).

    Returns:
        A Linen module with methods `encode_images(regions, *, train)`, `encode_captions(tokens, *, train)` and
        `score(images, captions) -> [i t]`.
    """
    if config.name not in MODELS:
        raise InputError(f"config.model.name={config.name!r}: must be one of {', '.join(MODELS)}")
    return MODELS[config.name].from_config(config)
