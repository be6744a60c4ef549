"""Makes an exported model of a checkpoint of the authors of AFA or VSE∞."""

import pathlib

from itm_jax.data.text.text_input import make_text_input
from itm_jax.hub.alone import alone
from itm_jax.hub.card import model_card
from itm_jax.hub.folder import rounded
from itm_jax.hub.matcher import fingerprint_of
from itm_jax.hub.write import shareable, write_folder
from itm_jax.models.variables import count_params
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
    read = read_authors(path, kind, text=text)
    config = shareable(alone(read.config))
    config.data.max_tokens = min(config.data.max_tokens, read.bert.max_positions)
    words = make_text_input(config, read.tokenizer, {}, bert=read.bert)
    stored = rounded(read.variables, "float32")
    shape = (REGIONS, read.features)
    said = [f"{key} {read.details[key]:g}" for key in ("epoch", "best_rsum") if key in read.details]
    origin = (
        f"Its weights were converted from `{path.name}`, a checkpoint of the authors' PyTorch code "
        f"([{CODE[kind]}](https://github.com/{CODE[kind]}))"
        + (f"; the file says of itself: {', '.join(said)} (not measured here)." if said else ".")
    )
    about = {"origin": origin, "license": license_name, "rounded": "float32"}
    card = model_card(
        name=out.resolve().name,
        config=config,
        shape=shape,
        params=count_params(stored["params"]),
        extractor=None,
        pixels=False,
        results={},
        dtype="float32",
        about=about,
    )
    write_folder(
        out,
        config=config,
        text=words,
        variables=stored,
        shape=shape,
        fingerprint=fingerprint_of(config, words, stored),
        extractor=None,
        results={},
        card=card,
        dtype="float32",
        about=about,
    )
    return read
