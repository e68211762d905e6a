"""T13: markup, control sequences and hostile addresses from agents, logs and people are shown, never obeyed."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from aoweb.dashboard import diff
from aoweb.dashboard.text import markdown, plain
from aoweb.templatetags.ao import link
from orchestrator.domain.rules import Override, Trigger
from orchestrator.models import Comment, DecisionRecord, Diff, Event, InboxItem, Message, Review, Task
from orchestrator.services import tasks
from orchestrator.services.action_links import links_for, token_of
from orchestrator.services.events import Actor
from tests.web import claude_scene, scenes

PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "</textarea><svg onload=alert(1)>",
    "</script><script src=//evil.example/x.js></script>",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/spy.png)",
    '<a href="data:text/html,<script>alert(1)</script>">x</a>',
    "{{ 7|add:7 }}{% now 'Y' %}",
    "<style>*{display:none}</style><base href=//evil.example><meta http-equiv=refresh content='0;//evil.example'>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe><form action=//evil.example><input name=x>",
)
HARMFUL_TAGS = {"iframe", "object", "embed", "base", "style", "math", "foreignobject"}


class Danger(HTMLParser):
    """Finds what a page may never hold: handlers, inline code, addresses of other sites."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in HARMFUL_TAGS or any(name.startswith("on") or name == "style" for name in values):
            self.found.append(f"<{tag} {values}>")
        if tag == "script" and not (values.get("src") or "").startswith("/static/"):
            self.found.append(f"<script {values}>")
        for name in ("href", "src", "action", "formaction"):
            value = (values.get(name) or "").strip().lower()
            if "evil.example" in value and tag != "a":
                self.found.append(f"<{tag} {name}={value}>")
            if value.startswith(("javascript:", "data:", "vbscript:")):
                self.found.append(f"<{tag} {name}={value}>")


def dangers(html: str) -> list[str]:
    parser = Danger()
    parser.feed(html)
    return parser.found


def test_the_detector_detects() -> None:
    assert dangers("<img src=x onerror=alert(1)>")
    assert dangers("<script>alert(1)</script>")
    assert dangers('<a href="javascript:alert(1)">x</a>')
    assert not dangers('<script src="/static/ao/page.js"></script>')


def hostile(shop: object, user: User, payload: str) -> Task:
    """A task with the payload in everything that somebody else may write."""
    task = scenes.full(shop, user)  # type: ignore[arg-type]
    Task.objects.filter(pk=task.pk).update(
        title=payload, body=payload, issue=payload, reason=payload, waiting_for=payload, labels=[payload],
        evidence=[payload], branch=payload, agent=payload[:60],
    )  # fmt: skip
    scenes.escalation(task, payload)
    pull = task.pull_requests.get()
    pull.checks.filter(name="unit").update(name=payload)
    pull.checks.update(failing_log=payload, detail=payload, url="javascript:alert(1)")
    type(pull).objects.filter(pk=pull.pk).update(url="javascript:alert(1)", conflict_files=[payload], mergeable=False)
    Review.objects.update(body=payload, author=payload)
    Comment.objects.update(body=payload, author=payload, path=payload)
    Message.objects.update(text=payload)
    Event.objects.update(text=payload)
    DecisionRecord.objects.update(why=[payload, f"{payload} -> {payload} -> {payload}"], reason=payload, made=[payload])
    own = Override(trigger=Trigger.CI_FAILED, message=payload)
    tasks.set_rules(task=task, reactions=[own], actor=Actor(name=payload[:150]))
    Diff.objects.update(text=scenes.DIFF.replace("billing/totals.py", payload).replace("from decimal", payload))
    for turn in task.sessions.get().turns.all():
        turn.last_words = payload
        turn.request = {
            "id": payload,
            "kind": "question",
            "question": payload,
            "options": [payload],
            "asked_at": scenes.NOW.isoformat(),
        }
        turn.save()
    task.refresh_from_db()
    return task


@pytest.mark.django_db
@pytest.mark.parametrize("payload", PAYLOADS)
def test_payloads_are_inert_on_every_page(payload: str) -> None:
    user = scenes.person("ada", superuser=True)
    shop = scenes.project("shop", name=payload, notice=payload, remote=payload)
    task = hostile(shop, user, payload)
    client = Client()
    client.force_login(user)
    asked = task.interruptions.get()
    told = {"title": payload, "body": f"{payload}\n{payload}", "priority": "urgent", "at": scenes.NOW}
    InboxItem.objects.create(person=user, interruption=asked, cause="x", **told)
    (link,) = links_for(asked, nonce=payload, person=user.pk, now=timezone.now())[-1:]
    pressed = token_of(link)
    paths = (
        "/",
        "/tasks/new/",
        f"/tasks/{task.pk}/",
        f"/tasks/{task.pk}/diff/",
        f"/tasks/{task.pk}/why/",
        f"/tasks/{task.pk}/rules/",
        "/projects/",
        "/projects/shop/",
        "/projects/shop/rules/",
        "/board/respond/",
        "/escalations/",
        "/inbox/",
        f"/act/{pressed}/",
        "/?q=" + payload.replace("&", "%26").replace("#", "%23"),
    )
    for path in paths:
        response = client.get(path)
        assert response.status_code == 200
        assert dangers(response.content.decode()) == []
    typed = client.post(f"/tasks/{task.pk}/send/", {"text": "x" * 100_001 + payload})
    assert typed.status_code == 422
    assert dangers(typed.content.decode()) == []


def in_every_line(payload: str) -> bytes:
    """Lines of Claude Code and of the common vocabulary with the payload wherever an agent, a tool or a page it read could put it."""
    claude = claude_scene
    return b"".join(
        (
            claude.line(type="system", subtype="init", model=payload, claude_code_version=payload, cwd=payload),
            claude.line(type="system", subtype="api_retry", attempt=payload, max_retries=payload, error_status=payload),
            claude.line(type="user", uuid=payload, isReplay=True, message={"content": payload}),
            claude.line(type="user", message={"content": payload}),
            claude.says(claude.words(f"{payload}\n```{payload}\n{payload}\n```\n`{payload}` **{payload}**")),
            claude.says({"type": "thinking", "thinking": payload}),
            claude.says(claude.uses(payload, payload, command=f"{payload}\n{payload}")),
            claude.says(claude.uses("t", payload, file_path=payload, old_string=payload, new_string=payload)),
            claude.answers(payload, f"{payload}\n" * 20, is_error=True),
            claude.asks(payload, command=payload),
            claude.asks("AskUserQuestion", questions=[{"question": payload, "options": [{"label": payload}]}]),
            claude.line(type="rate_limit_event", rate_limit_info={"status": payload}),
            claude.line(type=payload, subtype=payload),
            claude.result(is_error=True, result=payload),
            claude.line(type="activity", tool=payload, summary=payload),
            claude.line(type="message", text=payload),
            claude.line(type="needs_input", question=payload, options=[payload]),
            claude.line(type="turn_done", ok=False, why=payload),
            payload.encode() + b"\n",
        )
    )


@pytest.mark.django_db
@pytest.mark.parametrize("agent", ["claude-code", "command"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_payloads_in_an_agents_lines_are_inert_in_its_transcript(payload: str, agent: str) -> None:
    user = scenes.person("ada", superuser=True)
    task = scenes.task(scenes.project(), agent=agent)
    turn = scenes.turn(scenes.session(task), output=in_every_line(payload))
    client = Client()
    client.force_login(user)
    url = f"/tasks/{task.pk}/transcript/{turn.pk}/"
    html = client.get(url).json()["html"]
    assert html.count("entry") > 5
    assert dangers(html) == []
    for query in ("", "?raw=1"):
        assert dangers(client.get(url + query, headers={"Accept": "text/html"}).content.decode()) == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/", "/accounts/login/", "/login/x/", "/nowhere/", "/static/ao/page.js", "/admin/", "/healthz"]
)
def test_every_answer_forbids_inline_code(path: str) -> None:
    client = Client()
    client.force_login(scenes.person("ada", superuser=True, staff=True))
    policy = client.get(path)["Content-Security-Policy"]
    assert "unsafe-inline" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy or path == "/admin/"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_markdown_keeps_words_and_drops_what_acts(payload: str) -> None:
    html = markdown(f"**before** {payload}\n\n{payload}\n\n`after`")
    assert dangers(html) == []
    assert "<strong>before</strong>" in html
    assert "<code>after</code>" in html
    assert "<img" not in html


def test_markdown_links_leave_without_saying_where_from() -> None:
    assert markdown("[a](https://example.com)") == (
        '<p><a href="https://example.com" rel="noopener noreferrer nofollow">a</a></p>\n'
    )


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\", "click"),
        ("\x1b]0;title\x07rest", "rest"),
        ("10%\r50%\r100%\n", "100%\n"),
        ("line\r\nnext", "line\nnext"),
        ("abc\u202egnp.exe", "abcgnp.exe"),
        ("a\x00b\x08c\x9b31md", "abcd"),
        ("\x1b[2J\x1b[1;1Hclean", "clean"),
        ("tab\tand ✓ stay", "tab\tand ✓ stay"),
    ],
)
def test_terminal_output_becomes_the_text_that_was_meant(output: str, shown: str) -> None:
    assert plain(output) == shown


@pytest.mark.parametrize("address", ["javascript:alert(1)", " https://x", "data:text/html,x", "//evil.example", ""])
def test_only_addresses_of_the_web_become_links(address: str) -> None:
    assert link(address) == ""
    assert link("https://forge.example/pull/1") == "https://forge.example/pull/1"


def test_content_that_looks_like_a_header_of_a_diff_stays_content() -> None:
    text = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n--- a/evil\n+++ b/evil\n same\n"
    change = diff.parse(text)
    assert [one.path for one in change.files] == ["x"]
    assert [(row.kind, row.text) for row in change.files[0].rows[1:]] == [
        ("removed", "-- a/evil"),
        ("added", "++ b/evil"),
        ("same", "same"),
    ]


def test_renamed_quoted_and_binary_files_have_their_names() -> None:
    text = (
        'diff --git "a/\\303\\244 b.txt" "b/\\303\\244 c.txt"\nsimilarity index 100%\n'
        'rename from "\\303\\244 b.txt"\nrename to "\\303\\244 c.txt"\n'
        "diff --git a/logo.png b/logo.png\nBinary files a/logo.png and b/logo.png differ\n"
    )
    renamed, picture = diff.parse(text).files
    assert (renamed.was, renamed.path) == ("ä b.txt", "ä c.txt")
    assert (picture.path, picture.rows[0].text) == ("logo.png", "binary file")


def test_a_change_without_end_is_cut_and_says_so() -> None:
    lines = diff.MOST_ROWS + 50
    text = f"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1,{lines} @@\n" + "+x\n" * lines
    change = diff.parse(text)
    assert change.cut
    assert sum(len(one.rows) for one in change.files) == diff.MOST_ROWS
