"""Vocabularies, one word per line of a `vocab.txt`, and the tokenizers that are made of them.

That of a BiGRU is built from the train captions alone and kept in the workdir. Published vocabularies of the field also
hold the words of dev or test captions; this one does not.
"""

import pathlib
from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordLevelTrainer

from itm_jax.errors import InputError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCAB = "vocab.txt"


def _splitter(model: WordLevel) -> Tokenizer:
    """Returns a tokenizer that lower-cases text and splits it at whitespace and punctuation, as BERT's does first."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def build_vocabulary(captions: Sequence[str], min_count: int) -> tuple[str, ...]:
    """Returns the special tokens, then the words that occur at least `min_count` times.

    The most frequent words come first; equally frequent words are in alphabetical order.

    Raises:
        InputError: no word occurs so often.
    """
    tokenizer = _splitter(WordLevel(unk_token="[UNK]"))
    trainer = WordLevelTrainer(
        vocab_size=1 << 30, min_frequency=min_count, special_tokens=list(SPECIAL), show_progress=False
    )
    tokenizer.train_from_iterator(captions, trainer)
    vocabulary = tokenizer.get_vocab()
    if len(vocabulary) == len(SPECIAL):
        raise InputError(
            f"config.model.text.min_count={min_count}: no word of the train captions occurs so often; set it lower"
        )
    return tuple(sorted(vocabulary, key=vocabulary.__getitem__))


def read_words(path: pathlib.Path) -> list[str]:
    """Returns the lines of a vocabulary file, without their ends, `\\n` or `\\r\\n`.

    Only these end a line: a word may hold another separator of Unicode, such as U+2028.

    Raises:
        InputError: the file cannot be read, or is not UTF-8; the message names the line.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    except UnicodeDecodeError as e:
        where = f"line {data[: e.start].count(10) + 1}: not UTF-8 (byte {data[e.start]:#04x})"
        raise InputError(f"{path}: {where}; save the file as UTF-8") from None
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def read_vocabulary(path: pathlib.Path) -> tuple[str, ...]:
    """Returns the words of a vocabulary file, which has one word per line.

    Raises:
        InputError: the file cannot be read, has an empty line, repeats a word, lacks a special token, or has no words
            besides them; the message names the line.
    """
    words = read_words(path)
    first: dict[str, int] = {}
    for number, word in enumerate(words, 1):
        if not word or word in first:
            what = f"repeats {word!r} of line {first[word]}" if word else "is empty"
            raise InputError(f"{path}: line {number} {what}; every line must be a word of its own")
        first[word] = number
    missing = [s for s in SPECIAL if s not in first]
    if missing:
        raise InputError(f"{path}: not a vocabulary: it has no {', '.join(missing)}; take the vocab.txt of a BiGRU run")
    if len(words) == len(SPECIAL):
        raise InputError(f"{path}: not a vocabulary: it has no words besides the special tokens")
    return tuple(words)


def to_text(words: Sequence[str]) -> str:
    """Returns the text of a vocabulary file."""
    return "".join(word + "\n" for word in words)


def word_tokenizer(words: Sequence[str]) -> Tokenizer:
    """Returns a tokenizer that maps words to their indices in `words` and puts [CLS] and [SEP] around a caption."""
    ids = {word: i for i, word in enumerate(words)}
    tokenizer = _splitter(WordLevel(ids, unk_token="[UNK]"))
    ends = [(s, ids[s]) for s in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def wordpiece_tokenizer(path: pathlib.Path) -> Tokenizer:
    """Returns a BERT tokenizer, which makes all letters lower case, from a vocab.txt.

    Raises:
        InputError: the file cannot be read, is not UTF-8, repeats a word, or lacks a special token.
    """
    lines = read_words(path)
    numbers: dict[str, int] = {}
    for number, word in enumerate(lines, 1):
        if numbers.setdefault(word, number) != number:
            raise InputError(
                f"{path}: line {number} repeats {word!r} of line {numbers[word]}; every word needs one line"
            )
    missing = [s for s in SPECIAL if s not in lines]
    if missing:
        raise InputError(f"{path}: not a BERT vocabulary: it has no {', '.join(missing)}")
    vocabulary = {word: number - 1 for word, number in numbers.items()}
    return Tokenizer.from_str(BertWordPieceTokenizer(vocabulary, lowercase=True).to_str())
