"""Which fields of a config each model reads; others are refused where a command line gives them."""

from collections.abc import Iterable, Iterator
from typing import Any

import ml_collections

from itm_jax.config.plugins import is_own

SINGLE_VECTOR = ("afa", "vsepp", "vseinf")  # models whose items are one vector each, so that negatives can be mixed
MODELS = (*SINGLE_VECTOR, "cpfean", "scan", "late")
# The sections and fields that only some models read.
READ_BY = {
    "model.variant": ("afa",),
    "model.enhancement": ("afa",),
    "model.aggregation": ("afa",),
    "model.selection": ("afa", "vsepp"),
    "model.regions": ("cpfean",),
    "model.graph": ("cpfean",),
    "model.words": ("cpfean",),
    "model.fusion": ("cpfean",),
    "model.alignment": ("cpfean",),
    "model.attention": ("cpfean", "scan"),
    "loss.tau": SINGLE_VECTOR,  # as the next two, of mixed negatives
    "loss.fold": SINGLE_VECTOR,
    "loss.stop_gradient": SINGLE_VECTOR,
}
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


def uses_edges(model: Any) -> bool:
    """Whether the model reads dependency edges."""
    return (model.name == "cpfean" or is_own(model.name)) and model.words.layers > 0 and model.words.graph == "sparse"
