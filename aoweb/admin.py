"""Everything that people configure, and the history to look at. Tasks are driven on their pages, not here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db import models, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.text import get_text_list
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminTextareaWidget

from aoweb.dashboard.actor import actor_of
from aoweb.dashboard.projects import rule_table
from orchestrator.models import (
    ApiToken,
    Event,
    Flake,
    Host,
    Incident,
    Interruption,
    Job,
    Membership,
    Notification,
    NotificationChannel,
    Project,
    QuietTime,
    RuleRow,
    RuleVersion,
    Task,
)
from orchestrator.services import accounts, calling, channels, rules, settings

LINK_HOLDS = timedelta(hours=24)

admin.site.site_header = "Agent Orchestrator"
admin.site.site_title = "Agent Orchestrator"
admin.site.index_title = "Administration"
admin.site.unregister(User)
admin.site.unregister(Group)


class Told(ModelAdmin):
    """Rows that decide something: whatever is changed of them here is a line of history, and open tasks are looked at again."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._tell(request, obj, message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._tell(request, obj, message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            self._tell(request, obj, "Deleted.")
        return super().log_deletions(request, queryset)

    def _tell(self, request: HttpRequest, obj: Model, message: Any) -> None:
        how = message if isinstance(message, str) else get_text_list([_words(one) for one in message], "and")
        settings.changed(what=f"{obj._meta.verbose_name} {obj}", how=how or "nothing", actor=actor_of(request))  # noqa: SLF001


def _words(change: dict[str, Any]) -> str:
    """One entry of Django's own account of a change: which fields, of what. Never their values, which may be secrets."""
    verb, facts = next(iter(change.items()))
    return " ".join(
        [verb, *(str(facts[key]) for key in ("name", "object") if key in facts), *map(str, facts.get("fields", []))]
    )


class ReadOnly(ModelAdmin):
    """Rows that the system writes, for looking."""

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, Told):
    """Groups of Django's own permissions for this administration."""


@admin.register(User)
class UserAdmin(DjangoUserAdmin, Told):  # type: ignore[type-arg]  # not subscriptable at run time
    """Accounts. Somebody without a password comes in by a login link."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    actions = ["login_link"]

    @admin.action(description="Make a login link for each of the chosen", permissions=["impersonate"])
    def login_link(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """A link to hand to each of these people: logs in once, for a day."""
        for user in queryset.filter(is_active=True):
            raw = accounts.issue_login_link(user=user, now=timezone.now(), valid_for=LINK_HOLDS)
            where = request.build_absolute_uri(reverse("login-link", args=[raw]))
            messages.success(request, f"This link logs {user} in once, until tomorrow: {where}")

    def has_impersonate_permission(self, request: HttpRequest) -> bool:
        """Superusers only: a link makes its bearer whoever it is for."""
        return bool(isinstance(request.user, User) and request.user.is_superuser)


class MembershipInline(TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """A rule's row; what no rule can hold is said beside its field."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        row = RuleRow(**{name: cleaned.get(name, getattr(self.instance, name)) for name in rules.FIELDS})
        for name, message in rules.check(row).items():
            self.add_error(name if name in self.fields else None, message)
        return cleaned


class ProjectForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """A project's row; a plan by which nobody could be called is said beside its field."""

    def clean_escalation(self) -> dict[str, Any]:
        said = self.cleaned_data["escalation"] or {}
        try:
            calling.check(said)
        except (ValueError, AttributeError) as error:
            raise forms.ValidationError(str(error)) from error
        return dict(said)


@admin.register(Project)
class ProjectAdmin(Told):
    """Repositories with their defaults, members and effective rules."""

    form = ProjectForm
    list_display = ("key", "name", "agent", "sandbox", "default_branch", "paused")
    list_filter = ("paused", "agent", "sandbox")
    search_fields = ("key", "name", "remote")
    inlines = [MembershipInline]
    formfield_overrides = {
        models.TextField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 2})},
        models.JSONField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 3})},
    }
    readonly_fields = ("effective_rules", "notice", "mirrored_at", "base_sha", "next_number", "created_at")
    fieldsets = (
        (
            None,
            {"fields": ("key", "name", "remote", "checkout", "default_branch", "session_prefix", "paused", "notice")},
        ),
        (
            "Agents",
            {"fields": ("agent", "agent_config", "agent_rules", "agent_rules_file", "env", "sandbox", "budget")},
        ),
        ("Workspaces", {"fields": ("symlinks", "post_create", "warm_workspaces", "max_sessions", "reassign_after")}),
        ("Forge and merging", {"fields": ("scm", "merge_method", "auto_cleanup", "cleanup_grace")}),
        ("Calling people", {"fields": ("escalation",)}),
        ("Effective rules", {"fields": ("effective_rules",)}),
        ("Seen", {"fields": ("mirrored_at", "base_sha", "next_number", "created_at"), "classes": ["collapse"]}),
    )

    @admin.display(description="What each trigger is answered with, and which place set each field")
    def effective_rules(self, project: Project) -> SafeString:
        return rules_as_html(project)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False  # its tasks are history: pause it instead


def rules_as_html(project: Project | None) -> SafeString:
    """The effective rules with the source of every field."""
    return render_to_string("ao/effective_rules.html", {"rules": rule_table(project)})


@admin.register(RuleRow)
class RuleAdmin(Told):
    """What a project, or the installation, lays over the default rules. An empty field is inherited."""

    form = RuleForm
    list_display = ("trigger", "project", "auto", "action", "priority", "retries", "escalate_after")
    list_filter = ("trigger", "project")
    readonly_fields = ("effective",)

    def save_model(self, request: HttpRequest, obj: RuleRow, form: Any, change: bool) -> None:
        with transaction.atomic():
            before = (
                RuleRow.objects.select_for_update(of=("self",)).filter(pk=obj.pk).select_related("project").first()
                if change
                else None
            )
            super().save_model(request, obj, form, change)
            rules.note_row(before=before, after=obj, actor=actor_of(request))

    def delete_model(self, request: HttpRequest, obj: RuleRow) -> None:
        with transaction.atomic():
            rules.note_row(before=obj, after=None, actor=actor_of(request))
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RuleRow]) -> None:
        with transaction.atomic():
            for row in queryset.select_related("project"):
                rules.note_row(before=row, after=None, actor=actor_of(request))
            super().delete_queryset(request, queryset)

    @admin.display(description="What holds now, all places together")
    def effective(self, row: RuleRow) -> SafeString:
        return rules_as_html(row.project if row.pk else None)


@admin.register(RuleVersion)
class RuleVersionAdmin(ReadOnly):
    """Every change of the rules, wherever it was made."""

    list_display = ("number", "at", "trigger", "project", "task", "actor_name", "before", "fields")
    list_filter = ("trigger", "project")
    list_select_related = ("project", "task__project")


@admin.register(Host)
class HostAdmin(Told):
    """Machines on which sessions run. Draining ones take no new sessions. Those over SSH are added by `ao host add`, which looks first."""

    list_display = ("name", "kind", "address", "capacity", "draining", "seen_at", "trouble")
    list_filter = ("kind", "draining")
    readonly_fields = (
        *("folder", "boot_id", "facts", "seen_at", "silent_since", "trouble", "channel_holder", "channel_until"),
        *("removed_at", "joined_at", "link_until"),
    )
    exclude = ("link_digest", "machine_digest")


@admin.register(NotificationChannel)
class NotificationChannelAdmin(Told):
    """Ways to reach people, and for which priorities. Their addresses are said here and in the file, by admins alone."""

    list_display = ("name", "plugin", "person", "priorities", "dead_since", "trouble")
    autocomplete_fields = ("person",)
    readonly_fields = ("failures", "failing_since", "dead_since", "trouble")

    def save_model(self, request: HttpRequest, obj: NotificationChannel, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        channels.mended(channel_ids=[obj.pk], now=timezone.now())


class QuietTimeForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """Somebody's quiet hours; a place that no clock knows is said beside its field."""

    def clean_zone(self) -> str:
        try:
            return str(calling.read_zone(self.cleaned_data["zone"]))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


@admin.register(QuietTime)
class QuietTimeAdmin(Told):
    """When somebody's own channels are quiet. People set theirs on the page of their inbox."""

    form = QuietTimeForm
    list_display = ("person", "start", "end", "zone")
    autocomplete_fields = ("person",)


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnly):
    """Tokens by their first characters. They are made with `ao token` or the API, which show them once; here they are revoked."""

    list_display = ("name", "prefix", "user", "scope", "created_at", "expires_at", "used_at", "revoked_at")
    list_filter = ("scope",)
    search_fields = ("name", "prefix", "user__username")
    exclude = ("digest",)
    actions = ["revoke"]

    @admin.action(description="Revoke the chosen tokens", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        for token in queryset:
            accounts.revoke_token(token=token, now=timezone.now())
        messages.success(request, f"{len(queryset)} revoked.")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return bool(isinstance(request.user, User) and request.user.is_superuser)


@admin.register(Task)
class TaskAdmin(ReadOnly):
    """All tasks, for searching; each is driven on its own page."""

    list_display = ("__str__", "title", "status", "agent", "created_at", "ended_at")
    list_filter = ("status", "project", "agent")
    search_fields = ("title", "branch", "number")
    list_select_related = ("project",)
    exclude = ("depends_on",)

    def get_view_on_site_url(self, obj: Model | None = None) -> str | None:
        return reverse("task", args=[obj.pk]) if obj is not None else None


@admin.register(Event)
class EventAdmin(ReadOnly):
    """Who did what."""

    list_display = ("at", "kind", "text", "task", "actor_name", "address")
    list_filter = ("project",)
    search_fields = ("text", "kind", "actor_name")
    list_select_related = ("task__project",)
    show_full_result_count = False


@admin.register(Job)
class JobAdmin(ReadOnly):
    """Promises and how they went."""

    list_display = ("id", "verb", "state", "queue", "task", "attempts", "failures", "run_at", "settled_at", "error")
    list_filter = ("state", "verb", "queue")
    search_fields = ("key", "error", "code")
    list_select_related = ("task__project",)
    show_full_result_count = False


@admin.register(Notification)
class NotificationAdmin(ReadOnly):
    """What was sent where, and what became of it."""

    list_display = ("id", "channel", "telling", "priority", "title", "state", "tries", "held_until", "sent_at", "error")
    list_filter = ("channel", "telling", "priority")
    search_fields = ("title", "error", "message")
    list_select_related = ("channel",)
    show_full_result_count = False


@admin.register(Incident)
class IncidentAdmin(ReadOnly):
    """Failures of whole projects."""

    list_display = (
        "opened_at",
        "project",
        "check_name",
        "on_base",
        "headline",
        "released_at",
        "resolved_at",
        "resolution",
    )
    list_filter = ("project", "on_base")
    list_select_related = ("project",)


@admin.register(Flake)
class FlakeAdmin(ReadOnly):
    """Failures that are known to go away."""

    list_display = ("name", "project", "times", "weight", "last_at", "fingerprint")
    list_filter = ("project",)
    list_select_related = ("project",)


@admin.register(Interruption)
class InterruptionAdmin(ReadOnly):
    """What people were asked, and how long it took."""

    list_display = (
        "asked_at",
        "task",
        "priority",
        "escalation",
        "question",
        "seen_at",
        "step",
        "snoozed_until",
        "acknowledged_at",
        "resolved_at",
    )
    list_filter = ("escalation", "priority", "trigger")
    list_select_related = ("task__project",)
