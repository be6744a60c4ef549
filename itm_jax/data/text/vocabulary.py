"""Word vocabularies of the BiGRU, built from the train captions alone and kept in the workdir as `vocab.txt`.

Published vocabularies of the field also hold the words of dev or test captions; this one does not.
"""

import pathlib
from collections.abc import Sequence

from tokenizers import Tokenizer
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


def read_vocabulary(path: pathlib.Path) -> tuple[str, ...]:
    """Returns the words of a vocabulary file, which has one word per line.

    Raises:
        InputError: the file cannot be read, has an empty line, repeats a word, lacks a special token, or has no words
            besides them; the message names the line.
    """
    try:
        words = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    except UnicodeDecodeError as e:
        raise InputError(f"{path}: line {e.object[: e.start].count(10) + 1}: not UTF-8") from None
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
