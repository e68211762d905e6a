"""While the database is away, pages say so and when to come back; they never look like a failure of ours."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.test import Client


@pytest.mark.django_db
def test_a_page_answers_503_with_the_time_to_come_back() -> None:
    def gone(*_: object) -> None:
        raise OperationalError("the server closed the connection")

    client = Client(raise_request_exception=False)
    with connection.execute_wrapper(gone):
        client.cookies[settings.SESSION_COOKIE_NAME] = "some-session"
        answer = client.get("/")
    assert answer.status_code == 503
    assert answer["Retry-After"] == "5"
    assert b"Back in a moment" in answer.content
