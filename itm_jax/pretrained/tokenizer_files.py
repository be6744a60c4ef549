"""Reads a tokenizer.json."""

import pathlib

from tokenizers import Tokenizer

from itm_jax.errors import InputError

# `tokenizers` fills all numbers up to the largest one when it writes a tokenizer: a file of some bytes could end the
# process for want of memory.
LARGEST = 10**7


def read_tokenizer(path: pathlib.Path, hint: str) -> Tokenizer:
    """Returns the tokenizer in a file.

    Args:
        path: the file.
        hint: what the user can do where it cannot be read, for the message.

    Raises:
        InputError: it cannot be read, or gives an entry of its vocabulary a number that none has.
    """
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as e:  # tokenizers raises plain Exceptions
        raise InputError(f"{path}: cannot be read ({e}); {hint}") from None
    for token, number in tokenizer.get_vocab().items():
        if number > LARGEST:
            raise InputError(f"{path}: gives {token!r:.40} the number {number}, expected at most {LARGEST:,}; {hint}")
    return tokenizer
