"""The signed webhook, as its receiver sees it, on real sockets."""

from __future__ import annotations

import hashlib
import hmac
import time
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.ports import Notice, NoticeLink, Refused, Unavailable
from tests.receivers import Delivery, nobody, receiver
from workers.plugins import builtin
from workers.plugins.notifiers.channel import calm, text_of
from workers.plugins.notifiers.webhook import WebhookNotifier

SECRET = "a secret of both"
NOTICE = Notice(
    id="ao-7",
    priority="urgent",
    title="app#1: What now? é",
    body="why\nwhat to press",
    url="https://ao.example/tasks/1/",
    links=(NoticeLink(label="Acknowledge", url="https://ao.example/act/x/"),),
    event="asked",
    about=(3,),
)


def proven(delivery: Delivery, secret: str, *, at_most: timedelta = timedelta(minutes=5)) -> bool:
    """What docs/notifications.md tells a receiver to do."""
    timestamp = delivery.headers["X-AO-Timestamp"]
    expected = hmac.new(secret.encode(), f"{timestamp}.".encode() + delivery.body, hashlib.sha256).hexdigest()
    fresh = abs(time.time() - int(timestamp)) <= at_most.total_seconds()
    return fresh and hmac.compare_digest(delivery.headers["X-AO-Signature"], f"sha256={expected}")


def test_its_receiver_can_prove_that_it_is_ours_and_knows_a_repetition() -> None:
    with receiver() as hook:
        channel = WebhookNotifier(config={"url": hook.url, "secret": SECRET})
        channel.notify(NOTICE)
        channel.notify(NOTICE)
        assert [proven(one, SECRET) for one in hook.taken] == [True, True]
        assert not proven(hook.taken[0], "another secret")
        altered = Delivery(path="/", headers=hook.taken[0].headers, body=hook.taken[0].body.replace(b"ao-7", b"ao-8"))
        assert not proven(altered, SECRET)
        assert {one.headers["X-AO-Delivery"] for one in hook.taken} == {"ao-7"}
        assert hook.taken[0].headers["X-AO-Event"] == "asked"
        assert hook.taken[0].told == {
            "version": 1,
            "id": "ao-7",
            "event": "asked",
            "priority": "urgent",
            "title": "app#1: What now? é",
            "body": "why\nwhat to press",
            "url": "https://ao.example/tasks/1/",
            "links": [{"label": "Acknowledge", "url": "https://ao.example/act/x/"}],
            "escalations": [3],
        }


def test_the_documented_body_names_every_field() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text()
    fields = ("version", "id", "event", "priority", "title", "body", "url", "links", "escalations")
    assert [name for name in fields if f"`{name}`" not in documented] == []


def test_without_a_secret_nothing_is_signed() -> None:
    with receiver() as hook:
        WebhookNotifier(config={"webhookUrl": hook.url}).notify(NOTICE)
        assert "X-AO-Signature" not in hook.taken[0].headers


@pytest.mark.parametrize(
    ("status", "raised"),
    [(500, Unavailable), (503, Unavailable), (429, Unavailable), (408, Unavailable), (401, Refused), (404, Refused)],
)
def test_what_may_pass_is_tried_again_and_what_is_wrong_is_said(status: int, raised: type[Exception]) -> None:
    with receiver(status) as hook, pytest.raises(raised, match=f"127.0.0.1:{hook.port} answered {status}"):
        WebhookNotifier(config={"url": hook.url}).notify(NOTICE)


def test_the_patience_that_it_asks_for_is_kept() -> None:
    with receiver(429) as hook:
        hook.headers["Retry-After"] = "120"
        with pytest.raises(Unavailable) as asked:
            WebhookNotifier(config={"url": hook.url}).notify(NOTICE)
        assert asked.value.retry_after == timedelta(minutes=2)


def test_a_redirect_is_not_followed() -> None:
    with receiver() as inside, receiver(302) as hook:
        hook.headers["Location"] = inside.url
        with pytest.raises(Refused, match="redirects are not followed"):
            WebhookNotifier(config={"url": hook.url}).notify(NOTICE)
        assert inside.taken == []


@pytest.mark.parametrize(
    "url",
    [
        *("http://169.254.169.254/latest/", "http://[fe80::1]/", "http://metadata.google.internal/"),
        *("file:///etc/passwd", "ftp://x.example/", "https://", "", "gopher://127.0.0.1:6379/_FLUSHALL"),
    ],
)
def test_an_address_that_is_no_receiver_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        WebhookNotifier(config={"url": url}).notify(NOTICE)


def test_an_error_does_not_show_the_path_which_often_is_a_secret() -> None:
    with pytest.raises(Unavailable) as away:
        WebhookNotifier(config={"url": nobody().replace("/hook", "/T0/secret")}).notify(NOTICE)
    assert "secret" not in str(away.value)


def test_slack_is_told_the_words_the_link_and_what_to_press() -> None:
    lines = text_of(NOTICE).splitlines()
    assert lines[-3:] == ["https://ao.example/tasks/1/", "Acknowledge: https://ao.example/act/x/", "[ao-7]"]


# The library loads all of its services at once, and one of them a module that Python is about to drop.
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_apprise_brings_a_message_to_any_of_its_urls() -> None:
    with receiver() as hook:
        builtin.notifier("apprise", {"url": f"json://127.0.0.1:{hook.port}/hook"}).notify(NOTICE)
        told = hook.taken[0].told
        assert (told["title"], "[ao-7]" in told["message"]) == ("app#1: What now? é", True)


def test_what_an_agent_wrote_calls_nobody_together() -> None:
    assert calm("<!channel> <@U1> @everyone @Here me@hereford.example") == (
        "< !channel> < @U1> @ everyone @ Here me@hereford.example"
    )


def test_a_notifier_that_nobody_knows_is_refused_with_those_that_are() -> None:
    with pytest.raises(Refused, match="there is apprise, slack, desktop and webhook"):
        builtin.notifier("pigeon", {})
