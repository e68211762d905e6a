"""Projects are looked after, the new ones at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.models import Project
from tests.lab import lab, register
from tests.repositories import Repository
from workers import mirrors
from workers.git.mirror import Mirror

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_project_that_is_registered_while_others_are_looked_after_is_fetched_in_the_same_round() -> None:
    with lab() as here:
        added: list[Project] = []

        def mirror(row: Project) -> Mirror:
            if not added:
                repository = Repository.make(here.folder / "two", {"README": "hello\n"})
                added.append(register(repository, here.actor))
                mirrors.look_after_projects(tools)  # the bell that registering rings, while somebody is at it
            return here.tools.mirror(row)

        tools = replace(here.tools, mirror=mirror)
        here.set(mirrored_at=None)
        mirrors.look_after_projects(tools)
        added[0].refresh_from_db()
        assert added[0].base_sha
