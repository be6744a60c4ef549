"""The text side of a run: tokenizer, vocabulary, and the pretrained encoder, as `model.text` describes them."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np
from tokenizers import Tokenizer

from itm_jax.config.default import default_config
from itm_jax.config.fields import read_json
from itm_jax.data import scenes
from itm_jax.data.text.fingerprints import of_tokenizer, of_weights
from itm_jax.data.text.kept import Kept, read_kept
from itm_jax.data.text.vocabulary import (
    VOCAB,
    build_vocabulary,
    read_vocabulary,
    word_tokenizer,
    wordpiece_tokenizer,
)
from itm_jax.errors import InputError
from itm_jax.modules.bert import BertConfig

SCENES_VOCAB = pathlib.Path(scenes.__file__).with_name("vocab.txt")


@dataclasses.dataclass(frozen=True)
class TextInput:
    """The text side of a run.

    Attributes:
        tokenizer: splits captions into word pieces, and adds [CLS] and [SEP].
        mask_id: id of [MASK].
        replacements: ids by which augmentation may replace a word, without special and unused tokens.
        fields: the values that the checkpoint or the vocabulary gives to fields of `model.text`, by field name.
        fingerprints: of the `tokenizer`, and of the `weights` of a pretrained encoder (`data.text.fingerprints`).
        bert: architecture of a BERT encoder; None with a BiGRU.
        params: parameters of the pretrained encoder; None where the encoder is trained from scratch, or where the run
            has fine-tuned it, so that the parameters are in its own checkpoints.
        words: vocabulary of a BiGRU encoder; None with a BERT.
        labels: the encodings of label names that the run keeps.
    """

    tokenizer: Tokenizer
    mask_id: int
    replacements: np.ndarray
    fields: Mapping[str, Any]
    fingerprints: Mapping[str, str]
    bert: BertConfig | None = None
    params: Any = None
    words: tuple[str, ...] | None = None
    labels: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def load_text(
    config: ml_collections.ConfigDict,
    *,
    workdir: pathlib.Path | None = None,
    captions: Sequence[str] | None = None,
    has_checkpoint: bool = False,
    params: Any = None,
) -> TextInput:
    """Loads the tokenizer and the encoder that `config.model.text` describes.

    Args:
        config: the whole config.
        workdir: of the run; once the run has begun, its tokenizer or vocabulary is read from here.
        captions: of the train split; a BiGRU's vocabulary is built from them where `model.text.vocab` is not set.
        has_checkpoint: whether the run has a checkpoint. If it fine-tunes its encoder, no other weights are read then.
        params: the parameters of a frozen encoder, where they are in memory; none are read then.

    Raises:
        InputError: checkpoint, vocabulary or fields are not usable, the config names no vocabulary, or the text side is
            not the one that the run began with.
    """
    kept = read_kept(workdir) if workdir else None
    text = config.model.text
    if text.encoder == "gru":
        words = _words(text, workdir, captions, kept)
        out = make_text_input(config, word_tokenizer(words), {"vocab_size": len(words)}, words=words)
    elif text.pretrained:
        out = _pretrained(config, kept, has_checkpoint=has_checkpoint, params=params)
    else:
        out = _from_scratch(config, kept)
    if out.bert is not None and config.data.max_tokens > out.bert.max_positions:
        raise InputError(
            f"config.data.max_tokens={config.data.max_tokens}: the text encoder has {out.bert.max_positions} "
            "positions; set it to at most this number"
        )
    if kept is None or kept.fingerprints.keys() != out.fingerprints.keys():  # another run's workdir is refused later
        return out
    check_same_text(out.fingerprints, kept.fingerprints, source=source_of(text) or str(kept.folder), run=str(workdir))
    return dataclasses.replace(out, labels=kept.labels)


def _pretrained(config, kept: Kept | None, *, has_checkpoint: bool, params: Any) -> TextInput:
    """Returns the text side of a pretrained BERT: of its checkpoint, or as the run keeps it."""
    text = config.model.text
    enough = params is not None or (has_checkpoint and text.trainable)
    if enough and kept and kept.bert and kept.tokenizer and kept.source == text.pretrained:
        tokenizer, weights = kept.tokenizer, kept.fingerprints.get("weights")
        fields = checkpoint_fields(text, kept.bert)
        return make_text_input(config, tokenizer, fields, bert=kept.bert, params=params, weights=weights)
    from itm_jax.pretrained.huggingface import load_bert

    try:
        bert, params, wrapped = load_bert(text.pretrained)
    except InputError as e:
        if kept is None:
            raise
        moved = "if the checkpoint has moved, pass --config.model.text.pretrained=DIR with its new place"
        raise InputError(f"{e}; {moved}") from None
    fields = checkpoint_fields(text, bert)
    return make_text_input(
        config, wrapped.backend_tokenizer, fields, bert=bert, params=params, weights=of_weights(params)
    )


def _from_scratch(config, kept: Kept | None) -> TextInput:
    """Returns the text side of a BERT from scratch: of a vocabulary file, or as the run keeps it."""
    text = config.model.text
    if kept and kept.tokenizer and kept.source == text.vocab:
        tokenizer = kept.tokenizer
    elif text.vocab or config.data.source == "scenes":
        tokenizer = wordpiece_tokenizer(pathlib.Path(text.vocab).expanduser() if text.vocab else SCENES_VOCAB)
    else:
        raise InputError(
            "config.model.text: neither pretrained nor vocab is set; set pretrained to the directory or hub name "
            "of a BERT, or vocab to a vocab.txt"
        )
    fields = {"vocab_size": tokenizer.get_vocab_size()}
    return make_text_input(config, tokenizer, fields, bert=BertConfig.from_config({**text, **fields}))


def with_weights(config, text: TextInput) -> TextInput:
    """Returns the text side with the weights of the pretrained encoder, where it was loaded without them.

    Raises:
        InputError: the checkpoint cannot be read, or is not the one that the run began with.
    """
    if text.params is not None:
        return text
    loaded = load_text(config)
    check_same_text(loaded.fingerprints, text.fingerprints, source=str(config.model.text.pretrained), run="the run")
    return dataclasses.replace(text, params=loaded.params)


def source_of(text) -> str | None:
    """Returns the field of a `model.text` section that says where its text side comes from."""
    return text.pretrained or text.vocab or None


def check_same_text(mine: Mapping[str, str], theirs: Mapping[str, str], *, source: str, run: str) -> None:
    """Raises InputError where the fingerprints of a text side are not those of a run."""
    changed = [name for name in theirs if mine.get(name) != theirs[name]]
    if changed:
        values = ", ".join(f"{mine.get(name)}, there {theirs[name]}" for name in changed)
        raise InputError(
            f"{source}: not the {' and '.join(changed)} that {run} began with (fingerprint {values}); put the old "
            "files back, or pass their place as --config.model.text.pretrained or --config.model.text.vocab"
        )


def _words(text, workdir: pathlib.Path | None, captions: Sequence[str] | None, kept: Kept | None) -> tuple[str, ...]:
    """Returns the vocabulary of a BiGRU: that of the run, else that of the file `text.vocab`, else a new one."""
    words = run_vocabulary(workdir) if workdir else None
    if words and (kept is None or text.vocab in (None, "", kept.source)):  # another file is compared with the run's
        return words
    if text.vocab:
        return read_vocabulary(pathlib.Path(text.vocab).expanduser())
    if captions is None:
        raise InputError(
            "config.model.text.vocab: not set, and there are no train captions to build it from; set it to a vocab.txt"
        )
    return build_vocabulary(captions, text.min_count)


def run_vocabulary(workdir: pathlib.Path) -> tuple[str, ...] | None:
    """Returns the vocabulary of the BiGRU run in `workdir`; None where no run, or one with a BERT, has begun.

    A vocab.txt without a config.json is ignored: it is left over from a start that was interrupted.

    Raises:
        InputError: the run's vocab.txt is missing or damaged.
    """
    config = workdir / "config.json"
    if not config.exists() or read_json(config).model.text.encoder != "gru":
        return None
    return read_vocabulary(workdir / VOCAB)


def make_text_input(
    config, tokenizer: Tokenizer, fields: Mapping[str, Any], *, weights: str | None = None, **parts: Any
) -> TextInput:
    """Returns the text side of a tokenizer.

    Args:
        config: the whole config.
        tokenizer: of the captions.
        fields: the values that it gives to fields of `model.text`.
        weights: fingerprint of the weights of a pretrained encoder.
        parts: further attributes of `TextInput`.

    Raises:
        InputError: the vocabulary has no [MASK].
    """
    text = config.model.text
    tokenizer.no_padding()
    tokenizer.enable_truncation(config.data.max_tokens)
    vocabulary = tokenizer.get_vocab()
    if "[MASK]" not in vocabulary:
        raise InputError(f"{text.pretrained or text.vocab}: the vocabulary has no [MASK] token; take one of a BERT")
    usable = [
        i for token, i in vocabulary.items() if not (token.startswith("[") and token.endswith("]") and len(token) > 1)
    ]
    fingerprints = {"tokenizer": of_tokenizer(tokenizer, text.pretrained or text.vocab or "its text side")} | (
        {"weights": weights} if weights else {}
    )
    replacements = np.sort(np.array(usable, np.int32))
    return TextInput(tokenizer, vocabulary["[MASK]"], replacements, fields, fingerprints, **parts)


def checkpoint_fields(text, checkpoint: BertConfig) -> dict[str, Any]:
    """Returns the architecture of a checkpoint as fields of `model.text`.

    Dropout is no part of the weights: where the section `text` sets it, that value stays.

    Raises:
        InputError: the section sets a field to another value than the checkpoint has.
    """
    defaults = default_config().model.text
    fields = dataclasses.asdict(checkpoint)
    if text.dropout is not None:
        fields["dropout"] = text.dropout
    for name, value in fields.items():
        if name != "dropout" and text[name] not in (value, defaults[name]):
            raise InputError(
                f"config.model.text.{name}={text[name]!r}: {text.pretrained} has {value!r}; leave the field out"
            )
    return fields
