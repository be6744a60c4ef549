"""Finds out whether captions leave no spaces between words, as Chinese, Japanese and Thai do."""

import re
from collections.abc import Sequence

# Characters of the scripts that are written without spaces between words. If the whitespace words of such a script have
# more characters than this on average, the captions do not separate the words. Words of Chinese and Japanese have about
# 2 characters, those of Thai, Lao, Burmese and Khmer about 5.
SCRIPTS = (
    (re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"), 4.0),
    (re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"), 10.0),
)
LEAST = 0.05  # a script that fewer captions than this share have is left alone


def unseparated(captions: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    """Returns a pattern of the characters of each script whose words these captions do not separate.

    It is empty for captions in scripts with spaces, and for captions that were segmented into words.
    """
    out = []
    for script, longest in SCRIPTS:
        written = [caption for caption in captions if script.search(caption)]
        counts = [n for n in (len(script.findall(word)) for caption in written for word in caption.split()) if n]
        if len(written) > LEAST * len(captions) and sum(counts) > longest * len(counts):
            out.append(script)
    return tuple(out)
