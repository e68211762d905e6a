"""The Anthropic Messages API on 127.0.0.1, streamed and not, as far as a coding agent asks for it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

from tests.scripted_model.script import Drop, Fault, Hang, Rule, Say, Script, Step, Use, conversation

_NUMBERS = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One request: the last words in it, all of it as it came, and the key that came with it."""

    words: str
    body: str
    key: str


@dataclass(slots=True)
class ScriptedModel:
    """A model that is being served. `heard` are the requests so far, oldest first."""

    script: Script
    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def environment(self) -> dict[str, str]:
        """What an agent needs to know to talk to it; its own tries are few, so that a fault is seen soon."""
        return {
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": "sk-scripted",
            "CLAUDE_CODE_MAX_RETRIES": "2",
        }


@contextmanager
def scripted_model(rules: Sequence[Rule], *, address: str = "127.0.0.1") -> Iterator[ScriptedModel]:
    """Serve the rules until the block ends; answers that hang are let go of then. `address`: our end of a test machine's cable."""
    model = ScriptedModel(Script(rules=rules))
    server = ThreadingHTTPServer((address, 0), type("Handler", (_Handler,), {"model": model}))
    server.daemon_threads = True
    model.url = f"http://{address}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        model.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    model: ScriptedModel
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the framework's name
        """Nothing: `heard` is the log."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        if path == "/v1/messages/count_tokens":
            self._answer(200, {"input_tokens": len(raw) // 4})
        elif path == "/v1/messages":
            self._message(raw)
        else:
            self._answer(404, {"type": "error", "error": {"type": "not_found_error", "message": path}})

    def _message(self, raw: bytes) -> None:
        body = json.loads(raw)
        at = conversation(body["messages"])
        self.model.heard.append(Heard(words=at.words, body=raw.decode(), key=self.headers.get("x-api-key") or ""))
        # Side requests, such as for a title, offer no tools: they are no step of the conversation.
        step = self.model.script.step(at) if body.get("tools") else Say(text="A title")
        try:
            self._serve(step, body, tokens=len(raw) // 4)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the agent went away

    def _serve(self, step: Step, body: Mapping[str, Any], *, tokens: int) -> None:
        match step:
            case Fault():
                self._fault(step)
            case Hang():
                self._begin_stream()
                self.model.over.wait()
            case Drop(text=text) if body.get("stream"):
                self._begin_stream()
                events = list(_events(_message(body, Say(text=text), tokens=tokens)))
                self._stream(events[:3])
                self._cut()
            case Drop():
                self._cut()
            case Say() | Use() if body.get("stream"):
                self._begin_stream()
                self._stream(_events(_message(body, step, tokens=tokens)))
            case Say() | Use():
                self._answer(200, _message(body, step, tokens=tokens))

    def _fault(self, fault: Fault) -> None:
        wait = {"retry-after": str(fault.retry_after)} if fault.retry_after is not None else {}
        error = {"type": fault.kind, "message": f"scripted {fault.status}"}
        self._answer(fault.status, {"type": "error", "error": error}, wait)

    def _answer(self, status: int, content: object, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _begin_stream(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()

    def _stream(self, events: Iterator[dict[str, Any]] | Sequence[dict[str, Any]]) -> None:
        for event in events:
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _message(body: Mapping[str, Any], step: Say | Use, *, tokens: int) -> dict[str, Any]:
    number = next(_NUMBERS)
    if isinstance(step, Use):
        block = {"type": "tool_use", "id": f"toolu_{number:024d}", "name": step.tool, "input": dict(step.input)}
    else:
        block = {"type": "text", "text": step.text}
    return {
        "id": f"msg_{number:024d}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [block],
        "stop_reason": "tool_use" if isinstance(step, Use) else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": tokens, "output_tokens": 20},
    }


def _events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One message in the order in which a stream tells it: its head, its only block, its end."""
    (block,) = message["content"]
    head = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    yield {"type": "message_start", "message": head}
    if block["type"] == "text":
        empty, delta = {"text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        empty, delta = {"input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    yield {"type": "content_block_start", "index": 0, "content_block": {**block, **empty}}
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
        "usage": {"output_tokens": message["usage"]["output_tokens"]},
    }
    yield {"type": "message_stop"}
