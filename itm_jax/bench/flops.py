"""Counts the FLOPs of a training step by hand: those of its matrix products.

For each product of the forward pass the gradient has two, or one where nothing before the product is learned. Products
that are computed again to save memory do not count.
"""

from typing import Any


def linear(rows: int, inputs: int, outputs: int) -> float:
    """Returns the FLOPs of a linear layer, forward."""
    return 2.0 * rows * inputs * outputs


def bert(text: Any, b: int, tokens: int) -> float:
    """Returns the FLOPs of the text encoder, forward.

    Each layer has four projections, two products of attention and the feed-forward part.
    """
    e, n = text.hidden_size, b * tokens
    attention = 4 * linear(n, e, e) + 2 * linear(n, tokens, e)
    return text.num_layers * (attention + linear(n, e, text.intermediate_size) + linear(n, text.intermediate_size, e))


def afa(model: Any, b: int, regions: int, width: int, tokens: int, *, trainable: bool) -> float:
    """Returns the FLOPs of both branches and the cosines, gradient included."""
    d, total = model.width, 3 * linear(b, model.width, b)
    for rows, inputs, mlp, learned in (
        (regions, width, True, False),
        (tokens, model.text.hidden_size, model.enhancement.text == "mlp", trainable),
    ):
        n = b * rows
        total += (2 + learned) * (linear(n, inputs, d) + mlp * linear(n, inputs, d // 2))
        total += 3 * mlp * linear(n, d // 2, d)
        # Each product is of one half of the rows with the other half: cosines once, merges three times.
        total += model.aggregation.enabled * linear(n, d, rows)
    return total


def cpfean(model: Any, b: int, regions: int, width: int, tokens: int, *, trainable: bool) -> float:
    """Returns the FLOPs of both sides and of all pairs (the product of regions and words), gradient included."""
    d, r, n = model.width, b * regions, b * tokens
    visual = 4 * linear(r, d, d) + 2 * linear(r, regions, d) + 2 * linear(r, d, 2 * d)
    words = 3 * linear(n, d, d) + 2 * linear(n, tokens, d)
    inputs = 2 * linear(r, width, d) + (2 + trainable) * linear(n, model.text.hidden_size, d)
    return inputs + 3 * (model.graph.layers * visual + model.words.layers * words + linear(r, d, n))


def step_flops(config: Any, *, regions: int, width: int, tokens: int) -> float | None:
    """Returns the FLOPs of a step of the config; None for the baselines and a BiGRU, which are not counted."""
    model, b = config.model, config.data.batch_size
    if model.name not in ("afa", "cpfean") or model.text.encoder != "bert":
        return None
    shapes = (b, regions, width, tokens)
    total = {"afa": afa, "cpfean": cpfean}[model.name](model, *shapes, trainable=model.text.trainable)
    return total + (3 * bert(model.text, b, tokens) if model.text.trainable else 0.0)
