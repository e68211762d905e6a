"""Names that come from people's words are safe wherever they end up."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import naming

ANY_TEXT = st.text(max_size=200)
NUMBERS = st.integers(min_value=1, max_value=10**9)
GIT_TEXT = st.text(alphabet=string.ascii_letters + string.digits + "./-_@{}~^:?*[\\ \x7f\x00\néHEAD", max_size=40)


def refused_by_git(name: str) -> bool:
    """git-check-ref-format(1), said once more and in another way than the code under test."""
    parts = name.split("/")
    return (
        not name
        or name in {"@", "HEAD"}
        or any(ord(character) < 33 or character in "~^:?*[\\\x7f" for character in name)
        or any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
        or ".." in name
        or "@{" in name
        or name.endswith(".")
        or name.startswith("-")
    )


def test_a_branch_reads_like_its_task() -> None:
    assert naming.branch_for("app", 12, "Fix the failing test") == "app/12-fix-the-failing-test"


def test_a_long_title_is_cut_at_a_word() -> None:
    title = "Make the importer resilient against broken pipes and partially written files"
    assert naming.branch_for("app", 7, title) == "app/7-make-the-importer-resilient-against-broken-pipes-and"


@pytest.mark.parametrize("title", ["", "   ", "日本語", "--", "../..", "🙂", "\x00\n"])
def test_a_title_without_usable_letters_leaves_the_number(title: str) -> None:
    assert naming.branch_for("app", 3, title) == "app/3"


@pytest.mark.parametrize(
    "title",
    ["a;id", "$(id)", "`id`", "x\nrm -rf /", "-oProxyCommand=id", "--upload-pack=id", "ext::sh -c id", "a\"b'c"],
)
def test_what_a_shell_would_run_does_not_survive(title: str) -> None:
    assert set(naming.branch_for("app", 1, title)) <= set(string.ascii_lowercase + string.digits + "-/")


@pytest.mark.parametrize(
    "path",
    [
        "RULES.md",
        "./RULES.md",
        ".agent-rules.md",
        "docs/de/Regeln für alle.md",
        "app/(shop)/[id]/a+b,c=d@2#3.md",
        "規則/x",
    ],
)
def test_a_file_is_named_from_the_root_of_its_repository(path: str) -> None:
    assert naming.valid_repository_file(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "/a",
        "~/a",
        "a/../b",
        "a//b",
        "a/",
        "./",
        "./../a",
        "a/./b",
        ".git/config",
        "sub/.GIT/x",
        "-rf",
        " a",
        r"a\b",
    ]
    + [f"a{character}b" for character in "`$;|&<>'\"*?!:~\n\r\t\x00\x1b\x7f\u2028\u202e\u200b\ud800"]
    + ["x" * 501],
)
def test_what_a_prompt_or_a_shell_could_take_for_more_than_a_path_names_no_file(path: str) -> None:
    assert not naming.valid_repository_file(path)


def test_accents_lose_their_accents_only() -> None:
    assert naming.branch_for("Café", 1, "Übersicht für später") == "cafe/1-ubersicht-fur-spater"


@given(prefix=ANY_TEXT, number=NUMBERS, title=ANY_TEXT)
def test_every_branch_that_we_make_is_one_that_we_accept(prefix: str, number: int, title: str) -> None:
    branch = naming.branch_for(prefix, number, title)
    assert naming.valid_branch(branch)
    assert not refused_by_git(branch)
    assert len(branch) <= naming.BRANCH_LENGTH
    assert branch.isascii()
    assert f"/{number}" in branch


@given(prefix=ANY_TEXT, number=NUMBERS, title=ANY_TEXT)
def test_the_same_words_give_the_same_branch(prefix: str, number: int, title: str) -> None:
    assert naming.branch_for(prefix, number, title) == naming.branch_for(prefix, number, title)


@given(name=GIT_TEXT)
def test_what_git_refuses_is_refused(name: str) -> None:
    assert not (refused_by_git(name) and naming.valid_branch(name))


@pytest.mark.parametrize(
    "name",
    ["main", "release/2.0", "feature_x", "user/fix-#12", "v1.2+build", "a@b", "dependabot/npm_and_yarn/lodash-4.17.21"],
)
def test_the_branches_of_real_projects_are_accepted(name: str) -> None:
    assert naming.valid_branch(name)


@pytest.mark.parametrize(
    "name",
    [
        "-main",
        "--upload-pack=x",
        "a/-b",
        "a..b",
        "a.lock",
        "a.lock/b",
        "a@{1}",
        "a//b",
        "/a",
        "a/",
        ".a",
        "a/.b",
        "a.",
        "HEAD",
        "@",
        "a b",
        "a\nb",
        "main\n",
        "a:b",
        "a^",
        "a~1",
        "ä",
        "x" * 201,
        "",
        "0" * 40,
        "refs\\heads",
    ],
)
def test_what_is_more_than_a_branch_name_is_refused(name: str) -> None:
    assert not naming.valid_branch(name)


@given(prefix=ANY_TEXT, number=NUMBERS, session=NUMBERS)
def test_every_workspace_that_we_name_is_one_path_component(prefix: str, number: int, session: int) -> None:
    workspace = naming.workspace_for(prefix, number, session)
    assert naming.valid_workspace(workspace)
    assert workspace.endswith(f"-{number}-{session}")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", "a-", "A", "a b", "a\n", "x" * 49])
def test_a_workspace_that_is_no_plain_component_is_refused(name: str) -> None:
    assert not naming.valid_workspace(name)


@given(prefix=ANY_TEXT, project=NUMBERS)
def test_a_mirror_is_named_by_its_project(prefix: str, project: int) -> None:
    name = naming.mirror_name(prefix, project)
    assert "/" not in name
    assert not name.startswith((".", "-"))
    assert name.endswith(f"-{project}.git")
