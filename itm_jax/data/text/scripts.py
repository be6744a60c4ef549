"""Finds captions whose words are not separated by spaces, as in Chinese, Japanese and Thai."""

import re
from collections.abc import Sequence

# Characters of scripts that are written without spaces, and the average number of them from which on a whitespace word
# is no single word. Segmented Chinese and Japanese words have about 2 characters, those of Thai and its kin about 5.
SCRIPTS = (
    (re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"), 4.0),
    (re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"), 10.0),
)


def unseparated(captions: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    """Returns a pattern of the characters of each script whose words these captions do not separate.

    It is empty for captions in scripts with spaces, and for captions that were segmented into words.
    """
    out = []
    for script, longest in SCRIPTS:
        words = [word for caption in captions if script.search(caption) for word in caption.split()]
        counts = [n for n in (len(script.findall(word)) for word in words) if n]
        if counts and sum(counts) > longest * len(counts):
            out.append(script)
    return tuple(out)
