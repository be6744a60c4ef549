"""Kinds of word pieces: content words, function words, punctuation. They say what a model gives its weight to."""

import enum

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer

# English words of closed classes: articles, pronouns, prepositions, conjunctions, auxiliaries, what follows an
# apostrophe, and a few adverbs.
WORDS = """
    a about above across after against all along also am among an and another any are around as at away be because
    been before behind being below beneath beside between both but by can could did do does doing down during each
    either for from had has have having he her here hers herself him himself his how i if in inside into is it its
    itself just like may me more most must my near next no nor not of off on once one only onto or other others our
    out outside over own past per she should so some such than that the their theirs them themselves then there these
    they this those through throughout to together too toward towards under underneath until up upon very was we were
    what when where which while who whose will with within without would you your
    s t d m ll re ve
"""
FUNCTION_WORDS = frozenset(WORDS.split())


class Kind(enum.IntEnum):
    """The kind of a word piece."""

    CONTENT = 0
    FUNCTION = 1
    PUNCTUATION = 2


def kind_of(piece: str) -> Kind:
    """Returns the kind of a word piece. Words of other languages than English count as content, and so does [UNK].

    Examples:
        >>> [kind_of(piece).name for piece in ("The", "dog", ".", "##ing")]
        ['FUNCTION', 'CONTENT', 'PUNCTUATION', 'CONTENT']
    """
    if not any(letter.isalnum() for letter in piece):
        return Kind.PUNCTUATION
    return Kind.FUNCTION if piece.lower() in FUNCTION_WORDS else Kind.CONTENT


def kinds(tokenizer: Tokenizer) -> Int[np.ndarray, " v"]:
    """Returns the kind of each piece of a vocabulary, by its id."""
    pieces = tokenizer.get_vocab(with_added_tokens=True)
    out = np.zeros(max(pieces.values(), default=-1) + 1, np.int8)
    for piece, at in pieces.items():
        out[at] = kind_of(piece)
    return out
