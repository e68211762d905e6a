"""The domain as a Django app."""

from django.apps import AppConfig


class OrchestratorConfig(AppConfig):
    name = "orchestrator"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Agent Orchestrator"
