"""One file per noun, each with its QuerySet."""

from orchestrator.models.account import ApiToken, IdempotencyRecord, LoginLink
from orchestrator.models.configuration import GlobalSettings
from orchestrator.models.delivery import Delivery
from orchestrator.models.event import DecisionRecord, Event
from orchestrator.models.gate import Gate
from orchestrator.models.hook import HookRun
from orchestrator.models.host import Host, Workspace
from orchestrator.models.job import Claim, Job, PushIntent
from orchestrator.models.notification import InboxItem, Notification, NotificationChannel, QuietTime, SpentLink
from orchestrator.models.parcel import Parcel, ParcelPiece
from orchestrator.models.project import Membership, Project, Role, RuleRow
from orchestrator.models.pull_request import Check, Comment, Diff, PullRequest, QueuedMerge, Review
from orchestrator.models.reaction import Interruption, Reaction
from orchestrator.models.round import Round
from orchestrator.models.rule_version import RuleVersion
from orchestrator.models.session import JournalChunk, Message, Session, Turn
from orchestrator.models.task import Task
from orchestrator.models.workflow import ProjectWorkflow, TrackedIssue, WorkflowVersion

__all__ = [
    "ApiToken",
    "Check",
    "Claim",
    "Comment",
    "DecisionRecord",
    "Delivery",
    "Diff",
    "Event",
    "Gate",
    "GlobalSettings",
    "HookRun",
    "Host",
    "IdempotencyRecord",
    "InboxItem",
    "Interruption",
    "Job",
    "JournalChunk",
    "LoginLink",
    "Membership",
    "Message",
    "Notification",
    "NotificationChannel",
    "Parcel",
    "ParcelPiece",
    "Project",
    "ProjectWorkflow",
    "PullRequest",
    "PushIntent",
    "QueuedMerge",
    "QuietTime",
    "Reaction",
    "Review",
    "Role",
    "Round",
    "RuleRow",
    "RuleVersion",
    "Session",
    "SpentLink",
    "Task",
    "TrackedIssue",
    "Turn",
    "WorkflowVersion",
    "Workspace",
]
