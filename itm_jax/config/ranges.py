"""The range of every number field of a config."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

ANY = math.inf


class Range(NamedTuple):
    """Numbers from `low` to `high`; `above` and `below` leave the ends out; infinity only where `infinite` says so."""

    low: float = -ANY
    high: float = ANY
    above: bool = False
    below: bool = False
    infinite: bool = False

    def __contains__(self, value: object) -> bool:
        assert isinstance(value, int | float)
        enough = value > self.low if self.above else value >= self.low
        return enough and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        if self.high == ANY and self.low == 0:
            return "must be greater than 0" if self.above else "must not be negative"
        if self.high == ANY:
            return f"must be at least {self.low}"
        return f"must lie in {'(' if self.above else '['}{self.low}, {self.high}{')' if self.below else ']'}"


POSITIVE, NOT_NEGATIVE, SHARE = Range(0, above=True), Range(0), Range(0, 1)
AT_LEAST_ONE, RATE = Range(1), Range(0, 1, below=True)
RANGES = {
    "seed": Range(0, 2**31, below=True),
    "data.batch_size": Range(2),
    "data.eval_batch_size": AT_LEAST_ONE,
    "data.max_tokens": Range(3),
    "data.cache_gb": Range(0, infinite=True),
    "data.prefetch": AT_LEAST_ONE,
    "data.scenes.train": Range(2),
    "data.scenes.dev": Range(2),
    "data.scenes.test": Range(2),
    "data.scenes.regions": Range(1, 100),
    "data.scenes.features": AT_LEAST_ONE,
    "data.scenes.noise": NOT_NEGATIVE,
    "data.scenes.seed": NOT_NEGATIVE,
    "data.train_share": Range(0, 1, above=True),
    "data.alter.regions": NOT_NEGATIVE,
    "data.alter.permuted_labels": SHARE,
    "data.alter.noisy_words": SHARE,
    "data.augment.region_drop": SHARE,
    "data.augment.word_touch": SHARE,
    "data.augment.word_mask": SHARE,
    "data.augment.word_random": SHARE,
    "data.augment.word_delete": SHARE,
    "model.width": Range(2),
    "model.aggregation.ratio": Range(0, 0.5),
    "model.graph.layers": Range(0, 100),
    "model.graph.heads": Range(1, 1000),
    "model.graph.dropout": RATE,
    "model.graph.iou": Range(-1, 1),
    "model.words.layers": Range(0, 100),
    "model.words.scale": POSITIVE,
    "model.fusion.rounds": Range(0, 100),
    "model.fusion.scale": Range(),
    "model.fusion.bias": Range(),
    "model.fusion.power": NOT_NEGATIVE,
    "model.fusion.rate": POSITIVE,
    "model.alignment.beta": NOT_NEGATIVE,
    "model.alignment.gamma": NOT_NEGATIVE,
    "model.alignment.global_weight": NOT_NEGATIVE,
    "model.attention.temperature": NOT_NEGATIVE,
    "model.text.embed_size": AT_LEAST_ONE,
    "model.text.min_count": AT_LEAST_ONE,
    "model.text.vocab_size": NOT_NEGATIVE,
    "model.text.hidden_size": AT_LEAST_ONE,
    "model.text.num_layers": AT_LEAST_ONE,
    "model.text.num_heads": AT_LEAST_ONE,
    "model.text.intermediate_size": AT_LEAST_ONE,
    "model.text.max_positions": AT_LEAST_ONE,
    "model.text.type_vocab_size": AT_LEAST_ONE,
    "model.text.layer_norm_eps": POSITIVE,
    "model.text.dropout": RATE,
    "loss.margin": NOT_NEGATIVE,
    "loss.tau": POSITIVE,
    "loss.num_negatives": NOT_NEGATIVE,
    "loss.warmup_epochs": NOT_NEGATIVE,
    "optim.lr": POSITIVE,
    "optim.text_lr_factor": NOT_NEGATIVE,
    "optim.weight_decay": NOT_NEGATIVE,
    "optim.clip": Range(0, infinite=True),
    "optim.decay_factor": POSITIVE,
    "train.epochs": POSITIVE,
    "train.eval_every_epochs": POSITIVE,
    "train.checkpoint_every": NOT_NEGATIVE,
    "train.log_every": AT_LEAST_ONE,
    "train.text_parts": AT_LEAST_ONE,
    "train.max_skipped": NOT_NEGATIVE,
    "eval.tile": AT_LEAST_ONE,
    "eval.matrix_gb": Range(0, infinite=True),
}


def range_problems(given: Mapping[str, Any]) -> Iterator[str]:
    """A message for every number that is not finite, or not in its range; `given` has all fields by dotted name."""
    for name, allowed in RANGES.items():
        value = given[name]
        if value is None:
            continue
        if math.isnan(value) or (math.isinf(value) and not allowed.infinite):
            yield f"config.{name}={value!r}: must be a finite number"
        elif value not in allowed:
            yield f"config.{name}={value!r}: {allowed}"
    epochs = list(given["optim.decay_epochs"])
    if not all(math.isfinite(epoch) and epoch > 0 for epoch in epochs):
        yield f"config.optim.decay_epochs={tuple(epochs)!r}: must be finite numbers greater than 0"
