"""Who we are among the workers: machines may be called alike, and must not take each other's workers for their own dead ones."""

from __future__ import annotations

import os
import socket

from django.test import override_settings

from workers.identity import known_dead, myself

NOBODY = 2**22 + 1  # no process has this number


def test_a_dead_worker_of_this_machine_is_known_to_be_dead() -> None:
    assert known_dead(f"{socket.gethostname()}-{NOBODY}")
    assert not known_dead(f"{socket.gethostname()}-{os.getpid()}")
    assert not known_dead(myself())
    assert not known_dead(f"elsewhere-{NOBODY}")


def test_a_machine_that_joined_is_called_by_its_own_name_whatever_its_host_name_is() -> None:
    alike = socket.gethostname()
    with override_settings(AO_JOINED=alike):
        assert myself() == f"@{alike}-{os.getpid()}"
        assert known_dead(f"@{alike}-{NOBODY}")
        assert not known_dead(f"{alike}-{NOBODY}")
    assert not known_dead(f"@{alike}-{NOBODY}")
