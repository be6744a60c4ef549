"""What the server lets through: requests for this machine, to the addresses that the page needs, of limited size."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from itm_jax.web.limits import MOST_BODY

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

HOSTS = ("127.0.0.1", "localhost")  # a page of another site that points its name here sends another host
PREFIX = "/gradio_api/"
CLOSED = ("/monitoring", "/openapi.json", "/docs", "/redoc", "/login", "/logout")
# Of Gradio's own interface the page needs these. Others would take uploads, read files or fetch addresses.
NEEDED = ("queue/join", "queue/data", "heartbeat/", "startup-events", "reset", "cancel", "app_id", "theme.css")
# The browser itself refuses to ask any other server, and to show this page inside another one.
HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


def gated(app: App, most_body: int = MOST_BODY) -> App:
    """Returns an ASGI application that hands on what it lets through, and answers the rest with a line of text."""

    async def gate(scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await app(scope, receive, send)
        if scope["type"] != "http":  # the page uses no web sockets
            return await send({"type": "websocket.close"})

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        status, text = refusal(scope["method"], scope["path"], dict(scope["headers"]), most_body)
        if not status:
            return await app(scope, receive, send_with_headers)
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send_with_headers({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    return gate


def refusal(method: str, path: str, headers: dict[bytes, bytes], most_body: int = MOST_BODY) -> tuple[int, str]:
    """Returns the HTTP status and the sentence with which a request is refused; (0, "") where it passes."""
    host = headers.get(b"host", b"").decode("latin-1").rsplit(":", 1)[0]
    if host not in HOSTS:
        return 403, "open the page as http://127.0.0.1"
    if path.startswith(CLOSED) or (path.startswith(PREFIX) and not path[len(PREFIX) :].startswith(NEEDED)):
        return 404, "no such page"
    if method == "POST":
        if b"transfer-encoding" in headers:
            return 411, "the request does not say its length"
        length = headers.get(b"content-length", b"")
        if not length.isdigit():
            return 411, "the request does not say its length"
        if int(length) > most_body:
            return 413, f"the request is larger than {most_body // 10**6} MB"
    return 0, ""
