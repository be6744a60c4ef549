"""Converts a checkpoint of the authors of AFA or VSE∞ to an exported folder."""

import pathlib

from itm_jax.data.text.text_input import make_text_input
from itm_jax.hub.batch_independent import batch_independent
from itm_jax.hub.write import Contents, write_folder
from itm_jax.pretrained.authors import AuthorsModel, read_authors

REGIONS = 36  # of an image in the published features; the file does not say how many it was trained with
CODE = {"itmafa": "wzhings/itmAFA", "vse_infty": "woodfrog/vse_infty"}


def import_checkpoint(
    path: pathlib.Path, kind: str, out: pathlib.Path, *, text: str, license_name: str | None = None
) -> AuthorsModel:
    """Writes an exported folder with the weights of a checkpoint; returns what was read.

    Args:
        path: the authors' file.
        kind: whose code wrote it, a key of `pretrained.authors.KINDS`.
        out: the folder.
        text: directory or hub name of the BERT whose tokenizer it was trained with.
        license_name: for the model card.

    Raises:
        InputError: the file cannot be read as such a checkpoint, or the folder cannot be written.
    """
    authors = read_authors(path, kind, text=text)
    config = batch_independent(authors.config)
    config.data.max_tokens = min(config.data.max_tokens, authors.bert.max_positions)
    notes = [f"{key} {authors.details[key]:g}" for key in ("epoch", "best_rsum") if key in authors.details]
    origin = (
        f"Its weights were converted from `{path.name}`, a checkpoint of the authors' PyTorch code "
        f"([{CODE[kind]}](https://github.com/{CODE[kind]}))"
        + (f"; the file says of itself: {', '.join(notes)} (not measured here)." if notes else ".")
    )
    contents = Contents(
        config=config,
        text=make_text_input(config, authors.tokenizer, {}, bert=authors.bert),
        variables=authors.variables,
        shape=(REGIONS, authors.features),
        extractor=None,
        results={},
        about={"origin": origin, "license": license_name, "rounded": "float32"},
    )
    write_folder(out, contents, name=None, dtype="float32")
    return authors
