"""A plain Channels echo: what an event to many sockets costs at least, with the same server and the same layer."""

from __future__ import annotations

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from django.urls import re_path

GROUP = "bench-echo"


class Echo(AsyncWebsocketConsumer):
    """Repeats whatever its group is told."""

    async def connect(self) -> None:
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:  # noqa: ARG002  # the framework's signature
        await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def echo(self, message: dict[str, str]) -> None:
        await self.send(text_data=message["text"])


application = URLRouter([re_path(r"", Echo.as_asgi())])
