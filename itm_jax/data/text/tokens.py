"""Captions as word pieces: a compact table from which padded batches are gathered without a loop."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from itm_jax.data.text.scripts import unseparated
from itm_jax.structs import Tokens

LAST_WORD = np.iinfo(np.int16).max  # of a caption that an edge can name


@dataclasses.dataclass(frozen=True)
class TokenTable:
    """All captions of a split, concatenated: caption c is `ids[offsets[c] : offsets[c + 1]]`.

    Attributes:
        ids: word pieces.
        word_ids: the word of each piece, numbered within its caption (`tokenize` says what a word is); -1 for [CLS] and
            [SEP].
        offsets: [t + 1].
        edges: the dependency edges of each caption, [t k 2], -1 after the last one; None where they are not needed.
        cut: the number of captions that were longer than the tokenizer's limit, and were cut.
        by_piece: whether each piece counts as a word, in words of scripts without spaces.
    """

    ids: np.ndarray
    word_ids: np.ndarray
    offsets: np.ndarray
    edges: np.ndarray | None = None
    cut: int = 0
    by_piece: bool = False

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each caption, [t]."""
        return np.diff(self.offsets)


def pad_edges(edges: Sequence[Sequence[Sequence[int]]]) -> np.ndarray:
    """Returns the edges of all captions as int16, [t k 2], -1 after a caption's last edge."""
    out = np.full((len(edges), max((len(e) for e in edges), default=0) or 1, 2), -1, np.int16)
    for row, caption_edges in zip(out, edges, strict=True):
        row[: len(caption_edges)] = np.minimum(caption_edges, LAST_WORD).reshape(-1, 2)  # further words are cut anyway
    return out


def tokenize(
    captions: Sequence[str],
    tokenizer: Tokenizer,
    chunk: int = 10_000,
    edges: Sequence[Sequence[Sequence[int]]] | None = None,
) -> TokenTable:
    """Tokenizes captions word by word.

    A word is a whitespace word. Where the captions do not separate words (`data.text.scripts`), each piece of a word in
    such a script is a word of its own, so that augmentation does not touch whole sentences. Dependency edges name
    whitespace words; with `edges` these stay.
    """
    scripts = () if edges is not None else unseparated(captions)
    ids, words, lengths, cut = [], [], [], 0
    for start in range(0, len(captions), chunk):
        split = [c.split() for c in captions[start : start + chunk]]
        for caption, encoding in zip(split, tokenizer.encode_batch(split, is_pretokenized=True), strict=True):
            ids.append(np.array(encoding.ids, np.int32))
            word = np.array([-1 if w is None else w for w in encoding.word_ids], np.int32)
            words.append(_by_piece(word, caption, scripts) if scripts else word)
            lengths.append(len(ids[-1]))
            cut += bool(encoding.overflowing)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    padded = None if edges is None else pad_edges(edges)
    none = np.zeros(0, np.int32)  # where there are no captions
    return TokenTable(np.concatenate([none, *ids]), np.concatenate([none, *words]), offsets, padded, cut, bool(scripts))


def _by_piece(word: np.ndarray, caption: Sequence[str], scripts: Sequence[re.Pattern[str]]) -> np.ndarray:
    """Returns the word of each piece, where every piece of a word in one of `scripts` is a word."""
    if not caption:
        return word
    apart = np.array([any(script.search(w) for script in scripts) for w in caption], bool)
    is_word = word >= 0
    begins = is_word & ((np.diff(word, prepend=-2) != 0) | apart[np.maximum(word, 0)])
    return np.where(is_word, np.cumsum(begins) - 1, -1).astype(np.int32)


def padded_length(longest: int, buckets: Sequence[int], limit: int) -> int:
    """Returns the smallest bucket that holds `longest` tokens and is not above `limit`, else `limit`."""
    return min(next((b for b in buckets if b >= longest), limit), limit)


def gather_tokens(table: TokenTable, rows: np.ndarray, length: int, states: np.ndarray | None = None) -> Tokens:
    """Returns the captions `rows`, padded to `length` tokens.

    Args:
        table: all captions of a split.
        rows: indices of the captions.
        length: in tokens.
        states: hidden states of a frozen encoder for the whole table, [sum of lengths, e].
    """
    position = np.arange(length)[None, :]
    mask = position < table.lengths[rows][:, None]
    index = np.minimum(table.offsets[rows][:, None] + position, len(table.ids) - 1)
    gathered = None
    if states is not None:
        gathered = np.zeros((*mask.shape, states.shape[1]), states.dtype)
        gathered[mask] = states[index[mask]]
    return Tokens(
        ids=np.where(mask, table.ids[index], 0).astype(np.int32),
        mask=mask,
        word_ids=np.where(mask, table.word_ids[index], -1).astype(np.int32),
        edges=None if table.edges is None else table.edges[rows].astype(np.int32),
        states=gathered,
    )
