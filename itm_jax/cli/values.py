"""What the values of flags may be, where absl does not say it."""

import re
from collections.abc import Mapping, Sequence

from absl import flags

from itm_jax.errors import InputError


def only_for(values: flags.FlagValues, word: str, words_of: Mapping[str, Sequence[str]]) -> None:
    """Raises InputError where a flag is set that a word of the command does not read.

    Args:
        values: the flags of the command.
        word: the word that was passed.
        words_of: the words that read a flag, by its name; others are read by all.
    """
    for name, words in words_of.items():
        if values[name].present and word not in words:
            raise InputError(f"--{name}: has no effect on {word}; leave it out (it is for {', '.join(words)})")


def whole_numbers(flag: str, values: Sequence[str]) -> list[int]:
    """Returns the values of a list flag as positive whole numbers."""
    if not values or not all(value.isdecimal() and int(value) for value in values):
        raise InputError(f"--{flag}={','.join(values)}: must be whole numbers from 1 on, with commas between them")
    return [int(value) for value in values]


def shard(value: str) -> tuple[int, int]:
    """Returns (i, n) of --shard=i/n."""
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", value)
    if not match or not int(match[1]) < int(match[2]):
        raise InputError(f"--shard={value}: must be i/n with i from 0 to n - 1, for example 0/4")
    return int(match[1]), int(match[2])
