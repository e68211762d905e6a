"""Real programs of coding agents, over the real loop, against a scripted model. Installed by `./ao test --agents`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from ops.local.coding_agents import claude_code
from tests.lab import Lab, lab
from tests.scripted_model import Rule, ScriptedModel, scripted_model

Installation = Callable[..., AbstractContextManager[tuple[Lab, ScriptedModel]]]


@pytest.fixture(scope="session")
def claude() -> str:
    """The program's path."""
    found = claude_code()
    if found is None:
        pytest.skip("Claude Code is not installed: ./ao test --agents installs it and runs these tests")
    return str(found)


@pytest.fixture
def installed(claude: str) -> Installation:
    """An installation whose agent is Claude Code and whose model follows these rules."""

    @contextmanager
    def with_claude(*rules: Rule, **config: object) -> Iterator[tuple[Lab, ScriptedModel]]:
        settings = {name: config.pop(name) for name in ("scm", "sandbox") if name in config}
        with scripted_model(rules) as model:
            agent_config = {"program": claude, **config}
            with lab(agent="claude-code", agent_config=agent_config, env=model.environment, **settings) as here:
                yield here, model

    return with_claude
