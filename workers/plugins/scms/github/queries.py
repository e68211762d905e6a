"""What is asked of GitHub's GraphQL API. Written against its published schema, on which the tests execute every one of these."""

from __future__ import annotations

from collections.abc import Sequence

AT_ONCE = 50  # pull requests in one query
# Asked in short: GitHub charges by connections, a hundred to a point. At length a pull request has three, in short one.
GLANCES_AT_ONCE = 100

_GLANCE = """
fragment glance on PullRequest {
  ...card
  statusCheckRollup { commit { oid } contexts(first: 1) { ...counts } }
}
"""
_CARD = """
fragment card on PullRequest {
  number url state headRefName baseRefName headRefOid mergeable updatedAt
  mergeCommit { oid }
}
fragment counts on StatusCheckRollupContextConnection {
  checkRunCountsByState { state count }
  statusContextCountsByState { state count }
}
"""
_PULL = """
fragment pull on PullRequest {
  ...card
  reviews(last: 100) {
    nodes { fullDatabaseId state body submittedAt author { login __typename } commit { oid } }
  }
  reviewThreads(first: 100) {
    nodes { id isResolved path line }
  }
  statusCheckRollup {
    commit { oid }
    contexts(first: 100) { ...counts pageInfo { hasNextPage endCursor } nodes { ...context } }
  }
}
"""
_CONTEXT = """
fragment context on StatusCheckRollupContext {
  __typename
  ... on CheckRun {
    databaseId name status conclusion detailsUrl startedAt completedAt title summary
    checkSuite { app { slug } }
  }
  ... on StatusContext { id context state targetUrl description createdAt }
}
"""
CONTEXTS = (
    """
query contexts($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) {
      headRefOid
      statusCheckRollup {
        commit { oid }
        contexts(first: 100, after: $after) { pageInfo { hasNextPage endCursor } nodes { ...context } }
      }
    }
  }
}
"""
    + _CONTEXT
)
THREADS = """
query threads($ids: [ID!]!) {
  nodes(ids: $ids) {
    ... on PullRequestReviewThread {
      id isResolved path line
      comments(last: 50) { nodes { fullDatabaseId body createdAt author { login __typename } } }
    }
  }
}
"""
VIEWER = "query viewer { viewer { login } }"
OF_BRANCH = """
query ofBranch($owner: String!, $name: String!, $branch: String!, $base: String!) {
  repository(owner: $owner, name: $name) {
    pullRequests(headRefName: $branch, baseRefName: $base, first: 5, orderBy: {field: CREATED_AT, direction: DESC}) {
      nodes { number state isCrossRepository }
    }
  }
}
"""
NODE = """
query node($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) {
      id mergeQueueEntry { id position state }
      timelineItems(last: 1, itemTypes: [REMOVED_FROM_MERGE_QUEUE_EVENT]) {
        nodes { ... on RemovedFromMergeQueueEvent { id reason } }
      }
    }
  }
}
"""
ENQUEUE = """
mutation enqueue($pull: ID!, $head: GitObjectID!) {
  enqueuePullRequest(input: {pullRequestId: $pull, expectedHeadOid: $head}) { mergeQueueEntry { id } }
}
"""
DEQUEUE = """
mutation dequeue($pull: ID!) {
  dequeuePullRequest(input: {id: $pull}) { mergeQueueEntry { id } }
}
"""
RESOLVE = """
mutation resolve($thread: ID!) {
  resolveReviewThread(input: {threadId: $thread}) { thread { id isResolved } }
}
"""
REPLY = """
mutation reply($thread: ID!, $body: String!) {
  addPullRequestReviewThreadReply(input: {pullRequestReviewThreadId: $thread, body: $body}) { comment { fullDatabaseId } }
}
"""


def pulls(numbers: Sequence[int]) -> str:
    """The query for all about these pull requests, and for where the base branch stands now: `p1` to `pN`, and `base`."""
    return _of_pulls(numbers, "pull") + _CARD + _PULL + _CONTEXT


def glances(numbers: Sequence[int]) -> str:
    """The query that tells whether `pulls` would show anything new, in the same shape."""
    return _of_pulls(numbers, "glance") + _CARD + _GLANCE


def _of_pulls(numbers: Sequence[int], fragment: str) -> str:
    asked = "\n".join(f"    p{number}: pullRequest(number: {int(number)}) {{ ...{fragment} }}" for number in numbers)
    return f"""
query {fragment}s($owner: String!, $name: String!, $base: String!) {{
  repository(owner: $owner, name: $name) {{
    nameWithOwner
    base: ref(qualifiedName: $base) {{ target {{ oid }} }}
{asked}
  }}
}}
"""
