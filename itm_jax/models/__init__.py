"""The models of the papers, put together from modules; `build` makes one from the `model` section of a config."""

import dataclasses

import flax.linen as nn

from itm_jax.config.derived import complete_model
from itm_jax.config.model_fields import MODELS, model_class
from itm_jax.config.plugins import is_own
from itm_jax.errors import InputError
from itm_jax.pretrained.directory import checkpoint_dir
from itm_jax.pretrained.huggingface import read_config


def build(config) -> nn.Module:
    """Builds the model that `config.model` describes.

    Args:
        config: the `model` section; it is not changed. `name` is one of `config.model_fields.MODELS`, or MODULE:CLASS,
            whose `from_config(config)` is called. Derived fields need not be set. Where the text encoder's
            architecture is not set, it is read from the pretrained checkpoint's config.json.

    Returns:
        A Linen module with methods `encode_images(regions, *, train)`, `encode_captions(tokens, *, train)` and
        `score(images, captions) -> [i t]`.

    Raises:
        InputError: the model is unknown, or the vocabulary size of a text encoder from scratch is not set.

    Examples:
        >>> from itm_jax import quickstart
        >>> config = quickstart()
        >>> config.model.text.vocab_size = 100
        >>> model = build(config.model)
        >>> type(model).__name__, model.width
        ('AFA', 256)
    """
    if not is_own(config.name) and config.name not in MODELS:
        raise InputError(f"config.model.name={config.name!r}: must be one of {', '.join(MODELS)}")
    config = complete_model(config)
    if config.text.trainable and not config.text.vocab_size:
        if config.text.encoder == "gru" or not config.text.pretrained:
            raise InputError(
                "config.model.text.vocab_size=0: set it to the size of the vocabulary (data.prepare.prepare does)"
            )
        config.text.update(dataclasses.asdict(read_config(checkpoint_dir(config.text.pretrained))))
    kind = model_class(config.name)
    if not hasattr(kind, "from_config"):
        raise InputError(f"config.model.name={config.name}: has no from_config(model); docs/extending.md shows a model")
    return kind.from_config(config)
