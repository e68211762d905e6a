"""A model that says what a test wrote down, for the real programs of coding agents: no key, no network, no cost."""

from tests.scripted_model.script import Drop, Fault, Hang, Rule, Say, Step, Use, ask, edit, read, sh
from tests.scripted_model.server import Heard, ScriptedModel, scripted_model

__all__ = [
    "Drop",
    "Fault",
    "Hang",
    "Heard",
    "Rule",
    "Say",
    "ScriptedModel",
    "Step",
    "Use",
    "ask",
    "edit",
    "read",
    "scripted_model",
    "sh",
]
