"""Login links and API tokens: spent once, stored hashed, dead when they should be."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User

from orchestrator.models import ApiToken, LoginLink
from orchestrator.services import accounts

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def user() -> User:
    return accounts.first_user(name="admin")


def test_a_login_link_lets_its_user_in_once(user: User) -> None:
    raw = accounts.issue_login_link(user=user, now=NOW, valid_for=timedelta(minutes=10))

    assert accounts.redeem_login_link(token=raw, now=NOW) == user
    with pytest.raises(accounts.LinkSpent, match="used already or has expired"):
        accounts.redeem_login_link(token=raw, now=NOW)


def test_a_login_link_expires(user: User) -> None:
    raw = accounts.issue_login_link(user=user, now=NOW, valid_for=timedelta(minutes=10))

    with pytest.raises(accounts.LinkSpent):
        accounts.redeem_login_link(token=raw, now=NOW + timedelta(minutes=10))


def test_a_login_link_of_a_disabled_user_lets_nobody_in(user: User) -> None:
    raw = accounts.issue_login_link(user=user, now=NOW, valid_for=timedelta(minutes=10))
    User.objects.update(is_active=False)

    with pytest.raises(accounts.LinkSpent):
        accounts.redeem_login_link(token=raw, now=NOW)


@pytest.mark.parametrize("token", ["", "nonsense", "\ud800", "x" * 100_000])
def test_what_is_no_link_is_refused(token: str, user: User) -> None:
    with pytest.raises(accounts.LinkSpent):
        accounts.redeem_login_link(token=token, now=NOW)


def test_neither_links_nor_tokens_are_stored_in_the_clear(user: User) -> None:
    link = accounts.issue_login_link(user=user, now=NOW, valid_for=timedelta(minutes=10))
    token = accounts.issue_token(user=user, name="ci", scope="write", now=NOW)

    stored = repr([*LoginLink.objects.values(), *ApiToken.objects.values()])
    assert link not in stored
    assert token not in stored


def test_a_token_is_found_by_its_secret_and_remembers_its_use(user: User) -> None:
    raw = accounts.issue_token(user=user, name="ci", scope="read", now=NOW)

    found = accounts.find_token(raw=raw, now=NOW)

    assert found is not None
    assert (found.user, found.scope, raw.startswith(found.prefix)) == (user, "read", True)
    assert ApiToken.objects.get().used_at == NOW


def test_t16_expired_revoked_and_disabled_tokens_open_nothing(user: User) -> None:
    soon = NOW + timedelta(hours=1)
    expiring = accounts.issue_token(user=user, name="short", scope="write", now=NOW, expires_at=soon)
    revoked = accounts.issue_token(user=user, name="lost", scope="write", now=NOW)
    lasting = accounts.issue_token(user=user, name="ci", scope="write", now=NOW)
    accounts.revoke_token(token=ApiToken.objects.get(name="lost"), now=NOW)

    assert accounts.find_token(raw=expiring, now=soon) is None
    assert accounts.find_token(raw=revoked, now=NOW) is None
    assert accounts.find_token(raw=lasting, now=NOW) is not None
    User.objects.update(is_active=False)
    assert accounts.find_token(raw=lasting, now=NOW) is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scope": "admin"}, "not a scope"),
        ({"name": "  "}, "needs a name"),
        ({"name": "a\x1b[2J"}, "needs a name"),
        ({"expires_at": NOW}, "expired already"),
    ],
)
def test_a_token_that_makes_no_sense_is_not_issued(user: User, change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        accounts.issue_token(**{"user": user, "name": "ci", "scope": "write", "now": NOW} | change)  # type: ignore[arg-type]
    assert not ApiToken.objects.exists()


def test_the_first_user_is_made_once_and_has_no_password(user: User) -> None:
    assert accounts.first_user(name="somebody else") == user
    assert user.is_superuser
    assert not user.has_usable_password()
