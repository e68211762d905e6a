"""The web's entry point for an ASGI server."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aoweb.settings")
pages = get_asgi_application()

# Below the line above: these need Django's applications to be loaded.
from django.conf import settings  # noqa: E402

from aoweb.dashboard.origins import SameOrigin  # noqa: E402
from aoweb.dashboard.routing import websocket_urlpatterns  # noqa: E402

sockets = SameOrigin(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)), allowed=settings.AO_ALLOWED_ORIGINS)
application = ProtocolTypeRouter({"http": pages, "websocket": sockets})
