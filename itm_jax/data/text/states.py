"""Hidden states of a frozen text encoder, computed once per (weights, captions) and memory-mapped from a cache file."""

import contextlib
import functools
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from itm_jax.data.text.text_input import TextInput
from itm_jax.data.text.tokens import TokenTable, gather_tokens, padded_length
from itm_jax.devices import distributed
from itm_jax.errors import InputError
from itm_jax.files import STATES_PREFIX, map_npy, umask
from itm_jax.modules.bert import Bert, BertConfig
from itm_jax.terminal import Bar

BATCH = 256  # captions that are encoded at a time


def fingerprint(text: TextInput, table: TokenTable, dtype: str) -> str:
    """Returns a hash of everything that the hidden states depend on: weights, architecture, token ids, stored dtype."""
    digest = hashlib.sha256(f"{text.bert}{dtype}".encode())
    for leaf in jax.tree.leaves(text.params):
        digest.update(np.ascontiguousarray(leaf).data)
    for array in (table.ids, table.offsets):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


@functools.cache
def _encoder(bert: BertConfig) -> Callable:
    """The compiled encoder, one for each architecture: (parameters, ids, mask) -> hidden states."""
    return jax.jit(lambda params, ids, mask: Bert(bert).apply({"params": params}, ids, mask))


def encode_states(
    text: TextInput,
    table: TokenTable,
    buckets: Sequence[int],
    out: np.ndarray,
    *,
    batch: int = BATCH,
    shown: bool = True,
) -> None:
    """Writes the last hidden state of every token of the table to `out` [sum of lengths, e], in order.

    Args:
        text: the text side, with the weights of the encoder.
        table: the captions.
        buckets: padded lengths.
        out: where the hidden states go.
        batch: captions at a time.
        shown: whether a bar shows the progress.
    """
    assert text.bert is not None  # a frozen encoder is a BERT
    apply, params = _encoder(text.bert), jax.device_put(text.params)
    by_length = np.argsort(table.lengths, kind="stable")
    bar = Bar("captions encoded, once", len(by_length), short=True) if shown and distributed.first() else None
    with bar or contextlib.nullcontext():
        for start in range(0, len(by_length), batch):
            rows = by_length[start : start + batch]
            length = padded_length(int(table.lengths[rows].max()), buckets, text.bert.max_positions)
            padded = np.resize(rows, batch)  # the last batch is filled up, so that each length has one shape
            tokens = gather_tokens(table, padded, length)
            states = np.asarray(apply(params, tokens.ids, tokens.mask)).astype(out.dtype)
            for state, row in zip(states, rows, strict=False):
                out[table.offsets[row] : table.offsets[row + 1]] = state[: table.lengths[row]]
            if bar:
                bar.update(start + len(rows))


def _cached(path: pathlib.Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Returns the states in a cache file; None where it is missing or not intact, and has to be written again."""
    try:
        states = map_npy(path)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise InputError(
            f"{path}: cannot be read ({e.strerror}); remove it, or set config.data.cache_dir to another place"
        ) from None
    except ValueError:
        return None
    if states.shape != shape:
        return None
    with contextlib.suppress(OSError):  # a cache of others
        path.touch()  # the time of the last use, for `itm-jax cache`
    return states


def frozen_states(
    text: TextInput, table: TokenTable, buckets: Sequence[int], *, directory: pathlib.Path, dtype: str
) -> np.ndarray:
    """Returns the hidden states of all tokens of a table, [sum of lengths, e], memory-mapped from the cache.

    Where the cache does not have them they are computed first.

    Raises:
        InputError: the cache cannot be read or written (full disk, no permission).
    """
    assert text.bert is not None  # a frozen encoder is a BERT
    path = directory / f"{STATES_PREFIX}{fingerprint(text, table, dtype)}.npy"
    shape = (int(table.offsets[-1]), text.bert.hidden_size)
    states = _cached(path, shape)
    if states is not None:
        return states
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=directory, prefix=path.stem, suffix=".tmp")
        os.close(handle)
        try:
            out = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
            encode_states(text, table, buckets, out)
            out.flush()
            os.chmod(temporary, 0o666 & ~umask())  # the permissions of any new file: others may share the cache
            os.replace(temporary, path)
        finally:
            pathlib.Path(temporary).unlink(missing_ok=True)
    except OSError as e:
        raise InputError(
            f"{directory}: the cache of hidden states ({np.prod(shape) * np.dtype(dtype).itemsize / 1e9:.1f} GB) "
            f"cannot be written ({e.strerror}); make room, or set config.data.cache_dir to another place"
        ) from None
    return np.load(path, mmap_mode="r")


def lone_mask_state(text: TextInput) -> jax.Array:
    """Returns the hidden state [e] of [MASK] in `[CLS] [MASK] [SEP]`.

    With a frozen encoder it stands for a word that augmentation masks.
    """
    assert text.bert is not None  # a frozen encoder is a BERT
    vocabulary = text.tokenizer.get_vocab()
    ids = jnp.array([[vocabulary["[CLS]"], text.mask_id, vocabulary["[SEP]"]]], jnp.int32)
    states: Any = Bert(text.bert).apply({"params": text.params}, ids, jnp.ones((1, 3), bool))
    return states[0, 1]
