"""Serves the page on this machine alone, until Ctrl-C."""

import os
import socket
from typing import Any

from itm_jax.errors import InputError
from itm_jax.web.field import STYLE
from itm_jax.web.gate import gated
from itm_jax.web.limits import MOST_BODY

HOST = "127.0.0.1"
PATIENCE = 1  # seconds that open connections get at the end


def listen(port: int) -> socket.socket:
    """Returns a socket at a port of this machine; port 0 takes a free one.

    Raises:
        InputError: the port is taken, or not ours to take.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a page that just ended
    try:
        listening.bind((HOST, port))
        listening.listen()
    except OSError as e:
        listening.close()
        raise InputError(f"--port={port}: cannot be used ({e.strerror}); pass another one") from None
    return listening


def quiet_gradio() -> None:
    """Turns off what Gradio would send or fetch. Has an effect only before Gradio is imported."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_SERVER_NAME"] = HOST
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def serve(blocks: Any, listening: socket.socket, style: str = "", most_body: int = MOST_BODY) -> None:
    """Serves a page of Gradio until the process gets SIGINT or SIGTERM, which comes back as at any other time."""
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI

    theme = gr.themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )  # none is fetched
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        blocks,
        "/",
        server_name=HOST,
        server_port=listening.getsockname()[1],
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        max_file_size=1,
        theme=theme,
        css=STYLE + style,
    )
    config = uvicorn.Config(
        gated(app, most_body),
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=PATIENCE,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listening])
