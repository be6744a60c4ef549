"""Fields that have no effect on the model of a config: refused where a command line gives them."""

from collections.abc import Iterable, Iterator
from typing import Any

import ml_collections

from itm_jax.choices import READ_BY
from itm_jax.plugins import is_own

# What has no meaning for a BiGRU. A config file's values stand by, so that `encoder` alone is the ablation.
BERT_ONLY = ("hidden_size", "num_layers", "num_heads", "intermediate_size", "max_positions", "type_vocab_size")
BERT_ONLY += ("activation", "layer_norm_eps", "cache_dtype")


def idle_flags(config: ml_collections.ConfigDict, flags: Iterable[str]) -> Iterator[str]:
    """Every field among those given on the command line that has no meaning for the config's model or text encoder."""
    for name in flags:
        if config.model.text.encoder == "gru" and name in [f"model.text.{field}" for field in BERT_ONLY]:
            yield f"config.{name}: of no effect on config.model.text.encoder=gru; leave it out"
        for section, models in READ_BY.items():
            if (
                f"{name}.".startswith(f"{section}.")
                and config.model.name not in models
                and not is_own(config.model.name)
            ):
                yield f"config.{name}: of no effect on config.model.name={config.model.name}; leave it out"
        if config.model.name == "cpfean":
            yield from _idle_in_cpfean(config.model, name)


def _idle_in_cpfean(model: Any, name: str) -> Iterator[str]:
    why = {
        "model.graph.": model.graph.layers == 0 and "model.graph.layers=0",
        "model.fusion.": model.fusion.rounds == 0 and "model.fusion.rounds=0",
        "model.alignment.": model.alignment.kind != "prominent" and "model.alignment.kind=cross_attention",
        "model.alignment.beta": model.alignment.sides == "regions" and "model.alignment.sides=regions",
        "model.alignment.gamma": model.alignment.sides == "regions" and "model.alignment.sides=regions",
        "model.attention.": model.alignment.kind == "prominent" and "model.alignment.kind=prominent",
    }
    for section, reason in why.items():
        if reason and name.startswith(section) and name != reason.split("=")[0]:
            yield f"config.{name}: of no effect on config.{reason}; leave it out"
