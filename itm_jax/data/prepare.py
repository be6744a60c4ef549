"""Completes a config, once, into a frozen copy, and opens the splits and the text side that it names.

The text side is the tokenizer, the vocabulary and the pretrained encoder (`TextInput`).

The code that follows `prepare` reads complete values: the sizes of the text encoder, the fields that model and variant
decide, the priors that the data set has. The config that is handed in is never changed.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections

from itm_jax.config.default import default_config
from itm_jax.config.derived import complete
from itm_jax.config.fields import check_evaluable
from itm_jax.config.model_fields import fields_of, uses_edges
from itm_jax.config.plugins import is_own
from itm_jax.config.sections import Alignment, read_section
from itm_jax.config.validation import model_problems, validate
from itm_jax.data.labels import label_bank, label_indices, learns_labels
from itm_jax.data.pipeline import TextSplit, usable_buckets
from itm_jax.data.splits import read_splits
from itm_jax.data.text.kept import keeps_text
from itm_jax.data.text.kinds import kinds
from itm_jax.data.text.states import frozen_states
from itm_jax.data.text.text_input import TextInput, load_text
from itm_jax.data.text.tokens import tokenize
from itm_jax.errors import InputError
from itm_jax.files import cache_dir
from itm_jax.structs import Split


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A completed config with its text side, and the splits that were asked for, in the order of their names."""

    config: ml_collections.FrozenConfigDict
    text: TextInput
    splits: tuple[Split, ...]

    def with_text(self, split: Split) -> TextSplit:
        """Returns a split with its captions as tokens and, for a frozen encoder, as hidden states."""
        return with_text(self.config, split, self.text)


def prepare(
    config,
    names: Sequence[str],
    *,
    workdir: pathlib.Path | None = None,
    trained: ml_collections.ConfigDict | None = None,
    has_checkpoint: bool = False,
    text_params: Any = None,
) -> Prepared:
    """Completes a config and opens splits.

    Args:
        config: any config; it stays as it is.
        names: the splits to open. Without `trained` the first one is the train split, which decides the priors.
        workdir: the run's directory. Once the run has begun, its tokenizer or vocabulary is read from there.
        trained: the config of the finished run that is evaluated; it decides the priors.
        has_checkpoint: whether the run has a checkpoint; a fine-tuned encoder then needs no other weights.
        text_params: the parameters of a frozen encoder, where they are in memory (with `trained`).

    Raises:
        InputError: a field is invalid, data or text side are not usable, or the config differs from `trained` in a
            field other than the data that is evaluated.
    """
    validate(config)
    if trained is None:
        return complete_on(config, read_splits(config, names), workdir=workdir, has_checkpoint=has_checkpoint)
    _check_own_model(config)
    text = load_text(config, workdir=workdir, has_checkpoint=has_checkpoint, params=text_params)
    completed = _with_priors_of_run(_with_text_fields(complete(config), text), trained)
    check_evaluable(completed, trained, places=workdir is not None and not keeps_text(workdir))
    return Prepared(ml_collections.FrozenConfigDict(completed), text, tuple(read_splits(config, names)))


def complete_on(
    config,
    splits: Sequence[Split],
    *,
    workdir: pathlib.Path | None = None,
    text: TextInput | None = None,
    has_checkpoint: bool = False,
) -> Prepared:
    """Completes a valid config with splits that are already open; the first one is the train split.

    Raises:
        InputError: text side or config are not usable, or the config asks for a prior that the train split lacks.
    """
    _check_own_model(config)
    if text is None:
        text = load_text(config, workdir=workdir, captions=splits[0].captions, has_checkpoint=has_checkpoint)
    completed = with_priors(_with_text_fields(complete(config), text), splits[0])
    return Prepared(ml_collections.FrozenConfigDict(completed), text, tuple(splits))


def _check_own_model(config) -> None:
    """Raises InputError where a setting does not fit a model of the user's own, which is first loaded here."""
    for problem in model_problems(config) if is_own(config.model.name) else ():
        raise InputError(problem)


def _with_text_fields(config: ml_collections.ConfigDict, text: TextInput) -> ml_collections.ConfigDict:
    config.model.text.update(text.fields)
    return config


def with_priors(config: ml_collections.ConfigDict, train: Split) -> ml_collections.ConfigDict:
    """Sets the fields of `model.regions` that are not set: a prior is used where the train split has its data.

    Where the train split has no boxes, all pairs of regions attend to each other, and `model.graph.iou` becomes None.
    """
    model, regions, graph = fields_of(config.model.name), config.model.regions, config.model.graph
    if model.labels == "index" and train.labels is not None and not regions.label_names:
        regions.label_names = tuple(train.label_names)
    for name, used in (("boxes", model.boxes), ("labels", model.labels == "encoded")):
        available = getattr(train, name) is not None
        if used and regions[name] and not available:
            raise InputError(f"config.model.regions.{name}=True: {train.source} has no {name}; leave the field out")
        if used and regions[name] is None:
            regions[name] = available
    if model.boxes:
        _set_neighbourhood(graph, train)
    if model.labels == "encoded" and regions.labels and learns_labels(config) and not regions.label_names:
        regions.label_names = tuple(train.label_names)
    if (
        model.reads is not None
        and model.reads_field("model.alignment")
        and read_section(Alignment, config.model.alignment).uses_prior
        and train.caption_counts.max() < 2
    ):
        raise InputError(
            f"config.model.alignment.gamma={config.model.alignment.gamma}: {train.source} has one caption per image, "
            "and the corpus prior needs several; set it to 0"
        )
    return config


def _set_neighbourhood(graph: ml_collections.ConfigDict, train: Split) -> None:
    """Sets `graph.iou` to None where all pairs of regions attend: where it is -1, or the train split has no boxes."""
    usual = default_config().model.graph
    if graph.iou is not None and graph.iou < 0:
        graph.iou = None
    if graph.layers and train.boxes is None:
        for name in ("iou", "filter"):
            if graph[name] not in (usual[name], None):
                raise InputError(f"config.model.graph.{name}={graph[name]}: {train.source} has no boxes; leave it out")
        graph.iou = None  # all pairs, also on a split that has boxes


def _with_priors_of_run(config: ml_collections.ConfigDict, trained) -> ml_collections.ConfigDict:
    """Sets the fields of `model.regions` that are not set, and a `graph.iou` of None, as in the finished run."""
    for name, value in trained.model.regions.items():
        if config.model.regions[name] in (None, ()):
            config.model.regions[name] = value
    if trained.model.graph.iou is None:
        config.model.graph.iou = None
    return config


def reads_boxes(config) -> bool:
    """Returns whether the model of a completed config reads boxes: as a prior, or for its graph of regions."""
    graph, used = config.model.graph, fields_of(config.model.name).boxes
    return bool(used and (config.model.regions.boxes or (graph.layers and graph.iou is not None)))


def check_priors(config, split: Split) -> None:
    """Raises InputError where a split lacks boxes, labels or dependency edges that the run's model needs."""
    model, graph = fields_of(config.model.name), config.model.graph
    for name, used in (("boxes", model.boxes), ("labels", model.labels == "encoded")):
        if used and config.model.regions[name] and getattr(split, name) is None:
            raise InputError(
                f"{split.source}: has no {name}, which config.model.regions.{name}=True needs; add them, or train with "
                f"--config.model.regions.{name}=False"
            )
    if model.boxes and graph.layers and graph.iou is not None and split.boxes is None:
        raise InputError(
            f"{split.source}: has no boxes, which config.model.graph.iou={graph.iou} needs; add them, or train with "
            "--config.model.graph.iou=-1 (all pairs)"
        )
    if uses_edges(config.model) and split.edges is None:
        raise InputError(
            f"{split.source}: has no dependency edges, which config.model.words.graph=sparse needs; add "
            f"{split.name}_dependencies.json (itm_jax.convert dependencies writes it), or leave the field out"
        )


def with_text(config, split: Split, text: TextInput) -> TextSplit:
    """Returns a split with its captions as tokens and, for a frozen encoder, as hidden states.

    Args:
        config: a completed config.
        split: any split.
        text: the text side of the config.

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
        kinds=kinds(text.tokenizer),
    )
