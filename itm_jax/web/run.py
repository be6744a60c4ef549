"""Runs a page in the terminal until Ctrl-C."""

import importlib.util
import signal
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from itm_jax.errors import InputError, TerminatedError
from itm_jax.terminal import say
from itm_jax.web.limits import MOST_BODY
from itm_jax.web.server import HOST, listen, quiet_gradio, serve


def run_page(
    port: int,
    prepare: Callable[[], tuple[Sequence[str], Callable[[], Any]]],
    style: str = "",
    most_body: int = MOST_BODY,
) -> None:
    """Serves a page at 127.0.0.1 until the process gets SIGINT or SIGTERM, which is raised as TerminatedError.

    Args:
        port: of the page; 0 takes a free one.
        prepare: loads what the page needs; returns lines for the terminal, and what makes the page as Gradio's Blocks.
        style: of the page, as CSS, besides that of all pages.
        most_body: bytes of a request.

    Raises:
        InputError: Gradio is not installed, the port is taken, or `prepare` raises it.
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError("the page needs Gradio; pip install 'itm_jax[demo]'")
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="PIL")  # of large images, which are refused
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would not hear it
    try:
        with listen(port) as listening:
            lines, make_page = prepare()
            for line in lines:
                say(line)
            quiet_gradio()
            blocks = make_page()
            say(f"open http://{HOST}:{listening.getsockname()[1]} in a browser on this machine; Ctrl-C ends the page")
            serve(blocks, listening, style, most_body)
    except KeyboardInterrupt:
        raise TerminatedError("the page was ended by Ctrl-C", 128 + signal.SIGINT) from None


def _terminate(*_: Any) -> None:
    raise TerminatedError("the page was ended by SIGTERM")
