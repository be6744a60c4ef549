"""Answers of a page to mistakes and defects: a sentence without a path of this machine."""

import pathlib
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from itm_jax.errors import InputError
from itm_jax.viz import page
from itm_jax.web.limits import MOST_CHARACTERS

# A directory before a name: from a slash, a tilde, a dot or a drive on, or relative, up to the last slash.
DIRECTORIES = re.compile(r"(?<![\w/])(?:[A-Za-z]:[\\/])?[\w.~+@-]*[\\/](?:[^\s'\"()<>:,;\\/]+[\\/])*")


def without_paths(text: str, *known: str, keep: Sequence[str] = ()) -> str:
    """Returns a text in which each path has only its last part.

    Args:
        text: a message of the library.
        known: paths that may be in it; they may have spaces.
        keep: words of the user, which stay as they are.
    """
    absolute = {str(pathlib.Path(path).expanduser().absolute()) for path in known if path}
    for path in sorted((path for path in absolute | set(known) if "/" in path), key=len, reverse=True):
        text = text.replace(path, pathlib.Path(path).name)
    kept = sorted((words for words in keep if words), key=len, reverse=True)
    if not kept:
        return DIRECTORIES.sub("", text)
    # The words of the user are every second piece.
    pieces = re.split(f"({'|'.join(map(re.escape, kept))})", text)
    return "".join(piece if k % 2 else DIRECTORIES.sub("", piece) for k, piece in enumerate(pieces))


def answered(answer: Callable[[], Any], mistake: Callable[[str], Any], *known: str, keep: Sequence[Any] = ()) -> Any:
    """Returns an answer, or a sentence in its place: what the user did wrong, or that the library failed.

    Args:
        answer: makes the answer.
        mistake: makes an answer of the sentence, as HTML.
        known: paths that may be in the sentence.
        keep: what the user sent; words in it stay as they are.
    """
    try:
        return answer()
    except InputError as e:
        words = [" ".join(x.split()) for x in keep if isinstance(x, str)]
        text = without_paths(" ".join(str(e).split()), tempfile.gettempdir(), *known, keep=words)
    except Exception:  # a defect: whoever started the page sees where, the page only that
        traceback.print_exc(file=sys.stderr)
        text = "The library failed here. The terminal in which the page was started says where."
    return mistake(f'<p class="error" role="alert">{page.text(text)}</p>')


def caption_of(text: Any) -> str:
    """Returns a caption that a browser sent, in one line. Raises InputError where it is empty or too long."""
    caption = " ".join(text_of(text).split())
    if not caption:
        raise InputError("the caption is empty; write at least one word")
    if len(caption) > MOST_CHARACTERS:
        raise InputError(f"the caption has {len(caption):,} characters; write at most {MOST_CHARACTERS:,}")
    return caption


def text_of(text: Any) -> str:
    """Returns a text that a browser sent; nothing is an empty one. Raises InputError where it is no text."""
    if text is not None and not isinstance(text, str):
        raise InputError("the caption did not arrive; write it again")
    return text or ""
