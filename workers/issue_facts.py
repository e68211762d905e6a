"""A tracker's issues as the domain's facts: who may have them worked on, and what has to be over first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from orchestrator.domain.issues import Blocker, IssueFacts, labels_of
from orchestrator.domain.prompts import one_line, plain
from orchestrator.ports import Issue

_LOST_SIGHT = "unknown"  # a blocker that nobody can see is not known to be over


def facts_of(issue: Issue, states: Mapping[str, str], *, chosen_by_label: bool) -> IssueFacts:
    """`states` are those of blockers, by id. On a forge where anybody may open an issue, only those of people who may write become tasks
    by themselves, unless the workflow asks for labels."""
    given_out = issue.trusted or chosen_by_label
    return IssueFacts(
        id=issue.id,
        identifier=issue.identifier or issue.id,
        title=plain(issue.title),
        state=plain(issue.state),
        native_ref={"id": issue.id, "url": issue.url},
        description=plain(issue.body),
        priority=issue.priority,
        url=issue.url,
        assignee_id=issue.assignee,
        labels=labels_of(one_line(label) for label in issue.labels),
        blocked_by=tuple(
            Blocker(id=one, identifier=f"#{one}", state=states.get(one, _LOST_SIGHT)) for one in issue.blocked_by
        ),
        dispatchable=given_out,
        why_not=""
        if given_out
        else f"{issue.author} may not write here, and the workflow asks for no label (tracker.required_labels)",
        created_at=issue.created_at,
        updated_at=issue.updated_at,
    )


def states_of_blockers(
    issues: Sequence[Issue], *, shown: Sequence[Issue], refresh: Callable[[Sequence[str]], Sequence[Issue]]
) -> dict[str, str]:
    """The states of the issues that have to be over first; those that were shown anyhow are not asked for again."""
    states = {issue.id: issue.state for issue in shown}
    unknown = sorted({one for issue in issues for one in issue.blocked_by} - states.keys())
    return states | ({issue.id: issue.state for issue in refresh(unknown)} if unknown else {})
