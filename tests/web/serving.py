"""The web as it really runs, an ASGI server on a free port, over the test's own database."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter

from aoweb.asgi import pages
from aoweb.dashboard.origins import SameOrigin
from aoweb.dashboard.routing import websocket_urlpatterns


class Web:
    """A running web server; it can be stopped and started again on the same port."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        sockets = SameOrigin(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)), allowed=[self.url])
        application = ProtocolTypeRouter({"http": pages, "websocket": sockets})
        config = uvicorn.Config(
            application,
            host="127.0.0.1",
            port=self.port,
            log_level="warning",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline, "the web did not start"
            time.sleep(0.02)

    def stop(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self._thread.join(15)
        assert not self._thread.is_alive(), "the web did not stop"


@contextmanager
def served() -> Iterator[Web]:
    """A web for as long as it is needed."""
    web = Web()
    web.start()
    try:
        yield web
    finally:
        web.stop()
