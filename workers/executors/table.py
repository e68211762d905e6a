"""One function per action: ports in, what came of it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.domain.actions import (
    AnswerThread,
    ClosePullRequest,
    DeleteBranch,
    EndSession,
    HangUp,
    Merge,
    OpenPullRequest,
    Prepare,
    Publish,
    ReadIssue,
    RerunChecks,
    RunBaseCheck,
    RunCheck,
    Say,
    StartTurn,
    StopAgent,
)
from workers.executors import checks, ending, issues, prepare, publish, pull_requests, talking, turns
from workers.toolbox import Toolbox

Outcome = Mapping[str, object]
Executor = Callable[[Any, int, Toolbox], Outcome]

EXECUTORS: Mapping[type, Executor] = {
    ReadIssue: issues.read_issue,
    Prepare: prepare.prepare,
    StartTurn: turns.start_turn,
    Say: talking.say,
    HangUp: talking.hang_up,
    StopAgent: turns.stop_agent,
    Publish: publish.publish,
    OpenPullRequest: pull_requests.open_pull_request,
    RunCheck: checks.run_check,
    RunBaseCheck: checks.run_base_check,
    RerunChecks: checks.rerun_checks,
    Merge: pull_requests.merge,
    ClosePullRequest: pull_requests.close,
    DeleteBranch: pull_requests.delete_branch,
    AnswerThread: pull_requests.answer_thread,
    EndSession: ending.end_session,
}
