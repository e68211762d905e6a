"""Who may do what in a project: the one place that pages, sockets and the API ask."""

from __future__ import annotations

from enum import StrEnum

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from orchestrator.models import Membership, Project, Role


class Verb(StrEnum):
    """What a person may want to do in a project."""

    SEE = "see"
    SUBMIT = "submit"  # hand in tasks
    DRIVE = "drive"  # send, answer, cancel, retry, restart, pause, resume, acknowledge
    REVIEW = "review"  # approve, request changes, comment, resolve threads
    MERGE = "merge"
    CONFIGURE = "configure"  # rules, members, the project itself


_OF_VIEWERS = frozenset({Verb.SEE})
_OF_MEMBERS = _OF_VIEWERS | {Verb.SUBMIT, Verb.DRIVE, Verb.REVIEW, Verb.MERGE}
_OF_MAINTAINERS = _OF_MEMBERS | {Verb.CONFIGURE}
_VERBS: dict[str, frozenset[Verb]] = {
    Role.VIEWER: _OF_VIEWERS,
    Role.MEMBER: _OF_MEMBERS,
    Role.MAINTAINER: _OF_MAINTAINERS,
}


def verbs_of(user: AbstractBaseUser | AnonymousUser, project: Project) -> frozenset[Verb]:
    """Everything that the user may do in the project; empty for those who are no members, which must look like "no such project"."""
    if not user.is_authenticated or not user.is_active:
        return frozenset()
    if getattr(user, "is_superuser", False):
        return _OF_MAINTAINERS
    role = Membership.objects.filter(project=project, user_id=user.pk).values_list("role", flat=True).first()
    return _VERBS.get(role or "", frozenset())


def may(user: AbstractBaseUser | AnonymousUser, project: Project, verb: Verb) -> bool:
    """Whether the user may do it."""
    return verb in verbs_of(user, project)
