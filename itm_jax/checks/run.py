"""The checks of `itm_jax.check`: config, data, text side, batch size, checkpoints and workdir, one after the other."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from itm_jax.buckets.store import is_url
from itm_jax.checks.precomp import check_names, check_places, check_split, scan_features, with_counts
from itm_jax.checks.text import check_tokens, note_annotations
from itm_jax.checks.together import check_together
from itm_jax.config.model_fields import uses_edges
from itm_jax.config.plugins import load
from itm_jax.config.validation import problems, split_problem
from itm_jax.data import pipeline
from itm_jax.data.alter import alter
from itm_jax.data.defects import Defects
from itm_jax.data.labels import label_indices, uses_bank
from itm_jax.data.prepare import check_priors, complete_on
from itm_jax.data.splits import local_place, read_split
from itm_jax.data.text.text_input import TextInput, load_text
from itm_jax.data.text.tokens import TokenTable
from itm_jax.devices.mesh import make_mesh
from itm_jax.errors import DamagedError, InputError
from itm_jax.evaluation.open_run import build_for_evaluation
from itm_jax.evaluation.truth import check_truth
from itm_jax.files import existing, free_space
from itm_jax.runs import checkpoints
from itm_jax.runs.checksums import check_files
from itm_jax.runs.restore import restore_variables
from itm_jax.runs.workdir import (
    check_data,
    check_extractor,
    check_text_of,
    check_width,
    check_workdir,
    read_data,
)
from itm_jax.structs import Split

SHOWN_GROUPS = 6
STATES = 3  # parameters and the two moments of Adam
KEPT = 5  # checkpoints on disk at one time: the two newest, the best of each, and one being written


def check(config, workdir: pathlib.Path | None = None) -> tuple[Defects, list[Split]]:
    """Returns all defects of a config, its data, its text side and, if set, its workdir; and the usable splits."""
    defects = Defects(strict=False)
    for problem in problems(config):
        defects.add_error(InputError(problem), "config")
    if defects.count:  # with invalid fields nothing else can be checked
        return defects, []
    splits = check_splits(config, defects)
    check_run(config, splits, workdir, defects)
    return defects, splits


def check_splits(config, defects: Defects) -> list[Split]:
    """Opens and checks the splits that the config names. Returns those that could be opened."""
    names = list(dict.fromkeys([config.data.train_split, config.data.dev_split, config.data.test_split]))
    if problem := split_problem(config):
        defects.add_error(InputError(problem), "config")
    opened = []
    for name in names:
        try:
            if config.data.source == "precomp":
                place = local_place(config.data, name)
                opened.append(check_split(place, name, defects, pairing=config.data.pairing))
            else:
                split = read_split(config, name)
                features = split.features
                read = lambda start, n, features=features: np.array(features[start : start + n])  # noqa: E731
                digests, regions = scan_features(split.source, read, features.shape, features.dtype, defects)
                opened.append((with_counts(split, regions), digests))
        except InputError as e:
            defects.add_error(e)
    usable = [(split, digests) for split, digests in opened if split is not None]
    if usable:
        check_together(usable, defects)
    if config.data.source == "precomp" and not is_url(config.data.dir):
        root = pathlib.Path(config.data.dir).expanduser()
        for directory in (d for d in (root, root / "precomp") if d.is_dir()):
            check_names(directory, names, defects)
        check_places(config.data.dir, names, defects)
    if config.data.source != "precomp":  # read_split has altered them
        return [split for split, _ in usable]
    altered = []
    for split, _ in usable:
        try:
            altered.append(alter(split, config.data, train=split.name == config.data.train_split))
        except InputError as e:
            defects.add_error(e)
    return altered


def describe(split: Split) -> str:
    """Describes a split without defects in one line."""
    images, regions, width = split.features.shape
    extras = [name for name in ("boxes", "labels", "edges") if getattr(split, name) is not None]
    repeated = "" if split.rows is None else ", rows of one image read once"
    fewer = "" if split.num_regions is None else f" ({_distribution(split.num_regions)})"
    counts = split.captions_per_image
    each = f"{counts} each" if isinstance(counts, int) else _distribution(counts)
    return (
        f"{split.name}: {images} images of {regions} x {width} {split.features.dtype}{fewer}{repeated}, "
        f"{len(split.captions)} captions ({each}, at most {max(len(c.split()) for c in split.captions)} words)"
        f"{', with ' + ', '.join(extras) if extras else ''}"
    )


def _distribution(numbers: np.ndarray) -> str:
    """Says how many images have how many regions or captions, in at most SHOWN_GROUPS groups."""
    values, images = np.unique(numbers, return_counts=True)
    parts = []
    for group in np.array_split(np.arange(len(values)), min(SHOWN_GROUPS, len(values))):
        low, high = values[group[0]], values[group[-1]]
        parts.append(f"{low if low == high else f'{low} to {high}'} in {images[group].sum()}")
    return f"{', '.join(parts)} images"


def check_run(config, splits: Sequence[Split], workdir: pathlib.Path | None, defects: Defects) -> None:
    """Reports what would stop a run of this config on these splits."""
    in_order = sorted(splits, key=lambda split: split.name != config.data.train_split)
    train = in_order[0] if in_order and in_order[0].name == config.data.train_split else None
    if train is None and config.model.text.encoder == "gru" and not config.model.text.vocab:
        return  # its vocabulary is built from the train captions, which have defects
    try:
        text = load_text(
            config,
            workdir=workdir,
            captions=None if train is None else train.captions,
            has_checkpoint=workdir is not None and bool(checkpoints.steps_of(workdir)),
        )
    except InputError as e:
        defects.add_error(e)
        return
    check_tokens(config, splits, text, defects)
    if train is None:
        return
    note_annotations(config, train, splits, defects)
    try:
        prepared = complete_on(config, in_order, workdir=workdir, text=text)
    except InputError as e:
        defects.add_error(e)
        return
    config = prepared.config
    try:
        for split in prepared.splits:
            check_priors(config, split)
        check_truth(config, prepared.splits)
        pipeline.steps_per_epoch(train, config.data.batch_size)
        make_mesh(config.data.batch_size)
    except InputError as e:
        defects.add_error(e)
        return
    if config.loss.function:
        _report(defects, load, config.loss.function, "loss.function")
    _, _, like = build_for_evaluation(config, _shapes(config, train, prepared.text))
    if config.init_from:
        other = pathlib.Path(config.init_from).expanduser()
        frozen = not config.model.text.trainable
        _report(defects, lambda: check_text_of(prepared.text, other, frozen=frozen))
        if not _report(defects, check_width, train, read_data(other), other):
            return
        _report(defects, restore_variables, other, like)  # reads and checks all of it
    if workdir:
        check_directory(config, splits, workdir, like, defects)


def _shapes(config, split: Split, text: TextInput) -> pipeline.TextSplit:
    """The split with two empty captions, which are enough for the shapes of the model's variables."""
    table = TokenTable(np.zeros(4, np.int32), np.full(4, -1, np.int32), np.array([0, 2, 4]))
    states = None
    if not config.model.text.trainable:
        assert text.bert is not None  # a frozen encoder is a BERT
        states = np.zeros((4, text.bert.hidden_size), config.model.text.cache_dtype)
    if uses_edges(config.model):
        table = dataclasses.replace(table, edges=np.full((2, 1, 2), -1, np.int16))
    bank = None
    if uses_bank(config, split):
        assert text.bert is not None  # a pretrained BERT makes the label bank
        bank = np.zeros((len(split.label_names), text.bert.hidden_size), np.float32)
    labels = label_indices(config, split)
    buckets = pipeline.usable_buckets(config)
    return pipeline.TextSplit(split, table, states, buckets, config.data.max_tokens, labels, bank)


def check_directory(config, splits: Sequence[Split], workdir: pathlib.Path, like, defects: Defects) -> None:
    """Reports a workdir that cannot be written, is another run's, holds damaged checkpoints, or is on a full disk."""
    if workdir.exists() and not workdir.is_dir():
        defects.add(workdir, "workdir", "not a directory; take another --workdir")
        return
    directory = existing(workdir)
    if not os.access(directory, os.W_OK | os.X_OK):
        defects.add(directory, "workdir", "cannot be written; take another --workdir")
        return
    need = KEPT * STATES * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(like["params"]))
    free = free_space(directory)
    if free < need:
        what = f"{free / 1e9:.2f} GB are free, the checkpoints of this model take up to {need / 1e9:.2f} GB"
        defects.add(directory, "space", f"{what}; make room, or take another --workdir")
    if _report(defects, check_workdir, config, workdir):
        _report(defects, lambda: check_data(read_data(workdir), {s.name: s for s in splits}, workdir))
        for split in splits:
            if not _report(defects, check_extractor, split, read_data(workdir), workdir):
                break
    for step in checkpoints.steps_of(workdir):
        folder = workdir / checkpoints.FOLDER / str(step)
        try:
            checkpoints.read_record(workdir, step)
            check_files(folder)
        except DamagedError as e:
            defects.add(folder, "checkpoint", f"{e}; training will move it away and continue from the one before")


def _report(defects: Defects, function, *arguments) -> bool:
    """Calls a function and reports its error; returns whether there was none."""
    try:
        function(*arguments)
    except InputError as e:
        defects.add_error(e)
        return False
    return True
