"""The pages: what they show, what they refuse, and that a refusal loses nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.utils import timezone

from orchestrator.domain.rules import Override, Trigger
from orchestrator.domain.status import TaskStatus
from orchestrator.models import Event, Interruption, Message, Project, Review, Role, Task, Turn
from orchestrator.services import rules, tasks
from orchestrator.services.events import Actor
from tests.web import claude_scene, scenes

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return scenes.person("ada")


@pytest.fixture
def client(ada: User) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def body(response: object) -> str:
    return response.content.decode()  # type: ignore[attr-defined]


def test_without_a_project_the_board_says_how_to_get_one(client: Client) -> None:
    assert "You are not a member of any project" in body(client.get("/"))


def test_without_a_project_a_superuser_reads_the_command_that_adds_one() -> None:
    client = Client()
    client.force_login(scenes.person("root", superuser=True, staff=True))
    assert "ao start PATH-or-URL" in body(client.get("/"))


def test_without_a_task_the_board_shows_the_form(client: Client, ada: User) -> None:
    scenes.project(members={ada: Role.MEMBER}, notice="No agent is installed: npm install -g claude-code")
    page = body(client.get("/"))
    assert "Hand it in" in page
    assert "No agent is installed" in page


def test_each_task_stands_in_the_column_of_its_attention(client: Client, ada: User) -> None:
    shop = scenes.project(members={ada: Role.MEMBER})
    for status, _reason in scenes.MIX:
        scenes.task(shop, f"about {status}", status=status)
    page = body(client.get("/"))
    for task in Task.objects.all():
        column = page.split(f'data-cards="{task.attention}"')[1].split("</section>")[0]
        assert f'id="task-{task.pk}"' in column


def test_a_long_column_shows_its_first_hundred_and_the_way_to_more(client: Client, ada: User) -> None:
    shop = scenes.project(members={ada: Role.MEMBER})
    scenes.crowd(shop, 13 * 105)
    page = body(client.get("/"))
    assert page.count('data-column="review"') == 100
    assert page.count('data-column="done"') == 50
    more = body(client.get("/board/review/?start=100"))
    assert more.count('data-column="review"') == 5


def test_the_board_costs_the_same_queries_for_few_and_for_many_tasks(
    client: Client, ada: User, django_assert_max_num_queries: object
) -> None:
    shop = scenes.project(members={ada: Role.MEMBER})
    scenes.crowd(shop, 300)
    with django_assert_max_num_queries(75):  # type: ignore[operator]
        client.get("/")
    with django_assert_max_num_queries(20):  # type: ignore[operator]
        client.get("/")


def test_filters_leave_what_was_asked_for(client: Client, ada: User) -> None:
    shop = scenes.project(members={ada: Role.MEMBER})
    mine = scenes.task(shop, "mine and about search", requested_by=ada)
    other = scenes.task(shop, "about totals")
    for query, shown, hidden in (("?q=SEARCH", mine, other), ("?mine=1", mine, other), ("?q=totals", other, mine)):
        page = body(client.get(f"/{query}"))
        assert f'id="task-{shown.pk}"' in page
        assert f'id="task-{hidden.pk}"' not in page
    assert "No task matches" in body(client.get("/?project=elsewhere"))


def test_a_task_is_handed_in_once_although_the_form_is_sent_twice(client: Client, ada: User) -> None:
    scenes.project(members={ada: Role.MEMBER})
    form = {"project": "shop", "title": "Fix the failing test", "key": "form-1", "labels": "a, b", "priority": "3"}
    first, second = client.post("/tasks/new/", form), client.post("/tasks/new/", form)
    task = Task.objects.get()
    assert first.url == second.url == f"/tasks/{task.pk}/"
    assert (task.labels, task.priority, task.requested_by) == (["a", "b"], 3, ada)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("title", "   ", "must not be empty"),
        ("agent", "nobody", "is not a known agent"),
        ("priority", "high", "is not a whole number"),
        ("priority", "101", "out of range"),
        ("depends_on", "7", "has no task 7"),
        ("depends_on", "seven", "write task numbers"),
    ],
)
def test_a_refused_task_says_why_and_keeps_what_was_typed(
    client: Client, ada: User, field: str, value: str, said: str
) -> None:
    scenes.project(members={ada: Role.MEMBER})
    form = {"project": "shop", "title": "kept title", "body": "kept body", field: value}
    response = client.post("/tasks/new/", form)
    assert response.status_code == 422
    assert said in body(response)
    assert "kept body" in body(response)
    assert not Task.objects.exists()


def test_the_page_of_a_task_shows_every_part_of_it(client: Client, ada: User) -> None:
    task = scenes.full(scenes.project(members={ada: Role.MEMBER}), ada)
    page = body(client.get(f"/tasks/{task.pk}/"))
    for part in (
        "green; waits for a review",
        "<strong>off by a cent</strong>",
        "Totals are now rounded once",
        "Please keep the old signature working.",
        "1 failed, 41 passed",
        "send-to-agent (try 1 of 2)",
        "pull request 1 is open",
        "Say why it is quantized",
        "68311 in, 3920 out",
        "0.53 USD",
        "Approve",
    ):
        assert part in page, part


def test_the_change_is_drawn_with_its_comments_in_place(client: Client, ada: User) -> None:
    task = scenes.full(scenes.project(members={ada: Role.MEMBER}), ada)
    page = body(client.get(f"/tasks/{task.pk}/diff/"))
    assert "def total(lines: list[Line]) -&gt; Decimal:" in page
    line = page.split('data-line="7"')[1]
    assert line.index("quantized") < line.index('data-line="8"')


def test_the_transcript_comes_in_pages_without_escape_sequences(client: Client, ada: User) -> None:
    task = scenes.task(scenes.project(members={ada: Role.MEMBER}))
    output = b"".join(b"\x1b[31mline %d\x1b[0m\n" % n for n in range(20_000))
    turn = scenes.turn(scenes.session(task), output=output)
    url = f"/tasks/{task.pk}/transcript/{turn.pk}/?raw=1"
    last = client.get(url).json()
    assert last["text"].endswith("line 19999\n")
    text, after = "", 0
    while after < len(output):
        page = client.get(f"{url}&after={after}").json()
        text, after = text + page["text"], page["next"]
    assert text == "".join(f"line {n}\n" for n in range(20_000))
    before = client.get(f"{url}&before={last['start']}").json()
    assert before["next"] == last["start"]


def of_claude(ada: User, output: bytes = claude_scene.OUTPUT, *, live: bool = False) -> str:
    """The address of the transcript of a turn of Claude Code."""
    task = scenes.task(scenes.project(members={ada: Role.MEMBER}), agent="claude-code")
    ended = {} if live else {"ended_at": scenes.NOW, "end": "finished"}
    turn = scenes.turn(scenes.session(task), output=output, **ended)
    return f"/tasks/{task.pk}/transcript/{turn.pk}/"


def test_the_transcript_of_claude_code_is_told_as_people_read_it(client: Client, ada: User) -> None:
    html = client.get(of_claude(ada)).json()["html"]
    for part in (
        "began · claude-opus-4-5",
        "<p>I&#x27;ll start with the code that adds the lines up, and the tests around it.</p>",
        "<code>total()</code>",
        "<strong>Edit</strong> <code>billing/totals.py</code>",
        "<strong>Bash</strong> <code>python3 -m pytest -v</code>",
        '53 more lines</span> <span class="last">1 failed, 41 passed in 2.14s</span>',
        "the model&#x27;s API answered 529: try 1 of 10",
        "Asks for permission",
        "9 steps",
        "68,311 tokens in, 3,920 out",
        "0.53 USD",
    ):
        assert part in html, part
    assert "control_response" not in html
    assert html.index("Asks for permission") < html.index("Everything up-to-date")


def test_the_raw_transcript_is_one_press_away(client: Client, ada: User) -> None:
    url = of_claude(ada)
    assert '"subtype": "init"' in client.get(url, {"raw": "1"}).json()["text"]
    page = client.get(url, headers={"Accept": "text/html"})
    assert 'href="?raw=1"' in body(page)
    assert "python3 -m pytest -v" in body(page)
    assert "&quot;subtype&quot;: &quot;init&quot;" in body(client.get(url + "?raw=1", headers={"Accept": "text/html"}))


def test_a_long_transcript_is_walked_both_ways_and_no_line_is_lost_or_told_twice(client: Client, ada: User) -> None:
    said = [f"word {n} {'é' * (n * 37 % 900)}." for n in range(200)]
    url = of_claude(ada, b"".join(claude_scene.says(claude_scene.words(text)) for text in said))
    last = client.get(url).json()
    pages, start = [last["html"]], last["start"]
    while start:
        page = client.get(url, {"before": start}).json()
        assert page["next"] == start
        pages, start = [page["html"], *pages], page["start"]
    assert "".join(pages).count('class="entry say"') == 200
    assert [f"<p>{text}</p>" in "".join(pages) for text in said] == [True] * 200
    forward, after, size = "", 0, last["size"]
    while after < size:
        page = client.get(url, {"after": after}).json()
        forward, after = forward + page["html"], page["next"]
    assert "".join(forward.split()) == "".join("".join(pages).split())


def test_a_line_that_is_longer_than_a_page_is_told_once(client: Client, ada: User) -> None:
    long = claude_scene.answers("t", "x" * 300_000)
    url = of_claude(ada, claude_scene.says(claude_scene.words("before")) + long + claude_scene.result())
    page = client.get(url, {"before": len(claude_scene.says(claude_scene.words("before")) + long)}).json()
    assert page["start"] == 0
    assert page["html"].count("data-of") == 1
    last = client.get(url).json()
    assert "Turn done" in last["html"]


def test_what_is_longer_than_any_line_is_told_in_pieces(client: Client, ada: User) -> None:
    url = of_claude(ada, b"y" * 5_000_000)
    after, pieces = 0, 0
    while after < 5_000_000:
        page = client.get(url, {"after": after}).json()
        after, pieces = page["next"], pieces + page["html"].count("as-it-is")
    assert pieces == 3
    last = client.get(url).json()
    assert (last["next"], last["html"].count("more characters")) == (5_000_000, 1)


def test_a_line_that_is_still_being_written_waits_for_its_end(client: Client, ada: User) -> None:
    whole = claude_scene.says(claude_scene.words("Nearly."))
    cut = claude_scene.says(claude_scene.words("Done."))
    url = of_claude(ada, whole + cut[:30], live=True)
    page = client.get(url).json()
    assert ("Nearly." in page["html"], page["next"], page["live"]) == (True, len(whole), True)
    turn = Turn.objects.get()
    scenes.JournalChunk.objects.create(run=turn.run_id, offset=len(whole) + 30, data=cut[30:])
    page = client.get(url, {"after": page["next"]}).json()
    assert ("Done." in page["html"], page["next"]) == (True, len(whole + cut))


def test_what_is_no_event_is_told_while_it_is_being_written(client: Client, ada: User) -> None:
    url = of_claude(ada, b"Continue? [y/n] ", live=True)
    page = client.get(url).json()
    assert "data-open>Continue? [y/n] </pre>" in page["html"]
    turn = Turn.objects.get()
    scenes.JournalChunk.objects.create(run=turn.run_id, offset=16, data=b'{"type": "result"}\n')
    assert "as-it-is" in client.get(url, {"after": page["next"]}).json()["html"]


def test_a_cut_line_is_told_when_its_run_has_ended(client: Client, ada: User) -> None:
    assert "{&quot;type&quot;: &quot;assi" in client.get(of_claude(ada, b'{"type": "assi')).json()["html"]


def test_words_for_the_agent_are_recorded(client: Client, ada: User) -> None:
    task = scenes.task(scenes.project(members={ada: Role.MEMBER}))
    response = client.post(f"/tasks/{task.pk}/send/", {"text": "look at the fixture", "key": "k1"})
    assert response.status_code == 302
    client.post(f"/tasks/{task.pk}/send/", {"text": "look at the fixture", "key": "k1"})
    message = Message.objects.get()
    assert (message.text, message.author) == ("look at the fixture", ada)


@pytest.mark.parametrize("deed", ["send", "answer", "merge", "cancel", "retry", "restart", "pause", "resume", "review"])
def test_what_cannot_be_done_to_an_ended_task_is_said_and_nothing_typed_is_lost(
    client: Client, ada: User, deed: str
) -> None:
    task = scenes.task(scenes.project(members={ada: Role.MEMBER}), status=TaskStatus.MERGED)
    typed = {
        "text": "precious words",
        "answer": "precious words",
        "body": "x",
        "comment": "precious words",
        "decision": "comment",
        "path": "a.py",
    }
    response = client.post(f"/tasks/{task.pk}/{deed}/", typed)
    assert response.status_code == 409
    assert "Not done." in body(response)
    assert "precious words" in body(response)


def test_a_task_is_paused_and_resumed_on_its_page(client: Client, ada: User) -> None:
    task = scenes.task(scenes.project(members={ada: Role.MEMBER}), status=TaskStatus.WORKING)
    assert "Pause</button>" in body(client.get(f"/tasks/{task.pk}/"))
    client.post(f"/tasks/{task.pk}/pause/")
    page = body(client.get(f"/tasks/{task.pk}/"))
    assert "ada paused it" in page
    assert "Resume</button>" in page
    client.post(f"/tasks/{task.pk}/resume/")
    task.refresh_from_db()
    assert not task.paused


def test_what_it_costs_is_shown_by_project_agent_and_task_with_the_budgets_as_bars(client: Client, ada: User) -> None:
    shop = scenes.project(members={ada: Role.MEMBER})
    task = scenes.full(shop, ada)
    Turn.objects.update(created_at=timezone.now(), cost_usd="4.5", input_tokens=12_345)
    turns = Turn.objects.count()
    Project.objects.update(budget={"day": {"cost": 4.5 * turns}, "task": {"cost": 1000}})
    page = body(client.get("/usage/"))
    assert f"${4.5 * turns:.2f}" in page
    assert f"{task}</a>" in page
    assert '<progress max="100" value="100"' in page
    assert "used up" in page
    old = timezone.now() - timedelta(days=6)
    Turn.objects.update(created_at=old)
    assert "No agent has worked in this time." in body(client.get("/usage/"))
    assert f"${4.5 * turns:.2f}" in body(client.get("/usage/?days=7"))
    assert "1,000.00 USD" not in body(client.get("/usage/?days=7"))
    assert "of 1000.00 USD" in body(client.get(f"/tasks/{task.pk}/"))


def test_a_question_is_answered_on_the_page(client: Client, ada: User) -> None:
    task = scenes.task(scenes.project(members={ada: Role.MEMBER}), status=TaskStatus.NEEDS_INPUT)
    turn = scenes.question(task, "Which rounding mode?", "half even", "half up")
    page = body(client.get(f"/tasks/{task.pk}/"))
    assert "Which rounding mode?" in page
    assert 'value="half even"' in page
    client.post(f"/tasks/{task.pk}/answer/", {"request_id": "q1", "option": "half even", "answer": ""})
    turn.refresh_from_db()
    assert turn.request["answer"] == "half even"


def test_a_line_comment_becomes_a_review_of_the_head_that_was_shown(client: Client, ada: User) -> None:
    task = scenes.full(scenes.project(members={ada: Role.MEMBER}), ada)
    form = {
        "decision": "request_changes",
        "path": "billing/totals.py",
        "line": "5",
        "comment": "name it",
        "head_sha": scenes.HEAD,
    }
    response = client.post(f"/tasks/{task.pk}/review/", form)
    assert response.url.endswith("#changes")
    review = Review.objects.get(user=ada)
    comment = review.comments.get()
    assert (comment.path, comment.line, review.head_sha) == ("billing/totals.py", 5, scenes.HEAD)


@pytest.mark.parametrize(
    ("deed", "form"), [("review", {"decision": "approve"}), ("merge", {})], ids=["approve", "merge"]
)
def test_a_head_that_moved_since_the_page_was_opened_is_neither_approved_nor_merged(
    client: Client, ada: User, deed: str, form: dict[str, str]
) -> None:
    task = scenes.full(scenes.project(members={ada: Role.MEMBER}), ada)
    response = client.post(f"/tasks/{task.pk}/{deed}/", {**form, "head_sha": scenes.BASE})
    assert response.status_code == 409
    assert "the head moved" in body(response)
    assert not Review.objects.filter(user=ada).exists()


def test_opening_pages_changes_nothing(client: Client, ada: User) -> None:
    task = scenes.full(scenes.project(members={ada: Role.MEMBER}), ada)
    scenes.escalation(task)
    version, events = task.version, Event.objects.count()
    turn = task.sessions.get().turns.first()
    assert turn is not None
    for url in (
        "/",
        f"/tasks/{task.pk}/",
        f"/tasks/{task.pk}/diff/",
        f"/tasks/{task.pk}/transcript/{turn.pk}/",
        "/projects/shop/",
    ):
        assert client.get(url).status_code == 200
    task.refresh_from_db()
    assert (task.version, Event.objects.count()) == (version, events)
    assert Interruption.objects.filter(seen_at__isnull=False).count() == 0


def test_the_board_names_a_host_that_does_not_answer(client: Client, ada: User) -> None:
    scenes.project(members={ada: Role.MEMBER})
    host = scenes.host("spare", seen_at=timezone.now() - timedelta(minutes=10))
    host.silent_since = timezone.now() - timedelta(minutes=9)
    host.trouble = "no route"
    host.save()
    assert "spare does not answer: no route" in body(client.get("/"))


def test_the_rules_are_said_in_sentences_with_the_place_that_set_each_field_and_their_versions(
    client: Client, ada: User
) -> None:
    shop = scenes.project(members={ada: Role.VIEWER})
    with transaction.atomic():
        rules.set_override(Override(trigger=Trigger.CI_FAILED, retries=5), project=shop, actor=Actor(name="grace"))
    assert "and one of them failed, the agent is told; after 2 tries" in body(client.get("/projects/shop/"))
    page = body(client.get("/projects/shop/rules/"))
    rule = page.split("<strong>ci-failed</strong>")[1].split("</details>")[0]
    assert "version 1" in rule
    assert "after 2 tries without success a person is called" in rule
    assert '<th scope="row">Retries</th><td>5</td><td><span class="pill tone-ask">this project' in rule
    assert '<th scope="row">Acts by itself</th><td>yes</td><td><span class="state">default' in rule
    assert "/admin/" not in rule
    change = page.split('<ol class="versions">')[1]
    assert "grace" in change
    assert "<code>retries</code> <del>inherited</del>" in change


def test_a_task_with_rules_of_its_own_says_so_and_shows_them(client: Client, ada: User) -> None:
    shop = scenes.project(members={ada: Role.MEMBER})
    task = scenes.full(shop, ada)
    own = [Override(trigger=Trigger.AGENT_STUCK, threshold=timedelta(hours=2))]
    tasks.set_rules(task=task, reactions=own, actor=Actor(name="ada"))
    assert f'<a href="/tasks/{task.pk}/rules/">agent-stuck</a>' in body(client.get(f"/tasks/{task.pk}/"))
    rule = body(client.get(f"/tasks/{task.pk}/rules/")).split("<strong>agent-stuck</strong>")[1].split("</details>")[0]
    assert "When the agent shows no progress for 2h" in rule
    assert '<td>2h</td><td><span class="pill tone-ask">this task' in rule


def test_maintainers_with_access_to_the_administration_are_led_to_where_a_rule_is_changed(client: Client) -> None:
    chief = scenes.person("chief", staff=True, superuser=True)
    shop = scenes.project()
    row = shop.rules.create(trigger="ci-failed", retries=5)
    client.force_login(chief)
    page = body(client.get("/projects/shop/rules/"))
    assert f"/admin/orchestrator/rulerow/{row.pk}/change/" in page
    assert f"/admin/orchestrator/rulerow/add/?project={shop.pk}&amp;trigger=agent-idle" in page


def test_the_page_of_a_task_says_what_it_waits_for_and_why_each_thing_was_sent(client: Client, ada: User) -> None:
    shop = scenes.project(members={ada: Role.MEMBER})
    task = scenes.full(shop, ada)
    sent = Message.objects.create(
        task=task, key="send:1:ci-failed:1:4f2d9c1ab3", trigger="ci-failed", rule_version=0, occasion="o", text="Red."
    )
    record = task.decisions.get()
    page = body(client.get(f"/tasks/{task.pk}/"))
    assert "Why is it waiting?" in page
    assert "by the rule ci-failed" in page
    assert f"/tasks/{task.pk}/why/?at={record.pk}#decision-{record.pk}" in page
    assert "since changed" not in page
    rules.set_override(Override(trigger=Trigger.CI_FAILED, retries=5), project=shop, actor=Actor(name="grace"))
    assert "by the rule ci-failed, since changed" in body(client.get(f"/tasks/{task.pk}/"))
    sent.refresh_from_db()
    assert sent.rule_version == 0
    told = body(client.get(f"/tasks/{task.pk}/why/?at={record.pk}"))
    assert '<span class="rule-name">ci-failed (version 3)</span> <strong>send-to-agent (try 1 of 2)</strong>' in told
    assert client.get(f"/tasks/{task.pk}/why/?at=x").status_code == 404


def test_what_is_reviewed_on_github_leads_there_and_asks_for_no_review_here(client: Client, ada: User) -> None:
    project = scenes.project(members={ada: Role.MAINTAINER}, scm={"plugin": "github"})
    task = scenes.task(project, status=TaskStatus.REVIEW_PENDING)
    pull = scenes.pull(task)
    pull.url = "https://github.com/acme/demo/pull/1"
    pull.save()
    page = client.get(f"/tasks/{task.pk}/").content.decode()
    assert f'<a class="button primary" href="{pull.url}" rel="noopener noreferrer">Review it on GitHub</a>' in page
    assert 'name="decision"' not in page
