"""Reads Hugging Face BERT checkpoints (safetensors) as parameters of `modules.bert.Bert`, without PyTorch.

Names and shapes must fit exactly. On the Hugging Face side they are those of transformers' BertModel.
"""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from itm_jax.errors import InputError
from itm_jax.files import LFS_HINT, is_lfs_pointer, read_json
from itm_jax.modules.bert import BertConfig
from itm_jax.pretrained.directory import cache_hint, checkpoint_dir
from itm_jax.pretrained.safetensors_files import read_safetensors
from itm_jax.pretrained.tensor_maps import Table, fit, in_a_line
from itm_jax.pretrained.tokenizer_files import read_tokenizer

# Parts of a checkpoint that are not the encoder: pretraining and task heads, the pooler, the stored position index.
NOT_ENCODER = re.compile(r"^(cls|pooler|classifier|qa_outputs|lm_head|dropout)\.|^embeddings\.position_ids$")
SHOWN = 3  # of the parameters that do not fit
# What the names of an encoder's tensors may begin with, where PyTorch's DataParallel, a model with a head, or
# sentence-transformers saved them.
PREFIXES = ("module.", "bert.", "0.auto_model.", "auto_model.")
CONFIG_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_positions",
}
# Those that a config.json may leave out; the defaults of BertConfig are those of transformers.
OPTIONAL_KEYS = {
    "type_vocab_size": "type_vocab_size",
    "hidden_act": "activation",
    "layer_norm_eps": "layer_norm_eps",
    "hidden_dropout_prob": "dropout",
}


def read_config(directory: pathlib.Path) -> BertConfig:
    """Reads the architecture in `config.json`. Raises InputError where this encoder does not implement it."""
    path = directory / "config.json"
    if is_lfs_pointer(path):
        raise InputError(f"{path}: {LFS_HINT}")
    values = read_json(path, cache_hint(directory))
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds a {type(values).__name__}, expected an object with the architecture")
    if values.get("model_type", "bert") != "bert":
        raise InputError(f"{path}: model_type is {values['model_type']!r}; only BERT-type encoders can be loaded")
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(f"{path}: position_embedding_type {values['position_embedding_type']!r} is not supported")
    missing = [k for k in CONFIG_KEYS if k not in values]
    if missing:
        raise InputError(f"{path}: missing {', '.join(missing)}")
    keys = CONFIG_KEYS | OPTIONAL_KEYS
    config = BertConfig(**{ours: values[theirs] for theirs, ours in keys.items() if theirs in values})
    if problem := config.problem:
        field, _, what = problem.partition(" ")
        raise InputError(f"{path}: {next(theirs for theirs, ours in keys.items() if ours == field)} {what}")
    return config


def expected_tensors(c: BertConfig) -> Table:
    """Returns the table of BertModel's tensors under our parameters."""
    e, h, w = c.hidden_size, c.num_heads, c.hidden_size // c.num_heads
    out: dict[str, tuple[tuple[str, ...], tuple[int, ...], bool]] = {}

    def norm(theirs: str, *ours: str) -> None:
        out[f"{theirs}.weight"] = ((*ours, "scale"), (e,), False)
        out[f"{theirs}.bias"] = ((*ours, "bias"), (e,), False)

    def dense(theirs: str, kernel: tuple[int, ...], bias: tuple[int, ...], *ours: str) -> None:
        out[f"{theirs}.weight"] = ((*ours, "kernel"), kernel, True)
        out[f"{theirs}.bias"] = ((*ours, "bias"), bias, False)

    tables = {"word": c.vocab_size, "position": c.max_positions, "token_type": c.type_vocab_size}
    for name, rows in tables.items():
        ours = "type" if name == "token_type" else name
        out[f"embeddings.{name}_embeddings.weight"] = ((ours, "embedding"), (rows, e), False)
    norm("embeddings.LayerNorm", "norm")
    for i in range(c.num_layers):
        theirs, ours = f"encoder.layer.{i}", f"layer_{i}"
        for name in ("query", "key", "value"):
            dense(f"{theirs}.attention.self.{name}", (e, h, w), (h, w), ours, "attention", name)
        dense(f"{theirs}.attention.output.dense", (h, w, e), (e,), ours, "attention", "output")
        norm(f"{theirs}.attention.output.LayerNorm", ours, "attention_norm")
        dense(f"{theirs}.intermediate.dense", (e, c.intermediate_size), (c.intermediate_size,), ours, "intermediate")
        dense(f"{theirs}.output.dense", (c.intermediate_size, e), (e,), ours, "output")
        norm(f"{theirs}.output.LayerNorm", ours, "output_norm")
    return out


def read_tensors(directory: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns all tensors of the directory's safetensors files, under BertModel's names (legacy names are mapped)."""
    out: dict[str, np.ndarray] = {}
    for name, value in read_safetensors(directory).items():
        plain = _plain_name(name)
        if plain in out:
            raise InputError(f"{directory}: {name}: a second tensor for {plain}; keep those of one encoder")
        out[plain] = value
    return out


def _plain_name(name: str) -> str:
    while prefix := next((p for p in PREFIXES if name.startswith(p)), ""):
        name = name.removeprefix(prefix)
    return re.sub(r"LayerNorm\.(gamma|beta)$", lambda m: "LayerNorm." + {"gamma": "weight", "beta": "bias"}[m[1]], name)


def convert(tensors: Mapping[str, np.ndarray], config: BertConfig, source: str) -> dict[str, Any]:
    """Returns BertModel's tensors as our parameter tree, in float32.

    Raises:
        InputError: parameters are missing, unexpected or of another shape; the message names the first ones.
    """
    params, problems = fit(tensors, expected_tensors(config), NOT_ENCODER)
    if problems:
        raise InputError(
            f"{source}: the weights do not fit its config.json: {in_a_line(problems, SHOWN)}{_other_prefix(tensors)}"
        )
    return params


def _other_prefix(tensors: Mapping[str, np.ndarray]) -> str:
    """Says which prefix the names of the encoder have, where it is not one of PREFIXES; empty where they have none."""
    ending = "embeddings.word_embeddings.weight"
    prefixes = [name.removesuffix(ending) for name in tensors if name.endswith(ending)]
    if not prefixes or "" in prefixes:
        return ""
    return f"; the encoder's names begin with {prefixes[0]!r}: save its tensors without it"


def load_tokenizer(directory: pathlib.Path):
    """Loads the checkpoint's own tokenizer, a fast one of transformers.

    Its files must exist, and it must have [MASK], [CLS], [SEP] and [PAD] tokens.
    """
    for name in ("tokenizer.json", "vocab.txt"):
        if is_lfs_pointer(directory / name):
            raise InputError(f"{directory / name}: {LFS_HINT}")
    if not any((directory / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        # transformers would quietly make up a tokenizer that maps everything to [UNK]
        raise InputError(f"{directory}: no tokenizer (tokenizer.json or vocab.txt)")
    from transformers import AutoTokenizer

    if (directory / "tokenizer.json").is_file():
        read_tokenizer(directory / "tokenizer.json", "download the checkpoint again")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
    except Exception as e:  # transformers raises many kinds for broken or missing files
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise InputError(f"{directory}: no usable tokenizer (tokenizer.json or vocab.txt): {reason}") from None
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(f"{directory}: its tokenizer has no fast form (tokenizer.json or vocab.txt)")
    for role in ("mask_token_id", "cls_token_id", "sep_token_id", "pad_token_id"):
        if getattr(tokenizer, role) is None:
            raise InputError(f"{directory}: its tokenizer has no {role.removesuffix('_token_id').upper()} token")
    return tokenizer


def load_bert(path_or_name: str):
    """Loads a BERT-type checkpoint from a directory or by hub name.

    Args:
        path_or_name: directory with config.json, model.safetensors and tokenizer files, or a hub name.

    Returns:
        (config, params, tokenizer): a `BertConfig`, the float32 parameters of `Bert(config)` as NumPy arrays, and the
        checkpoint's transformers tokenizer.

    Raises:
        InputError: files are missing or damaged, or a parameter is missing, unexpected or of another shape.
    """
    directory = checkpoint_dir(path_or_name)
    config = read_config(directory)
    params = convert(read_tensors(directory), config, str(directory))
    tokenizer = load_tokenizer(directory)
    check_vocabulary(tokenizer, config.vocab_size, str(directory))
    return config, params, tokenizer


def check_vocabulary(tokenizer: Any, vocab_size: int, source: str) -> None:
    """Raises InputError where a tokenizer has ids for which an embedding table of `vocab_size` rows has no row."""
    # transformers appends special tokens that a vocabulary lacks.
    added = [token for token, i in tokenizer.get_vocab().items() if i >= vocab_size]
    if added:
        raise InputError(
            f"{source}: the tokenizer has {len(tokenizer)} entries, the embedding table {vocab_size}; it has no row "
            f"for {', '.join(sorted(added)[:5])}"
        )
