"""The checks of a head and of the base, and why those failed that did."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.domain.failures import Failure
from orchestrator.models import BaseCheck, Check, Project
from orchestrator.ports import CheckSeen, Unavailable
from workers.git.program import Deadline
from workers.plugins.scms.github import logs, queries, reading
from workers.plugins.scms.github.client import Client

LOGS_AT_ONCE = 30  # failing checks of one pull request whose logs are fetched in one look
_UNFAILED = frozenset({None, "success", "neutral", "skipped"})
LOGS_TOGETHER = 6  # of them under way at once
LOG_TIME = 8.0  # seconds of a look that are left for the rest of it
PAGES = 10  # of a hundred checks each


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """Those of one project."""

    project: Project
    client: Client

    def of(self, node: Mapping[str, Any], deadline: Deadline) -> list[CheckSeen]:
        """Those of a pull request's head."""
        contexts = {str(one.get("databaseId") or one.get("id")): one for one in self._contexts(node)}
        seen = reading.checks(contexts.values(), head_sha=str(node["headRefOid"]))
        return self._explained(seen, contexts, deadline)

    def of_base(
        self, repository: Mapping[str, Any], pulls: Sequence[Sequence[CheckSeen]], deadline: Deadline
    ) -> tuple[CheckSeen, ...]:
        """The checks of the base as it is; why one failed is asked where it fails on a pull request, too."""
        target = repository["base"]["target"]
        rollup = target.get("statusCheckRollup")
        if rollup is None:
            return ()
        contexts = {str(one.get("databaseId") or one.get("id")): one for one in rollup["contexts"]["nodes"]}
        seen = reading.checks(contexts.values(), head_sha=str(target["oid"]))
        wanted = {check.name for checks in pulls for check in checks if check.conclusion not in _UNFAILED}
        explained = self._explained([check for check in seen if check.name in wanted], contexts, deadline)
        return (*explained, *(check for check in seen if check.name not in wanted))

    def _explained(
        self, seen: Sequence[CheckSeen], contexts: Mapping[str, Mapping[str, Any]], deadline: Deadline
    ) -> list[CheckSeen]:
        """The checks, and why those failed that did. What does not come in time is asked for by the next look."""
        failed = [check for check in seen if check.conclusion not in _UNFAILED]
        known = self._known_failures(failed)
        fresh = [check for check in failed if check.id not in known and not check.failing_log][:LOGS_AT_ONCE]

        def ask(check: CheckSeen) -> Failure:
            if deadline.at < time.monotonic() + LOG_TIME:
                return Failure()
            try:
                return logs.failure(self.client, check, contexts[check.id])
            except Unavailable:
                return Failure()

        if fresh:
            with ThreadPoolExecutor(min(len(fresh), LOGS_TOGETHER), "github-logs") as pool:
                known |= dict(zip((check.id for check in fresh), pool.map(ask, fresh), strict=True))
        return [_with(check, known.get(check.id)) for check in seen]

    def _contexts(self, node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """All that was reported on the head, page by page."""
        page = reading.head_contexts(node)
        for _ in range(PAGES):
            if page is None:
                return
            yield from page["nodes"]
            if not page["pageInfo"]["hasNextPage"]:
                return
            asked = {"number": node["number"], "after": page["pageInfo"]["endCursor"]}
            page = reading.head_contexts(self.client.of_repository(queries.CONTEXTS, **asked)["pullRequest"])

    def _known_failures(self, failed: Sequence[CheckSeen]) -> dict[str, Failure]:
        """A log does not change once its check is over: it is fetched once, by whoever looks first."""
        if not failed:
            return {}
        ids = [check.id for check in failed]
        changes = Check.objects.filter(pull_request__project=self.project, external_id__in=ids)
        base = BaseCheck.objects.filter(project=self.project, external_id__in=ids)
        return {
            of: Failure(part=part, fingerprint=mark, headline=line)
            for rows in (changes, base)
            for of, part, mark, line in rows.exclude(failing_log="").values_list(
                "external_id", "failing_log", "fingerprint", "headline"
            )
        }


def _with(check: CheckSeen, failure: Failure | None) -> CheckSeen:
    if failure is None:
        return check
    return replace(check, failing_log=failure.part, fingerprint=failure.fingerprint, headline=failure.headline)
