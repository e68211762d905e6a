"""What editors are told of the file is what the loader takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from orchestrator.services.configuration.file import TRIGGERS, load
from orchestrator.services.configuration.problems import ConfigRefused
from orchestrator.services.configuration.schema import schema_of_file
from orchestrator.services.configuration.shapes import FileShape
from tests import shapes

SCHEMA = schema_of_file()
README = (Path(__file__).parents[2] / "README.md").read_text()


def wrong(document: object) -> list[str]:
    return [one.json_path for one in Draft202012Validator(SCHEMA).iter_errors(document)]


def test_it_is_a_schema_with_a_sentence_for_every_key() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert [place for place, told in keys_told(SCHEMA) if not told.get("description")] == []


@pytest.mark.parametrize("name", shapes.NAMES)
def test_files_as_teams_have_them_are_accepted(name: str) -> None:
    assert wrong(yaml.safe_load(shapes.text_of(name))) == []


def test_the_examples_of_the_readme_are_accepted() -> None:
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)]
    whole = [block for block in blocks if block and {"projects", "defaults"} & block.keys()]
    parts = [block for block in blocks if block and not {"projects", "defaults"} & block.keys()]

    assert (len(whole), len(parts)) == (2, 2)
    assert [wrong(block) for block in whole] == [[], []]
    assert [wrong({"projects": {"my-app": block}}) for block in parts] == [[], []]


@pytest.mark.parametrize(
    "text",
    [
        "reaction: {}",
        "reactions: {ci-fialed: {retries: 1}}",
        "reactions: {ci-failed: {retry: 1}}",
        "reactions: {ci-failed: {action: dance}}",
        "reactions: {ci-failed: {action: []}}",
        "reactions: {ci-failed: {auto: maybe}}",
        "reactions: {ci-failed: {retries: -1}}",
        "reactions: {ci-failed: {priority: high}}",
        "reactions: {ci-failed: {escalateAfter: soon}}",
        "reactions: {agent-stuck: {threshold: 10 minutes}}",
        "reactions: {agent-stuck: {threshold: -5m}}",
        "reactions: {agent-stuck: {threshold: 10}}",
        "reactions: [ci-failed]",
        "projects: {a: {repo: o/n, agent: gpt}}",
        "projects: {a: {repo: o/n, defaultBranch: 'a;id'}}",
        "projects: {a: {repo: '-oProxyCommand=id'}}",
        "projects: {a: {path: ../x}}",
        "projects: {'../x': {repo: o/n}}",
        "projects: {a: {repo: o/n, env: {'A B': x}}}",
        "projects: {a: {repo: o/n, sandbox: chroot}}",
        "projects: {a: {repo: o/n, scm: {requiredChecks: test}}}",
        "projects: {a: {repo: o/n, scm: {plugn: local}}}",
        "projects: {a: {repo: o/n, postCreate: npm ci}}",
        "projects: {a: {repo: o/n, agentRulesFile: /etc/rules.md}}",
        "projects: {a: {repo: o/n, agentRulesFile: ~/rules.md}}",
        "projects: {a: {repo: o/n, agentRulesFile: docs/../../rules.md}}",
        'projects: {a: {repo: o/n, agentRulesFile: "docs\\\\rules.md"}}',
        "projects: {a: {repo: o/n, agentRulesFile: '${HOME}/rules.md'}}",
        "notificationRouting: {urgent: pigeon}",
        "port: 70000",
    ],
)
def test_what_the_loader_refuses_or_does_not_know_is_marked(text: str) -> None:
    document = yaml.safe_load(text)

    assert wrong(document) != []
    try:
        assert load(text=text, path="x.yaml", env={}).warnings != ()
    except ConfigRefused as refused:
        assert refused.problems  # noqa: PT017 either of the two is how the loader says no


@pytest.mark.parametrize("value", ["${SANDBOX}", "none"])
def test_a_reference_stands_for_a_word(value: str) -> None:
    assert wrong({"projects": {"a": {"repo": "o/n", "sandbox": value}}}) == []


def test_it_covers_exactly_the_keys_that_the_loader_knows() -> None:
    told = {place for place, _ in keys_told(SCHEMA)}

    assert told == set(keys_read(FileShape, ()))


def keys_told(schema: dict[str, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every key of the schema; names of projects and notifiers are a star."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    for name, inner in schema.get("properties", {}).items():
        if name not in TRIGGERS:
            yield (*place, name), inner
        yield from keys_told(inner, (*place, "*" if name in TRIGGERS else name))
    if isinstance(schema.get("additionalProperties"), dict) and "properties" in schema["additionalProperties"]:
        yield from keys_told(schema["additionalProperties"], (*place, "*"))


def keys_read(shape: type[BaseModel], place: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every key that a shape reads, by pydantic's own word for it."""
    for name, field in shape.model_fields.items():
        here = (*place, field.alias or name)
        yield here
        for inner in get_args(field.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from keys_read(inner, here)
            for named in get_args(inner):
                if isinstance(named, type) and issubclass(named, BaseModel):
                    yield from keys_read(named, (*here, "*"))
