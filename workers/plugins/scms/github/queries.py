"""What is asked of GitHub's GraphQL API. Written against its published schema, on which the tests execute every one of these."""

from __future__ import annotations

from collections.abc import Sequence

# Pull requests in one query. GitHub charges by connections, a hundred to a point and rounded: at length a pull request has three, in short one,
# and the base branch one.
A_POINT = 149
AT_ONCE = 49
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
  reviewThreads(first: 100) { nodes { id isResolved path line } }
  statusCheckRollup {
    commit { oid }
    contexts(first: 100) { ...counts pageInfo { hasNextPage endCursor } nodes { ...context } }
  }
}
"""
# Words are a connection for each thread that there may be. Those of so many threads come along where there is room for them in a point; what
# they do not reach, and of whom there is no room, is asked for where it is new.
WORDED = 20
_AND_WORDS = f"worded: reviewThreads(first: {WORDED}) {{ nodes {{ id ...words }} }} "
_WORDS = """
fragment words on PullRequestReviewThread {
  comments(last: 50) { nodes { fullDatabaseId body createdAt author { login __typename } } }
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
THREADS = (
    """
query threads($ids: [ID!]!) {
  nodes(ids: $ids) {
    ... on PullRequestReviewThread { id isResolved path line ...words }
  }
}
"""
    + _WORDS
)
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
VIEWER = "query viewer { viewer { login } }"
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
  enqueuePullRequest(input: {pullRequestId: $pull, expectedHeadOid: $head}) { mergeQueueEntry { id position } }
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


def connections(in_short: Sequence[int], at_length: Sequence[int]) -> int:
    """How many connections `looks` asks for, without the words in threads."""
    return len(in_short) + 3 * len(at_length) + 1


def looks(in_short: Sequence[int], at_length: Sequence[int], *, talked_in: Sequence[int] = ()) -> str:
    """The query for all about some pull requests, for whether that would show anything new of others, in the same shape, and for where the base
    branch stands now: `p1` to `pN`, and `base`. Words come along where that costs nothing, of those first in which there was talk."""
    room = max(0, A_POINT - connections(in_short, at_length)) // (1 + WORDED)
    wanted = set(at_length)
    worded = set([*(one for one in talked_in if one in wanted), *at_length][:room])
    lines = [f"    p{number}: pullRequest(number: {int(number)}) {{ ...glance }}" for number in in_short]
    lines += [
        f"    p{number}: pullRequest(number: {int(number)}) {{ ...pull {_AND_WORDS if number in worded else ''}}}"
        for number in at_length
    ]
    asked = "\n".join(lines)
    parts = [
        _CARD,
        _GLANCE if in_short else "",
        _PULL if at_length else "",
        _WORDS if worded else "",
        _CONTEXT,
    ]
    return f"""
query {_name(in_short, at_length)}($owner: String!, $name: String!, $base: String!) {{
  repository(owner: $owner, name: $name) {{
    nameWithOwner
    base: ref(qualifiedName: $base) {{ target {{ oid ... on Commit {{ statusCheckRollup {{ contexts(first: 100) {{ nodes {{ ...context }} }} }} }} }} }}
{asked}
  }}
}}
{"".join(parts)}"""


def _name(in_short: Sequence[int], at_length: Sequence[int]) -> str:
    if in_short and at_length:
        return "glancesAndPulls"
    return "glances" if in_short else "pulls"
