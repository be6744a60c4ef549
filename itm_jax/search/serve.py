"""The command `serve`: a page to search in a browser on this machine."""

from collections.abc import Callable
from typing import Any

from PIL import Image

from itm_jax.errors import InputError
from itm_jax.search.approximate import check_approximate
from itm_jax.search.index import Index
from itm_jax.search.page_answers import PageAnswers
from itm_jax.search.page_layout import GRID_STYLE, make_page
from itm_jax.terminal import say
from itm_jax.web.limits import MOST_BYTES
from itm_jax.web.run import run_page

MOST_BODY = 2 * MOST_BYTES  # a question has one image, in base64


def serve(open_index: Callable[[], Index], port: int, *, shortlist: int, approximate: bool) -> None:
    """Serves the page until Ctrl-C.

    Args:
        open_index: opens the index.
        port: of the page on 127.0.0.1; 0 takes a free one.
        shortlist: images that a model of fragments scores again.
        approximate: whether the approximate index is used.

    Raises:
        InputError: the index cannot be opened, is empty, or has no approximate index where one is wanted.
    """

    def prepare() -> tuple[list[str], Callable[[], Any]]:
        say("loading the model of the index")
        index = open_index()
        if not len(index):
            raise InputError(f"{index.place}: has no images; add some first")
        if approximate:
            check_approximate(index.table, index.record, index.place)
        answers = PageAnswers(index, shortlist, approximate)
        _warm(index, shortlist)
        return [f"{index.place}: {len(index):,} images"], lambda: make_page(answers)

    run_page(port, prepare, GRID_STYLE, MOST_BODY)


def _warm(index: Index, shortlist: int) -> None:
    """Asks a question of each kind, which compiles what later ones need."""
    index.query("a", top=1, shortlist=shortlist)
    try:
        index.query(image=Image.new("RGB", (64, 64), "grey"), top=1)
    except InputError as e:  # texts can be asked all the same
        say(f"images cannot be asked: {e}")
