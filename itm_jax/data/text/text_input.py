"""The text side of a run: tokenizer, vocabulary, and the pretrained encoder, as `model.text` describes them."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from itm_jax.config.default import default_config
from itm_jax.config.fields import read_json
from itm_jax.data import scenes
from itm_jax.data.text.vocabulary import SPECIAL, VOCAB, build_vocabulary, read_vocabulary, word_tokenizer
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
        bert: architecture of a BERT encoder; None with a BiGRU.
        params: parameters of the pretrained encoder; None where the encoder is trained from scratch.
        words: vocabulary of a BiGRU encoder; None with a BERT.
    """

    tokenizer: Tokenizer
    mask_id: int
    replacements: np.ndarray
    fields: Mapping[str, Any]
    bert: BertConfig | None = None
    params: Any = None
    words: tuple[str, ...] | None = None


def load_text(
    config: ml_collections.ConfigDict,
    *,
    workdir: pathlib.Path | None = None,
    captions: Sequence[str] | None = None,
) -> TextInput:
    """Loads the tokenizer and the encoder that `config.model.text` describes.

    Args:
        config: the whole config.
        workdir: of the run; once the run has begun, a BiGRU's vocabulary is read from here, whatever else has changed.
        captions: of the train split; a BiGRU's vocabulary is built from them where `model.text.vocab` is not set.

    Raises:
        InputError: checkpoint, vocabulary or fields are not usable, or the config names no vocabulary.
    """
    text = config.model.text
    if text.encoder == "gru":
        words = _words(text, workdir, captions)
        return _text_input(config, word_tokenizer(words), {"vocab_size": len(words)}, words=words)
    if text.pretrained:
        from itm_jax.pretrained.huggingface import load_bert

        bert, params, wrapped = load_bert(text.pretrained)
        tokenizer = wrapped.backend_tokenizer
        fields = checkpoint_fields(text, bert)
    else:
        path = pathlib.Path(text.vocab).expanduser() if text.vocab else SCENES_VOCAB
        if not text.vocab and config.data.source != "scenes":
            raise InputError(
                "config.model.text: neither pretrained nor vocab is set; set pretrained to the directory or hub name "
                "of a BERT, or vocab to a vocab.txt"
            )
        tokenizer, params = wordpiece_tokenizer(path), None
        fields = {"vocab_size": tokenizer.get_vocab_size()}
    bert = BertConfig.from_config({**text, **fields})
    if config.data.max_tokens > bert.max_positions:
        raise InputError(
            f"config.data.max_tokens={config.data.max_tokens}: the text encoder has {bert.max_positions} positions; "
            "set it to at most this number"
        )
    return _text_input(config, tokenizer, fields, bert=bert, params=params)


def _words(text, workdir: pathlib.Path | None, captions: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the vocabulary of a BiGRU: that of the run, else that of the file `text.vocab`, else a new one."""
    kept = run_vocabulary(workdir) if workdir else None
    if kept:
        return kept
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


def _text_input(config, tokenizer: Tokenizer, fields: Mapping[str, Any], **parts: Any) -> TextInput:
    text = config.model.text
    tokenizer.no_padding()
    tokenizer.enable_truncation(config.data.max_tokens)
    vocabulary = tokenizer.get_vocab()
    if "[MASK]" not in vocabulary:
        raise InputError(f"{text.pretrained or text.vocab}: the vocabulary has no [MASK] token; take one of a BERT")
    usable = [
        i for token, i in vocabulary.items() if not (token.startswith("[") and token.endswith("]") and len(token) > 1)
    ]
    return TextInput(tokenizer, vocabulary["[MASK]"], np.sort(np.array(usable, np.int32)), fields, **parts)


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


def wordpiece_tokenizer(path: pathlib.Path) -> Tokenizer:
    """Returns a BERT tokenizer, which makes all letters lower case, from a vocab.txt."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: cannot be read as a vocabulary ({e})") from None
    missing = [s for s in SPECIAL if s not in lines]
    if missing:
        raise InputError(f"{path}: not a BERT vocabulary: it has no {', '.join(missing)}")
    return Tokenizer.from_str(BertWordPieceTokenizer(str(path), lowercase=True).to_str())
