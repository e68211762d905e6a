"""One file per noun, each with its QuerySet."""

from orchestrator.models.account import ApiToken, IdempotencyRecord, LoginLink
from orchestrator.models.base_check import BaseCheck
from orchestrator.models.configuration import GlobalSettings
from orchestrator.models.delivery import Delivery
from orchestrator.models.event import DecisionRecord, Event
from orchestrator.models.flake import Flake
from orchestrator.models.host import Host, Workspace
from orchestrator.models.incident import Incident
from orchestrator.models.job import Claim, Job, PushIntent
from orchestrator.models.project import Membership, Project, Role, RuleRow
from orchestrator.models.pull_request import Check, Comment, Diff, PullRequest, Review
from orchestrator.models.reaction import Interruption, Notification, NotificationChannel, Reaction
from orchestrator.models.session import JournalChunk, Message, Session, Turn
from orchestrator.models.task import Task

__all__ = [
    "ApiToken",
    "BaseCheck",
    "Check",
    "Claim",
    "Comment",
    "DecisionRecord",
    "Delivery",
    "Diff",
    "Event",
    "Flake",
    "GlobalSettings",
    "Host",
    "IdempotencyRecord",
    "Incident",
    "Interruption",
    "Job",
    "JournalChunk",
    "LoginLink",
    "Membership",
    "Message",
    "Notification",
    "NotificationChannel",
    "Project",
    "PullRequest",
    "PushIntent",
    "Reaction",
    "Review",
    "Role",
    "RuleRow",
    "Session",
    "Task",
    "Turn",
    "Workspace",
]
