"""What the tests of the web share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache

from aoweb.dashboard.cards import GALLERY


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Any) -> None:
    """Hashing slowly is the point of a password hasher, but not of these tests."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    """Each test begins with nothing remembered: ids and addresses repeat between tests."""
    GALLERY.clear()
    cache.clear()
    yield
    GALLERY.clear()
    cache.clear()
