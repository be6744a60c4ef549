"""Completes a config, and reads the data and the text side that it names."""

from itm_jax.config.default import default_config
from itm_jax.config.model_fields import uses_edges
from itm_jax.config.plugins import is_own
from itm_jax.data.labels import _learned, label_bank, label_indices
from itm_jax.data.pipeline import TextSplit, usable_buckets
from itm_jax.data.text.states import frozen_states
from itm_jax.data.text.text_input import TextInput
from itm_jax.data.text.tokens import tokenize
from itm_jax.errors import InputError
from itm_jax.files import cache_dir
from itm_jax.structs import Split


def fill_in_priors(config, train: Split) -> None:
    """Decides, in place, the fields of `model.regions` that are not set: a prior is used where the data has it.

    Without boxes in the train split all pairs of regions attend to each other, and `model.graph.iou` says so.

    Raises:
        InputError: a prior is asked for that the data does not have.
    """
    regions = config.model.regions
    if is_own(config.model.name) and train.labels is not None and not regions.label_names:
        regions.label_names = tuple(train.label_names)
    if config.model.name != "cpfean":
        return
    for name in ("boxes", "labels"):
        there = getattr(train, name) is not None
        if regions[name] and not there:
            raise InputError(f"config.model.regions.{name}=True: {train.source} has no {name}; leave the field out")
        regions[name] = there if regions[name] is None else regions[name]
    graph, usual = config.model.graph, default_config().model.graph
    if graph.iou is not None and graph.iou < 0:
        graph.iou = None
    if graph.layers and train.boxes is None:
        for name in ("iou", "filter"):
            if graph[name] not in (usual[name], None):
                raise InputError(f"config.model.graph.{name}={graph[name]}: {train.source} has no boxes; leave it out")
        graph.iou = None  # all pairs, also on a split that has boxes
    if config.model.alignment.gamma and train.captions_per_image < 2:
        raise InputError(
            f"config.model.alignment.gamma={config.model.alignment.gamma}: {train.source} has one caption per image; the "
            "corpus prior needs several"
        )
    if regions.labels and _learned(config) and not regions.label_names:
        regions.label_names = tuple(train.label_names)


def take_priors(config, trained) -> None:
    """Fields of `model.regions` that are not set become, in place, those of the finished run `trained`."""
    for name, value in trained.model.regions.items():
        if config.model.regions[name] in (None, ()):
            config.model.regions[name] = value
    if trained.model.graph.iou is None:
        config.model.graph.iou = None


def check_priors(config, split: Split) -> None:
    """Raises InputError where a split lacks what the run's priors, decided by its train split, or its word graph need."""
    if config.model.name != "cpfean":
        return
    for name in ("boxes", "labels"):
        if config.model.regions[name] and getattr(split, name) is None:
            raise InputError(
                f"{split.source}: has no {name}, which config.model.regions.{name}=True needs; add them, or train with "
                f"--config.model.regions.{name}=False"
            )
    if config.model.graph.layers and config.model.graph.iou is not None and split.boxes is None:
        raise InputError(
            f"{split.source}: has no boxes, which config.model.graph.iou={config.model.graph.iou} needs; add them, or train "
            "with --config.model.graph.iou=-1 (all pairs)"
        )
    if uses_edges(config.model) and split.edges is None:
        raise InputError(
            f"{split.source}: no dependency edges, which config.model.words.graph=sparse needs; add "
            f"{split.name}_dependencies.json (itm_jax.convert dependencies writes it), or leave the field out"
        )


def with_text(config, split: Split, text: TextInput) -> TextSplit:
    """Tokenizes a split's captions and, for a frozen encoder, encodes them or finds their states.

    Raises:
        InputError: the split lacks boxes, labels or dependency edges that the model needs.
    """
    check_priors(config, split)
    edges = split.edges if uses_edges(config.model) else None
    table = tokenize(split.captions, text.tokenizer, edges=edges)
    states = None
    if not config.model.text.trainable:
        directory, dtype = cache_dir(config.data.cache_dir), config.model.text.cache_dtype
        states = frozen_states(text, table, usable_buckets(config), directory=directory, dtype=dtype)
    return TextSplit(
        split,
        table,
        states,
        usable_buckets(config),
        config.data.max_tokens,
        labels=label_indices(config, split),
        label_bank=label_bank(config, split, text),
    )
