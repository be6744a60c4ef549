"""The model card of an exported model: its README.md, with metadata as the Hugging Face hub reads it.

Every number in it comes from results.json or from the model itself.
"""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

import itm_jax
from itm_jax.viz.explain import explains

SYSTEMS = {
    "afa": ("AFA", "adaptive feature aggregation, arXiv 2401.09725", "2401.09725"),
    "cpfean": ("CPFEAN", "prominent-fragment alignment, arXiv 2311.02183", "2311.02183"),
    "vsepp": ("VSE++", "arXiv 1707.05612", "1707.05612"),
    "vseinf": ("VSE∞", "arXiv 2011.04305", "2011.04305"),
    "scan": ("SCAN", "arXiv 1803.08024", "1803.08024"),
}
DIRECTIONS = {"i2t": "image to text", "t2i": "text to image"}
UNKNOWN_LICENSE = (
    "Its author has not stated a licence. Ask before you use the model. The images and captions "
    "of its training may have licences of their own."
)


def model_card(
    *,
    name: str,
    config: Any,
    shape: tuple[int, int],
    params: int,
    extractor: Mapping[str, Any] | None,
    pixels: bool,
    results: Mapping[str, Any],
    dtype: str,
    about: Mapping[str, Any],
) -> str:
    """Returns the text of a model card.

    Args:
        name: of the model, as it is loaded: a folder or `user/name`.
        config: the completed config.
        shape: regions of an image and width of a feature.
        params: number of parameters.
        extractor: the content of extractor.json; None where nothing says what extracted the features.
        pixels: whether the model reads image files.
        results: the content of results.json; empty for a model that was not evaluated.
        dtype: in which the arrays are stored.
        about: `license`, an identifier of a licence as the hub knows it, such as `apache-2.0`; `origin`, where its
            weights come from in place of a training by itm_jax; `rounded`, the narrowest type that they ever had;
            `batch_dependent_results`, whether they were measured with embeddings that depend on their batch.
    """
    license_name, origin = about.get("license"), about.get("origin")
    system, paper, number = SYSTEMS.get(config.model.name, (config.model.name, "", ""))
    metadata = ModelCardData(
        license=license_name,
        library_name="itm_jax",
        tags=["image-text-matching", "image-text-retrieval", "jax", config.model.name.split(":")[0]]
        + ([f"arxiv:{number}"] if number else []),
        model_name=name,
        eval_results=_evaluations(results) or None,
    )
    source = f" ({paper})" if paper else ""
    trained = f"It was trained on `{config.data.name}`, and exported by itm_jax {itm_jax.__version__}."
    sections = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {name}",
        f"This is a model of the system {system}{source}. It gives a score to an image and a caption; a higher score "
        f"means a better match. {origin or trained}",
        _use(name, pixels=pixels, explained=explains(config.model)),
        _results(results, about),
        _facts(config, shape, params, extractor, results, dtype, training=not origin),
        _limits(config, shape, pixels=pixels, measured=bool(results)),
        f"## Licence\n\n{f'`{license_name}`' if license_name else UNKNOWN_LICENSE}",
    ]
    return "\n\n".join(sections) + "\n"


def _evaluations(results: Mapping[str, Any]) -> list[EvalResult]:
    """The recalls of the whole split, as the hub lists them."""
    full = results.get("protocols", {}).get("full", {})
    names = {f"{d}_r{k}": f"{words} R@{k}" for d, words in DIRECTIONS.items() for k in (1, 5, 10)} | {"rsum": "rSum"}
    return [
        EvalResult(
            task_type="image-text-retrieval",
            dataset_type=results["dataset"],
            dataset_name=results["dataset"],
            dataset_split=results["split"],
            metric_type=key,
            metric_name=words,
            metric_value=round(full[key], 2),
        )
        for key, words in names.items()
        if key in full
    ]


def _use(name: str, *, pixels: bool, explained: bool) -> str:
    images = (
        'model.score(["a.jpg", "b.jpg"], ["two dogs play in the snow"])  # [2 1], higher is better'
        + ('\nmodel.explain("a.jpg", "two dogs play in the snow")  # what decided' if explained else "")
        if pixels
        else "# regions: itm_jax.structs.Regions with features of the extractor of its training\n"
        'model.score(regions, ["two dogs play in the snow"])'
    )
    return f'## Use\n\n```python\nimport itm_jax\n\nmodel = itm_jax.load("{name}")\n{images}\n```'


def _results(results: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    protocols = {k: v for k, v in results.get("protocols", {}).items() if "rsum" in v}
    if not protocols:
        return "## Results\n\nThis model was not evaluated."
    counts = results["counts"]
    lines = [
        "## Results",
        "",
        f"`{results['dataset']}` {results['split']}: {counts['images']:,} images, {counts['captions']:,} captions. The "
        f"checkpoint was selected on {results['selected_on']} alone. A tie counts against the query. Seed "
        f"{results['seed']}, {results['devices']}. R@K is the percentage of queries with a right answer among the "
        "first K; rSum is the sum of the six.",
        "",
        "| gallery | " + " | ".join(f"{w} R@{k}" for w in DIRECTIONS.values() for k in (1, 5, 10)) + " | rSum |",
        "|---" * 8 + "|",
    ]
    for protocol, m in protocols.items():
        values = [f"{m[f'{d}_r{k}']:.1f}" for d in DIRECTIONS for k in (1, 5, 10)]
        lines.append(f"| {protocol} | {' | '.join(values)} | {m['rsum']:.1f} |")
    if about.get("rounded") == "bfloat16":
        lines += ["", "These numbers were measured in float32, before the weights were rounded to bfloat16."]
    if about.get("batch_dependent_results"):
        lines += [
            "",
            "These numbers were measured with embeddings that depend on the other items of their batch, as in the "
            "authors' code. This model encodes each item as in a batch of its own.",
        ]
    return "\n".join(lines)


def _facts(
    config: Any,
    shape: tuple[int, int],
    params: int,
    extractor: Mapping[str, Any] | None,
    results: Mapping[str, Any],
    dtype: str,
    *,
    training: bool,
) -> str:
    c, text = config.model, config.model.text
    source = (extractor or {}).get("source", {})
    encoder = text.pretrained or ("a BiGRU" if text.encoder == "gru" else "a small BERT")
    state = ("fine-tuned" if text.pretrained else "trained from scratch") if text.trainable else "frozen"
    train = results.get("data", {}).get(config.data.train_split, {})
    data = f"`{config.data.name}`" + (f", {train['images']:,} images" if "images" in train else "")
    facts = {
        "model": f"`{c.name}`" + (f", variant `{c.variant}`" if c.variant != "paper" else ""),
        "parameters": f"{params:,}" + ("" if text.trainable else ", without the frozen text encoder"),
        "joint width": c.width,
        "regions of an image": f"{shape[0]}, features {shape[1]} wide",
        "features": f"{source.get('backbone')}, boxes: {source.get('boxes')}" if source else "not recorded",
        "text encoder": f"{encoder}, {state}; at most {config.data.max_tokens} tokens",
        "training data": data,
        "training": f"{config.train.epochs:g} epochs, batch {config.data.batch_size}, "
        f"rate {config.optim.lr:g}, seed {config.seed}",
        "stored as": dtype,
    }
    if not training:
        del facts["training"], facts["training data"]
    rows = [f"| {key} | {value} |" for key, value in facts.items()]
    return "\n".join(
        ["## What it is", "", "| field | value |", "|---|---|", *rows, "", "`config.json` has every field."]
    )


def _limits(config: Any, shape: tuple[int, int], *, pixels: bool, measured: bool) -> str:
    reads = (
        "Images must go through the extractor that `extractor.json` names; `itm_jax.load` does that."
        if pixels
        else f"It reads features of {shape[1]} numbers for each region, and no image files."
    )
    points = [
        reads,
        f"A caption is cut after {config.data.max_tokens} tokens.",
        (f"It was measured on data like that of its training (`{config.data.name}`) alone. " if measured else "")
        + "On images, languages or kinds of captions that are not those of its training it may be much weaker.",
        "Scores order pairs. They are not probabilities, and you cannot compare scores of two models.",
        "It has the biases of the data that it, its text encoder and its extractor were trained on. Do not use it to "
        "decide about people.",
    ]
    return "## Limits\n\n" + "\n".join(f"- {point}" for point in points)
