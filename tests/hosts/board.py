"""A board that is open while things happen: it hears of them over its WebSocket and never asks again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.installation import Installation


@dataclass(slots=True)
class Board:
    """What the page shows: the column and the version of each card."""

    columns: dict[int, str] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)
    frames: int = 0
    backwards: int = 0

    def take(self, text: str) -> None:
        """One frame, as the page takes it."""
        said = json.loads(text)
        self.frames += 1
        for card in said.get("cards", ()):
            if card["version"] < self.versions.get(card["id"], 0):
                self.backwards += 1
            self.columns[card["id"]], self.versions[card["id"]] = card["column"], card["version"]
        for gone in said.get("gone", ()):
            self.columns.pop(gone, None)

    def shown(self, column: str) -> int:
        return sum(one == column for one in self.columns.values())


@contextmanager
def open_board(here: Installation) -> Iterator[Board]:
    """The board of the owner, for as long as the block runs."""
    cookie = logged_in(here)
    address = f"{here.url.replace('http', 'ws', 1)}/ws/board/"
    board = Board()
    with connect(address, additional_headers={"Cookie": cookie}, origin=here.url, max_size=None) as socket:  # type: ignore[arg-type]  # a str is one
        socket.send(json.dumps({"have": {}}))
        listener = threading.Thread(target=_listen, args=(socket, board))
        listener.start()
        yield board
        assert listener.is_alive(), "the board was hung up on"
        socket.close()
    listener.join()


def _listen(socket: ClientConnection, board: Board) -> None:
    try:
        for text in socket:
            board.take(str(text))
    except ConnectionClosed:
        return


def logged_in(here: Installation) -> str:
    """The cookie of somebody who has used a login link."""
    link = here.call("POST", "/login-links/", json={}).json()["url"]
    with httpx.Client() as browser:
        browser.get(link).raise_for_status()
        token = next(value for name, value in browser.cookies.items() if name.startswith("ao_csrf"))
        entered = browser.post(link, data={"csrfmiddlewaretoken": token}, headers={"Origin": here.url})
        assert entered.status_code == 302, entered.text[:500]
        return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
