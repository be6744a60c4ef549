"""Dependency edges of captions by a spaCy parser: `{split}_dependencies.json` for CPFEAN's sparse word graph."""

import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from itm_jax.data.precomp.reader import find_directory, splits_in
from itm_jax.data.precomp.single_files import read_captions
from itm_jax.errors import InputError
from itm_jax.files import write_whole


def load_parser(name: str) -> Any:
    """The spaCy pipeline of that name.

    Raises:
        InputError: spaCy or the pipeline is not installed, or it has no parser.
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
    """[head, dependent] indices of whitespace words, caption by caption; the root has no edge.

    Raises:
        InputError: the pipeline does not say what depends on what.
    """
    from spacy.tokens import Doc

    docs = (Doc(parser.vocab, words=caption.split()) for caption in captions)
    for doc in parser.pipe(docs):
        if not doc.has_annotation("DEP"):
            raise InputError(f"--parser: the pipeline {parser.meta['name']} has no dependency parser")
        yield [[token.head.i, token.i] for token in doc if token.head.i != token.i]


def write_dependencies(directory: str, splits: Sequence[str] | None, parser: Any) -> list[pathlib.Path]:
    """Writes `{split}_dependencies.json` beside the captions of each split, default all; returns the files.

    Raises:
        InputError: a split is not there, or a file cannot be written.
    """
    written = []
    for split in splits or splits_in(pathlib.Path(directory).expanduser()) or ["train"]:
        root = find_directory(directory, split)
        captions = read_captions(root / f"{split}_caps.txt")
        path = root / f"{split}_dependencies.json"
        write_whole(path, json.dumps(list(edges_of(captions, parser))))
        written.append(path)
    return written
