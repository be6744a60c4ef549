"""Fingerprints of a tokenizer and of the weights of an encoder."""

import hashlib
import json
from typing import Any

import jax
import numpy as np
from tokenizers import Tokenizer

from itm_jax.errors import InputError

# Texts whose word pieces tell apart tokenizers with one vocabulary: case, accents, punctuation, scripts, spaces.
PROBES = (
    "A man's DOG jumps over 12,500 café tables -- naïvely!",
    "Zwei Hunde laufen über die Straße.",
    "两只狗在雪地里玩耍 二匹の犬が雪の中で遊ぶ สุนัขสองตัว 두 마리의 개",
    "e\u0301 fi ﬁ Ⅳ ① 😀 \t tab\u00a0space\u200b [MASK] [CLS] <b>x</b>",
)


def without_limits(tokenizer: Tokenizer) -> Tokenizer:
    """Returns a copy of a tokenizer that neither cuts nor pads."""
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.no_truncation()
    plain.no_padding()
    return plain


def of_tokenizer(tokenizer: Tokenizer, source: str = "the tokenizer") -> str:
    """Returns a fingerprint of a tokenizer: its vocabulary, and what it makes of some texts.

    It is the same in every version of `tokenizers` that makes the same word pieces.

    Raises:
        InputError: it cannot encode the texts; the message names its `source`.
    """
    plain = without_limits(tokenizer)
    vocabulary = sorted(plain.get_vocab().items(), key=lambda item: (item[1], item[0]))
    try:
        encoded = plain.encode_batch([text.split() for text in PROBES], is_pretokenized=True)
    except Exception as e:  # tokenizers raises plain Exceptions
        raise InputError(f"{source}: its tokenizer cannot encode a text ({e}); get its files again") from None
    pieces = [encoding.ids for encoding in encoded]
    return hashlib.sha256(json.dumps([vocabulary, pieces]).encode()).hexdigest()[:32]


def of_weights(params: Any) -> str:
    """Returns a fingerprint of parameters: the names, shapes and values of all arrays."""
    digest = hashlib.sha256()
    leaves = sorted((jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params))
    for name, leaf in leaves:
        digest.update(f"{name} {leaf.shape} {leaf.dtype}".encode())
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()[:32]
