"""Reads the checkpoints of the authors of AFA (GitHub wzhings/itmAFA) and of VSE∞ (woodfrog/vse_infty) as our models.

Their files are written by PyTorch: `model` is a list of the state dicts of the image and of the text encoder, `opt` has
the options of the training. They hold no tokenizer.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np
from tokenizers import Tokenizer

from itm_jax.config.default import default_config
from itm_jax.config.derived import complete
from itm_jax.errors import InputError
from itm_jax.modules.bert import BertConfig
from itm_jax.pretrained.authors_tensors import UNUSED, image_table, split_gates, text_table
from itm_jax.pretrained.directory import checkpoint_dir
from itm_jax.pretrained.huggingface import check_vocabulary, load_tokenizer, read_config
from itm_jax.pretrained.pytorch_files import read_pytorch
from itm_jax.pretrained.tensor_maps import fit, in_a_line

KINDS = {"itmafa": "afa", "vse_infty": "vseinf"}  # the name of our model
OPTIONS = ("embed_size", "img_dim", "precomp_enc_type", "no_imgnorm", "no_txtnorm", "data_name", "batch_size")
PLAIN = (bool, int, float, str)
SHOWN = 8  # tensors that do not fit, in a message
Tensors = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class AuthorsModel:
    """A model of the authors as one of ours.

    Attributes:
        config: a completed config. Its `model` section describes the network, `model.text.pretrained` is the directory
            or name that was given for the tokenizer, `data.name` and `data.batch_size` are those of the training. All
            other fields are the defaults.
        variables: `{"params", "batch_stats"}` of `models.build(config.model)`, NumPy float32.
        bert: architecture of the text encoder; its fields are also in `config.model.text`.
        tokenizer: for its captions. It neither cuts nor pads.
        features: width of a region's features.
        details: what the file says about itself: `kind`, `epoch`, `best_rsum`, and the options of the training, `opt`.
    """

    config: ml_collections.ConfigDict
    variables: dict[str, Any]
    bert: BertConfig
    tokenizer: Tokenizer
    features: int
    details: dict[str, Any]


def read_authors(path: pathlib.Path, kind: str, *, text: str) -> AuthorsModel:
    """Reads a checkpoint of itmAFA or of VSE∞, for region features and BERT.

    Encoded in the same batches, by the model in evaluation, items get the same embeddings as in the authors' code.
    For itmafa an embedding depends on its batch there, and so here (`config.model_fields.depends_on_batch`). With
    `config.model.aggregation.variant="official_single"` and the same variables, an item gets the embedding that their
    code gives it in a batch of its own.

    Args:
        path: the file, `model_best.pth` for example.
        kind: whose code wrote it, one of `KINDS`.
        text: directory or Hugging Face name of the BERT whose tokenizer and config.json are used, for their code
            bert-base-uncased. Its weights are not read.

    Raises:
        InputError: PyTorch is not installed; the file is no checkpoint, is damaged or holds code; it is of another
            kind, or of a network that we do not have; or a tensor is missing, unexpected or of another shape.
    """
    if kind not in KINDS:
        raise InputError(f"--kind={kind}: must be one of {', '.join(KINDS)}")
    images, captions, opt, details = _parts(path, read_pytorch(path))
    _check_network(path, kind, opt, images, captions)
    directory = checkpoint_dir(text, flag="--text")
    bert, tokenizer = read_config(directory), load_tokenizer(directory)
    check_vocabulary(tokenizer, bert.vocab_size, str(directory))
    gpo = kind == "vse_infty"
    found: dict[str, Any] = {}
    problems: list[str] = []
    for encoder, tensors, table in (
        ("image encoder", images, image_table(opt["img_dim"], opt["embed_size"], gpo=gpo)),
        ("text encoder", captions, text_table(bert, opt["embed_size"], gpo=gpo)),
    ):
        tree, misfits = fit(tensors, table, UNUSED, by="expected")
        problems += [f"{encoder}: {misfit}" for misfit in misfits]
        for collection, parts in tree.items():
            found.setdefault(collection, {}).update(parts)
    if problems:
        raise InputError(
            f"{path}: its tensors do not fit its options and {directory / 'config.json'}: {in_a_line(problems, SHOWN)}"
        )
    split_gates(found["params"])
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    config = _config(kind, opt, bert, text)
    return AuthorsModel(config, found, bert, backend, opt["img_dim"], {"kind": kind, **details})


def _parts(path: pathlib.Path, content: Any) -> tuple[Tensors, Tensors, dict[str, Any], dict[str, Any]]:
    """Returns the tensors of images and of captions, the options, and what else the file says."""
    if not isinstance(content, dict) or not {"model", "opt"} <= content.keys():
        holds = (
            f"a dict with {', '.join(map(str, list(content)[:5]))}"
            if isinstance(content, dict)
            else (f"a {type(content).__name__}")
        )
        raise InputError(
            f"{path}: holds {holds}; expected a dict with model and opt, as the authors' train.py saves it"
        )
    model = content["model"]
    if not (isinstance(model, list | tuple) and len(model) == 2 and all(isinstance(x, Mapping) for x in model)):
        raise InputError(f"{path}: model: expected a list of two state dicts, of the image and of the text encoder")
    opt = content["opt"] if isinstance(content["opt"], Mapping) else getattr(content["opt"], "__dict__", {})
    plain = {str(k): v for k, v in opt.items() if isinstance(v, PLAIN) or v is None}
    if missing := [name for name in OPTIONS if name not in plain]:
        raise InputError(f"{path}: opt: has no {', '.join(missing)}; the network cannot be told without")
    for name in ("embed_size", "img_dim", "batch_size"):
        value = plain[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 2:
            raise InputError(f"{path}: opt: {name} is {value!r}; expected an integer of at least 2")
    said = {name: content[name] for name in ("epoch", "best_rsum") if isinstance(content.get(name), int | float)}
    images, captions = (_tensors(path, x) for x in model)
    return images, captions, plain, {**said, "opt": plain}


def _tensors(path: pathlib.Path, state: Mapping[Any, Any]) -> Tensors:
    """Returns a state dict as NumPy arrays, under the names without the prefix of DataParallel."""
    import torch

    out: Tensors = {}
    for name, value in state.items():
        plain = str(name).removeprefix("module.")
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise InputError(f"{path}: {name}: a {type(value).__name__}; expected a dense tensor")
        if plain in out:
            raise InputError(f"{path}: {name}: a second tensor for {plain}")
        out[plain] = value.detach().to(torch.float32).numpy()
    return out


def _check_network(path: pathlib.Path, kind: str, opt: Mapping[str, Any], images: Tensors, captions: Tensors) -> None:
    """Raises InputError where the file is of the other kind, or of a network that we do not have."""
    if opt["precomp_enc_type"] != "basic":
        raise InputError(
            f"{path}: opt: precomp_enc_type is {opt['precomp_enc_type']!r}, a network that reads pixels; only models "
            "of region features (basic) can be converted"
        )
    for name in ("no_imgnorm", "no_txtnorm"):
        if opt[name]:
            raise InputError(
                f"{path}: opt: {name} is set, so that its embeddings have no unit length; ours always have, and such a "
                "model cannot be converted"
            )
    if any(re.match(r"(rnn|embed)\.", name) for name in captions):
        raise InputError(
            f"{path}: its text encoder is a BiGRU; only those with BERT can be converted, because a BiGRU's vocabulary "
            "is not in the file and its captions are split by another tokenizer"
        )
    has_gpo = any(name.startswith("gpool.") for name in (*images, *captions))
    if has_gpo != (kind == "vse_infty"):
        other = "itmafa" if kind == "vse_infty" else "vse_infty"
        what = "tensors of GPO (gpool)" if has_gpo else "no tensors of GPO (gpool)"
        raise InputError(f"{path}: has {what}, so that it is no checkpoint of --kind={kind}; pass --kind={other}")


def _config(kind: str, opt: Mapping[str, Any], bert: BertConfig, text: str) -> ml_collections.ConfigDict:
    config = default_config()
    config.data.name = re.sub(r"[^\w.-]", "_", str(opt["data_name"]).removesuffix("_precomp")) or config.data.name
    config.data.batch_size = opt["batch_size"]  # also of evaluation, where embeddings depend on their batch
    config.model.name = KINDS[kind]
    config.model.variant = "official" if kind == "itmafa" else "paper"
    config.model.width = opt["embed_size"]
    config.model.text.update({**dataclasses.asdict(bert), "pretrained": text})
    return complete(config)
