"""Parses captions with spaCy and writes `{split}_dependencies.json`, the dependency edges of CPFEAN's sparse graph."""

import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from itm_jax.data.precomp.captions import read_captions
from itm_jax.data.precomp.reader import find_directory, splits_in
from itm_jax.errors import InputError
from itm_jax.files import write_whole


def load_parser(name: str) -> Any:
    """Loads the spaCy pipeline of this name, or in this directory.

    Raises:
        InputError: spaCy or the pipeline is not installed.
    """
    try:
        import spacy
    except ImportError:
        raise InputError("spaCy is not installed; pip install -e '.[spacy]'") from None
    try:
        return spacy.load(name)
    except OSError:
        todo = "no such directory" if "/" in name else f"not installed; python -m spacy download {name}"
        raise InputError(f"--parser={name}: {todo}") from None


def edges_of(captions: Sequence[str], parser: Any) -> Iterator[list[list[int]]]:
    """Yields, caption by caption, a list of [head, dependent] indices of whitespace words; the root has no edge.

    Raises:
        InputError: the pipeline has no dependency parser.
    """
    from spacy.tokens import Doc

    docs = (Doc(parser.vocab, words=caption.split()) for caption in captions)
    for doc in parser.pipe(docs):
        if not doc.has_annotation("DEP"):
            raise InputError(
                f"--parser: the pipeline {parser.meta['name']} has no dependency parser; take one that has"
            )
        yield [[token.head.i, token.i] for token in doc if token.head.i != token.i]


def write_dependencies(directory: str, splits: Sequence[str] | None, parser: Any) -> list[pathlib.Path]:
    """Writes `{split}_dependencies.json` beside the captions of each split; returns the paths of the files.

    Args:
        directory: the directory, or the one above its `precomp/`.
        splits: their names; None: all that the directory has.
        parser: from `load_parser`.

    Raises:
        InputError: a split is missing, or a file cannot be written.
    """
    written = []
    for split in splits or splits_in(pathlib.Path(directory).expanduser()) or ["train"]:
        root = find_directory(directory, split)
        captions = read_captions(root / f"{split}_caps.txt")
        assert captions is not None  # defects are strict: the first one is raised
        path = root / f"{split}_dependencies.json"
        write_whole(path, json.dumps(list(edges_of(captions, parser))))
        written.append(path)
    return written
