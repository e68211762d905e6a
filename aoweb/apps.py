"""The web's Django application."""

from django.apps import AppConfig

# Makes the Celery application the current one in every Django process, so that doorbells find their broker. Not in
# `aoweb/__init__.py`: the command-line client imports this package too, and has no use for Celery.
from aoweb.celery import app as celery_app


class AowebConfig(AppConfig):
    """Pages, API, webhooks and admin."""

    name = "aoweb"
    label = "aoweb"
    verbose_name = "Agent Orchestrator"


__all__ = ["AowebConfig", "celery_app"]
