"""The SCM port on GitHub: looked up first, done once, looked up again where the answer was lost."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import ANY

import pytest
from graphql import GraphQLError

from orchestrator.domain.failures import PART_CAP
from orchestrator.models import QueuedMerge
from orchestrator.ports import PullRequestSeen, PullState, Refused, Unavailable
from tests.fakegithub import graph
from tests.fakegithub.world import ROBOT, ROBOT_TOKEN, Pull, Remark, Thread
from tests.github.conftest import BRANCH, Scene, proposal
from workers.git.mirror import Mirror
from workers.plugins.scms.github import people, queries


def look(scene: Scene, number: int) -> PullRequestSeen:
    return scene.forge.observe([number])[0]


def merge(scene: Scene, number: int, head: str, *, method: str = "merge") -> str:
    return scene.forge.merge(number, head_sha=head, method=method, message="Merge demo#1: Make add add\n\nHead: x")


# --- opening ---


def test_a_pull_request_is_opened_with_our_mark_in_it(scene: Scene) -> None:
    head = scene.push()
    seen = scene.forge.open_pull_request(proposal())
    assert (seen.state, seen.branch, seen.base_branch, seen.head_sha) == (PullState.OPEN, BRANCH, "main", head)
    assert (seen.mergeable, seen.merged_sha, seen.checks, seen.reviews) == (None, None, (), ())  # it has just begun
    assert look(scene, seen.number) == replace(seen, mergeable=True, observed_at=ANY)
    pull = scene.github.world.pulls[seen.number]
    assert pull.author == ROBOT
    assert "<!-- ao-task-1 -->" in pull.body


def test_what_was_reported_on_a_head_before_its_pull_request_is_seen_with_it(scene: Scene) -> None:
    head = scene.push()
    scene.github.world.check(head, "unit", "failure", log=LOG)
    seen = scene.forge.open_pull_request(proposal())
    assert [(check.name, check.conclusion) for check in seen.checks] == [("unit", "failure")]


def test_a_base_that_moved_before_the_opening_is_in_the_mirror(scene: Scene) -> None:
    scene.push()
    base = scene.advance_base({"other": "theirs\n"})
    assert scene.forge.open_pull_request(proposal()).base_sha == base
    assert scene.mirror.base_sha("main") == base


def test_a_pull_request_that_is_there_is_adopted(scene: Scene) -> None:
    scene.push()
    theirs = scene.github.world.open_pull("grace", title="By hand", body="", head=BRANCH, base="main")
    assert scene.open() == theirs.number
    assert len(scene.github.world.pulls) == 1


def test_a_pull_request_whose_opening_was_not_answered_is_found_and_not_opened_again(scene: Scene) -> None:
    scene.push()
    scene.github.fail(r"POST .*/pulls$", 502, after_the_effect=True)
    assert scene.open() == 1
    assert len(scene.github.world.pulls) == 1


@pytest.mark.parametrize("others", [0, 1])
def test_in_a_renamed_repository_each_branch_gets_its_own_pull_request_once(scene: Scene, others: int) -> None:
    scene.push("theirs")
    for _ in range(others):
        scene.open("theirs")
    mine = scene.push()
    scene.github.rename("newco/shop")
    if not others:  # nothing told us that it moved, before we wrote
        with pytest.raises(Unavailable, match="GitHub has moved acme/demo to newco/shop"):
            scene.forge.open_pull_request(proposal())
        assert scene.github.world.pulls == {}
    seen = scene.forge.open_pull_request(proposal())
    assert (seen.branch, seen.head_sha) == (BRANCH, mine)
    assert scene.forge.open_pull_request(proposal()).number == seen.number
    assert len(scene.github.world.pulls) == others + 1
    scene.forge.comment(seen.number, marker="ao-9", body="Done.")
    assert len(scene.github.world.remarks[seen.number]) == 1


def test_an_opening_that_failed_before_it_happened_is_worth_another_try(scene: Scene) -> None:
    scene.push()
    scene.github.fail(r"POST .*/pulls$", 502)
    with pytest.raises(Unavailable):
        scene.open()
    assert scene.github.world.pulls == {}
    assert scene.open() == 1


def test_a_branch_without_a_commit_of_its_own_is_refused_in_githubs_words(scene: Scene) -> None:
    scene.clone.git("push", "-q", "origin", f"main:{BRANCH}")
    with pytest.raises(Refused, match="No commits between main and demo/1-fix-add") as refused:
        scene.open()
    assert refused.value.code == "not-allowed"


# --- looking ---


def test_one_query_sees_fifty_pull_requests(scene: Scene) -> None:
    for number in range(1, 53):
        branch = f"demo/{number}"
        scene.clone.git("push", "-q", "origin", f"HEAD:refs/heads/{branch}")
        scene.github.world.open_pull(ROBOT, title=branch, body="", head=branch, base="main")
    scene.forge.observe([1])
    scene.github.asked.clear()
    assert [seen.number for seen in scene.forge.observe(list(range(1, 53)))] == list(range(1, 53))
    assert scene.github.asked == ["POST /graphql"] * 2


def test_a_pull_request_that_does_not_exist_hides_none_of_the_others(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    assert [seen.number for seen in scene.forge.observe([number, 999])] == [number]


def test_what_github_has_not_thought_about_yet_is_not_known(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    scene.github.world.thinking = True
    assert look(scene, number).mergeable is None


def test_a_conflict_names_its_files_and_the_base_is_in_the_mirror(scene: Scene) -> None:
    scene.push(files={"calc.py": "mine\n"})
    number = scene.open()
    base = scene.advance_base({"calc.py": "theirs\n"})
    seen = look(scene, number)
    assert (seen.mergeable, seen.conflict_files, seen.base_sha) == (False, ("calc.py",), base)
    assert scene.mirror.base_sha("main") == base


def test_of_a_base_that_moved_within_a_look_nothing_is_known_yet(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.push()
    number = scene.open()
    scene.advance_base({"other": "theirs\n"})
    fetch = Mirror.fetch

    def late(mirror: Mirror, branch: str, *, timeout: float = 50) -> str:
        scene.advance_base({"other": "theirs, once more\n"})
        return fetch(mirror, branch, timeout=timeout)

    monkeypatch.setattr(Mirror, "fetch", late)
    seen = look(scene, number)
    assert (seen.base_sha, seen.mergeable) == (scene.mirror.base_sha("main"), None)
    assert look(scene, number).mergeable is True


def test_a_merge_and_a_close_by_hand_are_seen(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    world = scene.github.world
    with world.settled():
        sha = world.merge(world.pulls[number], method="merge", title="By hand", message="", by="grace")
    seen = look(scene, number)
    assert (seen.state, seen.merged_sha) == (PullState.MERGED, sha)
    scene.push("demo/2", files={"other": "x\n"})
    closed = scene.open("demo/2")
    world.end(world.pulls[closed], "closed")
    assert look(scene, closed).state is PullState.CLOSED


# --- checks ---

LOG = """2026-11-25T10:00:00.0000000Z ##[group]Run actions/checkout@v4
2026-11-25T10:00:01.0000000Z ##[endgroup]
2026-11-25T10:00:02.0000000Z ##[group]Run make test
2026-11-25T10:00:02.0000000Z ##[endgroup]
2026-11-25T10:00:03.0000000Z \x1b[31mAssertionError: 0 != 4\x1b[0m
2026-11-25T10:00:03.0000000Z ##[error]Process completed with exit code 2.
2026-11-25T10:00:04.0000000Z ##[group]Run actions/upload-artifact@v4
2026-11-25T10:00:05.0000000Z nothing to upload
"""


def test_a_failed_check_carries_the_failing_part_of_its_log(scene: Scene) -> None:
    head = scene.push()
    number = scene.open()
    scene.github.world.check(head, "unit", "failure", log=LOG)
    scene.github.world.check(head, "lint", "success")
    scene.github.world.check(head, "e2e")
    seen = {check.name: check for check in look(scene, number).checks}
    assert (seen["lint"].conclusion, seen["e2e"].status, seen["e2e"].conclusion) == ("success", "queued", None)
    assert seen["unit"].conclusion == "failure"
    assert seen["unit"].failing_log.splitlines() == [
        "Run make test",
        "AssertionError: 0 != 4",
        "##[error]Process completed with exit code 2.",
    ]


def test_of_a_log_of_any_size_only_its_end_is_kept(scene: Scene) -> None:
    head = scene.push()
    number = scene.open()
    noise = f"{'x' * 999}\n" * 100_000
    scene.github.world.check(head, "unit", "failure", log=f"{noise}AssertionError: 0 != 4\n##[error]exit code 2\n")
    tracemalloc.start()
    try:
        log = look(scene, number).checks[0].failing_log
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert log.endswith("AssertionError: 0 != 4\n##[error]exit code 2")
    assert len(log) <= PART_CAP
    # The server's own copy is in this process, too: what is counted beyond it is ours.
    assert peak < len(noise) + 20_000_000


def test_a_check_that_was_run_again_counts_by_its_newest_run(scene: Scene) -> None:
    head = scene.push()
    number = scene.open()
    scene.github.world.check(head, "unit", "failure", log=LOG)
    scene.github.world.check(head, "unit", "success")
    assert [check.conclusion for check in look(scene, number).checks] == ["success"]


def test_three_hundred_checks_are_all_seen_and_the_logs_of_a_few_are_fetched(scene: Scene) -> None:
    head = scene.push()
    number = scene.open()
    for n in range(300):
        scene.github.world.check(head, f"check {n}", "failure", log=LOG)
    scene.github.asked.clear()
    assert len(look(scene, number).checks) == 300
    assert sum("/logs" in what for what in scene.github.asked) == 30


def test_checks_that_github_demands_are_known_by_name(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    assert look(scene, number).required_checks == ()
    people.MEMORY.forget()
    scene.github.world.required_checks = ["unit", "lint"]
    assert look(scene, number).required_checks == ("unit", "lint")


@pytest.mark.parametrize("asked", ["/rules/branches/main", "/branches/main$"])
def test_t24_what_github_demands_is_not_forgotten_over_a_bad_moment(scene: Scene, asked: str) -> None:
    scene.push()
    number = scene.open()
    people.MEMORY.forget()
    scene.github.world.required_checks = ["unit"]
    scene.github.fail(asked, 502)
    with pytest.raises(Unavailable, match="what main demands"):
        look(scene, number)
    assert look(scene, number).required_checks == ("unit",)


# --- reviews: T1 and T2 ---


def test_t1_only_people_who_may_write_are_trusted_and_their_rights_are_asked_of_github(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    world = scene.github.world
    world.people |= {"grace": "write", "mallory": "read"}
    world.bots |= {"cursor", "some-app"}
    for author in ("grace", "mallory", "stranger", "cursor", "some-app"):
        world.review(author, number, "CHANGES_REQUESTED", "no", [("calc.py", 2, f"says {author}")])
    seen = look(scene, number)
    assert {review.author: (review.trusted, review.bot) for review in seen.reviews} == {
        "grace": (True, False),
        "mallory": (False, False),
        "stranger": (False, False),
        "cursor": (True, True),
        "some-app": (False, True),
    }
    assert {comment.author: comment.trusted for comment in seen.comments} == {
        "grace": True,
        "mallory": False,
        "stranger": False,
        "cursor": True,
        "some-app": False,
    }


def test_t1_nobody_is_trusted_while_github_does_not_say_what_they_may(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    scene.github.world.people["grace"] = "write"
    scene.github.world.review("grace", number, "APPROVED")
    scene.github.fail(r"/collaborators/grace/permission", 403)
    assert [review.trusted for review in look(scene, number).reviews] == [False]


def test_t2_our_own_approval_is_nobodys(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    scene.github.world.review(ROBOT, number, "APPROVED")
    assert [review.trusted for review in look(scene, number).reviews] == [False]


def test_an_app_knows_its_own_words_although_it_is_called_otherwise_there(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.push()
    number = scene.open()
    world = scene.github.world
    world.bots.add("acme-robot")
    world.review(ROBOT, number, "COMMENTED", "", [("calc.py", 1, "mine")])
    monkeypatch.setitem(world.tokens, ROBOT_TOKEN, f"{ROBOT}[bot]")
    monkeypatch.setitem(world.people, f"{ROBOT}[bot]", "write")
    people.MEMORY.forget()
    assert [(comment.ours, comment.trusted) for comment in look(scene, number).comments] == [(True, False)]


def test_t2_an_approval_says_which_head_it_was_for(scene: Scene) -> None:
    old = scene.push()
    number = scene.open()
    scene.github.world.people["grace"] = "write"
    scene.github.world.review("grace", number, "APPROVED")
    new = scene.push(files={"more": "x\n"})
    seen = look(scene, number)
    assert (seen.head_sha, [review.head_sha for review in seen.reviews]) == (new, [old])


def test_the_words_of_threads_are_asked_for_only_where_something_moved(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    world = scene.github.world
    world.people["grace"] = "write"
    world.review("grace", number, "COMMENTED", "", [("calc.py", 2, "why?")])
    thread = next(iter(world.threads))
    world.pulls[number].updated_at = "2026-01-05T12:00:00Z"
    assert [(c.body, c.path, c.line, c.thread, c.resolved) for c in look(scene, number).comments] == [
        ("why?", "calc.py", 2, thread, False)
    ]
    scene.github.queries.clear()
    assert len(look(scene, number).comments) == 1
    assert len(scene.github.queries) == 1
    world.reply("grace", thread, "and this?")
    world.resolve(thread)
    assert [(c.body, c.resolved) for c in look(scene, number).comments] == [("why?", True), ("and this?", True)]
    # GitHub writes instants to the second: what comes within the same one looks as old as what was there.
    world.reply("grace", thread, "and that?")
    world.pulls[number].updated_at = same = world.pulls[number].updated_at
    assert len(look(scene, number).comments) == 3
    world.reply("grace", thread, "one more?")
    world.pulls[number].updated_at = same
    assert len(look(scene, number).comments) == 4


# --- merging ---


@pytest.mark.parametrize(("method", "parents"), [("merge", 2), ("squash", 1)])
def test_exactly_the_head_is_merged_by_the_projects_method(scene: Scene, method: str, parents: int) -> None:
    head = scene.push()
    number = scene.open()
    sha = merge(scene, number, head, method=method)
    assert len(scene.github.world.git("rev-list", "--parents", "-1", sha).split()) == 1 + parents
    assert scene.github.world.git("log", "-1", "--format=%s", "main") == "Merge demo#1: Make add add"
    assert merge(scene, number, head, method=method) == sha


def test_a_head_that_moved_is_not_merged(scene: Scene) -> None:
    old = scene.push()
    number = scene.open()
    scene.push(files={"more": "x\n"})
    with pytest.raises(Refused) as refused:
        merge(scene, number, old)
    assert refused.value.code == "head-moved"
    assert scene.github.world.pulls[number].state == "open"


def test_a_head_that_moved_and_was_merged_by_hand_is_not_taken_for_ours(scene: Scene) -> None:
    old = scene.push()
    number = scene.open()
    new = scene.push(files={"more": "x\n"})
    world = scene.github.world
    with world.settled():
        world.merge(world.pulls[number], method="merge", title="By hand", message="", by="grace")
    with pytest.raises(Refused, match=f"moved from {old[:10]} to {new[:10]}") as refused:
        merge(scene, number, old)
    assert refused.value.code == "head-moved"


def test_a_merge_whose_answer_was_lost_is_found(scene: Scene) -> None:
    head = scene.push()
    number = scene.open()
    scene.github.fail(r"PUT .*/merge$", 502, after_the_effect=True)
    assert merge(scene, number, head) == scene.github.world.pulls[number].merged_sha


def test_what_the_repositorys_rules_do_not_allow_is_told_in_githubs_words(scene: Scene) -> None:
    head = scene.push()
    number = scene.open()
    scene.github.world.required_approvals = 1
    with pytest.raises(Refused, match="At least 1 approving review") as refused:
        merge(scene, number, head)
    assert refused.value.code == "not-allowed"


def test_where_a_queue_is_demanded_the_head_is_put_into_it_once(scene: Scene) -> None:
    head = scene.push()
    number = scene.open()
    world = scene.github.world
    world.merge_queue = True
    for _ in range(2):
        with pytest.raises(Unavailable, match="merge queue"):
            merge(scene, number, head)
    assert world.pulls[number].queued
    assert sum("enqueuePullRequest" in query for query in scene.github.queries) == 1
    with world.settled():
        sha = world.merge(world.pulls[number], method="merge", title="Queue", message="", by="github-merge-queue")
    assert merge(scene, number, head) == sha


def test_a_head_that_github_does_not_put_into_its_queue_is_refused_with_its_reason(scene: Scene) -> None:
    head = scene.push(files={"calc.py": "mine\n"})
    number = scene.open()
    scene.github.world.merge_queue = True
    scene.advance_base({"calc.py": "theirs\n"})
    with pytest.raises(Refused, match="GitHub does not do it: Pull request is in dirty status") as refused:
        merge(scene, number, head)
    assert refused.value.code == "not-allowed"


def test_a_head_that_the_queue_gave_up_is_refused_with_the_reason_and_put_in_anew_when_asked_anew(scene: Scene) -> None:
    head = scene.push()
    number = scene.open()
    world = scene.github.world
    world.merge_queue = True
    world.dequeue(world.pulls[number], "manual")  # of somebody else, before we came
    with pytest.raises(Unavailable, match="merge queue") as waits:
        merge(scene, number, head)
    assert waits.value.under_way
    world.dequeue(world.pulls[number], "failed_checks")
    with pytest.raises(Refused, match="gave #1 up: failed checks") as refused:
        merge(scene, number, head)
    assert refused.value.code == "dequeued"
    with pytest.raises(Unavailable, match="merge queue"):
        merge(scene, number, head)
    assert world.pulls[number].queued


def test_what_we_put_into_the_queue_is_taken_out_when_it_is_not_to_be_merged_any_more(scene: Scene) -> None:
    head = scene.push()
    number = scene.open()
    world = scene.github.world
    world.merge_queue = True
    world.pulls[number].queued = True
    scene.forge.withdraw(number, head_sha=head)
    assert world.pulls[number].queued  # somebody else's doing
    with pytest.raises(Unavailable):
        merge(scene, number, head)
    for _ in range(2):
        scene.forge.withdraw(number, head_sha=head)
    assert not world.pulls[number].queued
    assert sum("dequeuePullRequest" in query for query in scene.github.queries) == 1


def test_whoever_is_faster_at_the_queue_saves_us_the_work(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    head = scene.push()
    number = scene.open()
    scene.github.world.merge_queue = True
    pull = scene.github.world.pulls[number]

    def after(queued: bool) -> Callable[..., None]:
        def refuse(*_: object, **__: object) -> None:
            pull.queued = queued
            raise GraphQLError("It is so already", extensions={"type": "UNPROCESSABLE"})

        return refuse

    monkeypatch.setattr(graph._Root, "enqueuePullRequest", after(True))
    with pytest.raises(Unavailable, match="is in the merge queue of main, place 1"):
        merge(scene, number, head)
    monkeypatch.setattr(graph._Root, "dequeuePullRequest", after(True))
    with pytest.raises(Refused, match="It is so already"):
        scene.forge.withdraw(number, head_sha=head)
    monkeypatch.setattr(graph._Root, "dequeuePullRequest", after(False))
    scene.forge.withdraw(number, head_sha=head)
    assert not QueuedMerge.objects.exists()


def test_a_merged_branch_is_deleted_and_one_that_moved_on_is_kept(scene: Scene) -> None:
    head = scene.push()
    scene.forge.delete_branch(BRANCH, expected_sha=head)
    assert scene.github.world.sha(f"refs/heads/{BRANCH}") is None
    scene.forge.delete_branch(BRANCH, expected_sha=head)
    other = scene.push("demo/2", files={"x": "x\n"})
    with pytest.raises(Refused) as refused:
        scene.forge.delete_branch("demo/2", expected_sha=head)
    assert refused.value.code == "branch-moved"
    assert scene.github.world.sha("refs/heads/demo/2") == other


def test_closing_twice_does_nothing(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    scene.forge.close(number)
    scene.forge.close(number)
    assert scene.github.world.pulls[number].state == "closed"


# --- words ---


def test_a_comment_is_written_once_per_marker_also_when_its_answer_was_lost(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    scene.github.fail(r"POST .*/comments$", 502, after_the_effect=True)
    for _ in range(2):
        scene.forge.comment(number, marker="ao-1", body="Merged by hand?")
    assert [remark.body for remark in scene.github.world.remarks[number]] == ["Merged by hand?\n\n<!-- ao-1 -->"]


def test_a_thread_is_answered_once_and_settled_also_when_the_answer_was_lost(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    world = scene.github.world
    world.people["grace"] = "write"
    world.review("grace", number, "COMMENTED", "", [("calc.py", 2, "why?")])
    thread = next(iter(world.threads.values()))

    def answer(*, settle: bool) -> None:
        answered(scene, thread, settle=settle)

    answer(settle=False)
    assert not thread.resolved
    for _ in range(2):
        answer(settle=True)
    assert [remark.body for remark in thread.remarks] == ["why?", "Done.\n\n<!-- ao-answer-1 -->"]
    assert thread.resolved
    seen = look(scene, number).comments
    assert [(comment.ours, comment.trusted) for comment in seen] == [(False, True), (True, False)]


def test_a_reply_whose_answer_was_lost_is_not_written_again(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    world = scene.github.world
    world.review("grace", number, "COMMENTED", "", [("calc.py", 2, "why?")])
    thread = next(iter(world.threads.values()))
    scene.github.fail("POST .*/replies$", 502, after_the_effect=True)
    answered(scene, thread, settle=True)
    assert len(thread.remarks) == 2
    assert thread.resolved


def test_a_thread_that_is_gone_needs_no_answer(scene: Scene) -> None:
    scene.push()
    gone = Thread(
        id="PRRT_gone", pull=scene.open(), path="calc.py", line=2, remarks=[Remark(id=7, author="g", body="?")]
    )
    answered(scene, gone, settle=True)
    assert scene.github.world.threads == {}


def test_a_thread_whose_first_comment_was_deleted_is_answered_all_the_same(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    scene.github.world.review("grace", number, "COMMENTED", "", [("calc.py", 2, "why?")])
    thread = next(iter(scene.github.world.threads.values()))
    first = thread.remarks[0].id
    scene.github.world.reply("alan", thread.id, "I wonder, too.")
    del thread.remarks[0]
    for _ in range(2):
        scene.forge.answer(
            number, thread=thread.id, comment=str(first), marker="ao-answer-1", body="Done.", settle=True
        )
    assert [one.body for one in thread.remarks] == ["I wonder, too.", "Done.\n\n<!-- ao-answer-1 -->"]
    assert thread.resolved


def test_an_answer_that_github_refuses_is_told_and_settles_nothing(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    scene.github.world.review("grace", number, "COMMENTED", "", [("calc.py", 2, "why?")])
    thread = next(iter(scene.github.world.threads.values()))
    scene.github.fail("POST .*/replies$", 403, message="The conversation was locked")
    with pytest.raises(Refused, match="answering a thread of #1 of acme/demo failed: The conversation was locked"):
        answered(scene, thread, settle=True)
    assert (len(thread.remarks), thread.resolved) == (1, False)


def test_a_thread_that_our_token_may_not_settle_stays_open(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.push()
    scene.github.world.review("grace", scene.open(), "COMMENTED", "", [("calc.py", 2, "why?")])
    thread = next(iter(scene.github.world.threads.values()))

    def refuse(*_: object, **__: object) -> None:
        raise GraphQLError("Resource not accessible by integration", extensions={"type": "FORBIDDEN"})

    monkeypatch.setattr(graph._Root, "resolveReviewThread", refuse)
    answered(scene, thread, settle=True)
    assert (len(thread.remarks), thread.resolved) == (2, False)


def test_what_github_answers_with_nothing_was_not_done(scene: Scene) -> None:
    with pytest.raises(Refused, match="GitHub knows nothing of it: Could not resolve to a node") as refused:
        scene.forge.client.graphql(queries.RESOLVE, {"thread": "PRRT_gone"}, writes=True)
    assert refused.value.code == "gone"


def answered(scene: Scene, thread: Thread, *, settle: bool) -> None:
    began = str(thread.remarks[0].id)
    scene.forge.answer(thread.pull, thread=thread.id, comment=began, marker="ao-answer-1", body="Done.", settle=settle)


# --- what goes wrong ---


def test_a_token_that_was_revoked_is_named_with_where_to_set_a_new_one(scene: Scene) -> None:
    scene.github.world.tokens.clear()
    with pytest.raises(Refused, match=r"make a new one and set scm.token of demo") as refused:
        look(scene, 1)
    assert refused.value.code == "no-access"


def test_the_scopes_that_a_token_lacks_are_named(scene: Scene) -> None:
    scene.push()
    scene.github.world.scopes = "read:user"
    scene.github.fail(
        r"POST .*/pulls$",
        403,
        message="Resource not accessible",
        headers={"x-accepted-oauth-scopes": "public_repo, repo"},
    )
    with pytest.raises(Refused, match="the scope public_repo or repo") as refused:
        scene.open()
    assert refused.value.code == "no-access"


def test_a_repository_that_is_gone_or_hidden_is_told(scene: Scene) -> None:
    gone = replace(scene.forge, client=replace(scene.forge.client, repository="acme/old-name"))
    with pytest.raises(Refused, match="acme/old-name: it was renamed or deleted") as refused:
        gone.observe([1])
    assert refused.value.code == "no-repository"


def test_github_that_cannot_be_reached_is_worth_another_try(scene: Scene) -> None:
    away = replace(scene.forge, client=replace(scene.forge.client, api_url="http://127.0.0.1:9"))
    with pytest.raises(Unavailable, match="cannot be reached"):
        away.observe([1])


@pytest.mark.parametrize(
    ("headers", "message", "wait"),
    [
        ({"retry-after": "17"}, "You have exceeded a secondary rate limit", 17),
        ({}, "You have exceeded a secondary rate limit. Please wait", 60),
    ],
)
def test_everybody_rests_when_github_asks_for_it(
    scene: Scene, headers: dict[str, str], message: str, wait: int
) -> None:
    number = Pull(number=1, id=1, title="", body="", author="", head="", base="", head_sha="").number
    scene.github.fail("POST /graphql", 403, message=message, headers=headers)
    with pytest.raises(Unavailable) as first:
        scene.forge.observe([number])
    assert first.value.retry_after is not None
    assert first.value.retry_after.total_seconds() == wait
    asked = len(scene.github.asked)
    another = replace(scene.forge)  # another process shares the budget and nothing else
    with pytest.raises(Unavailable, match="patience"):
        another.observe([number])
    assert len(scene.github.asked) == asked


def test_reads_stop_before_writes_do(scene: Scene) -> None:
    scene.push()
    number = scene.open()
    look(scene, number)
    scene.github.quota.left["graphql"] = 300
    look(scene, number)
    with pytest.raises(Unavailable, match="limit for this hour") as unavailable:
        look(scene, number)
    assert unavailable.value.retry_after is not None
    scene.forge.close(number)
    assert scene.github.world.pulls[number].state == "closed"
