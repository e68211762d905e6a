"""Why a check failed, as its tools say it: the failing part, and the fingerprint by which it is known again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.failures import PART_CAP, Annotation, failure_of
from orchestrator.domain.sharing import shared, squeezed

NOISE = "".join(f"building module {n} of 500\n" for n in range(500))
LOGS = Path(__file__).parent / "failing_logs"


def log_of(tool: str) -> str:
    return (LOGS / f"{tool}.txt").read_text()


# For each tool: words that have to be there, words that must not, and another failure's name to put in place of this one's.
TOOLS = [
    pytest.param("pytest", ["assert -1 == 3", "FAILED tests/test_calc.py::test_add"], ["collected 2"], "test_add", "test_sub", id="pytest"),
    pytest.param("unittest", ["FAIL: test_add", "AssertionError: -1 != 3", "FAILED (failures=1)"], ["Requirement already"], "test_add", "test_sub", id="unittest"),
    pytest.param("jest", ["● adds › two numbers", "Expected: 3", "Tests:       1 failed"], ["webpack compiled"], "two numbers", "no numbers", id="jest"),
    pytest.param("vitest", ["FAIL  src/calc.test.ts > adds", "expected -1 to be 3"], ["vite v5"], "> adds", "> subtracts", id="vitest"),
    pytest.param("mocha", ["1) Calculator", "AssertionError [ERR_ASSERTION]: -1 == 3"], ["> mocha"], "adds two numbers:", "subtracts:", id="mocha"),
    pytest.param("go", ["--- FAIL: TestAdd", "calc_test.go:9: got -1, want 3"], ["go: downloading"], "TestAdd", "TestSub", id="go test"),
    pytest.param("cargo", ["---- tests::adds stdout ----", "test result: FAILED"], ["Compiling serde"], "tests::adds", "tests::subs", id="cargo test"),
    pytest.param("maven", ["CalcTest.adds:12 expected: <3> but was: <-1>", "Tests run: 2, Failures: 1"], ["Downloading from central"], "CalcTest.adds", "CalcTest.subs", id="maven"),
    pytest.param("gradle", ["CalcTest > adds() FAILED", "What went wrong"], ["Starting a Gradle Daemon"], "adds()", "subs()", id="gradle"),
    pytest.param("rspec", ["1) Calc adds", "rspec ./spec/calc_spec.rb:4"], ["Fetching gem"], "calc_spec.rb:4", "other_spec.rb:4", id="rspec"),
    pytest.param("phpunit", ["1) CalcTest::testAdd", "Failed asserting that -1 matches expected 3"], ["Installing dependencies"], "testAdd", "testSub", id="phpunit"),
    pytest.param("dotnet", ["Failed Calc.Tests.Adds [12 ms]", "Assert.Equal() Failure"], ["Determining projects"], "Calc.Tests.Adds", "Calc.Tests.Subs", id="dotnet test"),
    pytest.param("tsc", ["src/calc.ts(3,7): error TS2322"], ["yarn install"], "TS2322", "TS2345", id="tsc"),
    pytest.param("eslint", ["/app/src/calc.js", "no-unused-vars"], ["yarn install"], "no-unused-vars", "no-undef", id="eslint"),
    pytest.param("ruff", ["F401", "--> calc.py:1:8"], ["Resolved 30 packages"], "calc.py", "other.py", id="ruff"),
    pytest.param("mypy", ["calc.py:3: error: Incompatible return value type"], ["Resolved 30 packages"], "return-value", "arg-type", id="mypy"),
    pytest.param("gcc", ["calc.c:4:12: error: 'c' undeclared"], ["checking for gcc"], "'c' undeclared", "'d' undeclared", id="gcc"),
    pytest.param("actions", ["Run make test", "make: *** [test] Error 1", "cannot open fixtures"], ["Post job cleanup", "Run actions/checkout"], "fixtures", "settings", id="an unknown tool in GitHub's log"),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "there", "absent", "name", "other"), TOOLS)
def test_the_failing_part_is_what_the_tool_says(
    tool: str, there: list[str], absent: list[str], name: str, other: str
) -> None:
    del name, other
    part = failure_of(log_of(tool)).part
    assert [words for words in there if words not in part] == []
    assert [words for words in absent if words in part] == []
    assert "\x1b" not in part
    assert "##[" not in part.replace("##[error]", "")


@pytest.mark.parametrize(("tool", "there", "absent", "name", "other"), TOOLS)
def test_the_fingerprint_is_that_of_what_failed_and_of_nothing_else(
    tool: str, there: list[str], absent: list[str], name: str, other: str
) -> None:
    del there, absent
    log = log_of(tool)
    assert name in log
    known = failure_of(log).fingerprint
    assert known
    assert failure_of(NOISE + _another_run(log)).fingerprint == known
    assert failure_of(log.replace(name, other)).fingerprint != known


def _another_run(log: str) -> str:
    """The same failure an hour later, on another machine, at other lines."""
    changes = {
        "2026-11-25T10:": "2026-11-26T23:",
        "0.12s": "3.4s",
        "(5 ms)": "(71 ms)",
        "[12 ms]": "[348 ms]",
        ":12 expected": ":31 expected",
        ":9: got": ":44: got",
        "(3,7)": "(90,1)",
        ":3: error": ":8: error",
        ":4:12:": ":9:1:",
        "/tmp/ao-1f3c": "/tmp/ao-9d27",
        "0x7f3a2c": "0x55aa01",
    }
    for old, new in changes.items():
        log = log.replace(old, new)
    return log


def test_tests_that_fail_in_another_order_are_the_same_failure() -> None:
    lines = ["FAILED tests/a.py::test_one - boom", "FAILED tests/b.py::test_two - bang"]
    head = "=========== short test summary info ============\n"
    assert failure_of(head + "\n".join(lines)).fingerprint == failure_of(head + "\n".join(reversed(lines))).fingerprint


def test_numbers_in_the_name_of_a_test_are_part_of_it_and_those_in_its_words_are_not() -> None:
    def of(name: str, got: int) -> str:
        return failure_of(
            f"=== short test summary info ===\nFAILED tests/a.py::test_x[{name}] - assert {got} == 4\n"
        ).fingerprint

    assert of("3", 1) == of("3", 2)
    assert of("3", 1) != of("4", 1)


def test_annotations_come_first_and_those_that_say_nothing_do_not_come() -> None:
    found = failure_of(
        log_of("actions"),
        annotations=[
            Annotation(path=".github", line=8, message="Process completed with exit code 1."),
            Annotation(path="a.py", line=3, message="undefined name 'x'"),
        ],
    )
    assert found.part.startswith("a.py:3: undefined name 'x'\n\nRun make test")
    assert "exit code 1." not in found.part.partition("\n")[0]


def test_of_a_log_in_which_no_tool_speaks_and_no_error_is_marked_the_end_is_told() -> None:
    part = failure_of(NOISE + "it is broken\n").part
    assert part.endswith("it is broken")
    assert "module 3 of" not in part


def test_a_check_that_left_nothing_has_no_fingerprint() -> None:
    assert failure_of("") == failure_of("\n \n")
    assert failure_of("").fingerprint == ""
    assert failure_of("##[error]Process completed with exit code 1.\n").fingerprint == ""


def test_secrets_are_not_told() -> None:
    token = "ghp_" + "a1B2" * 9
    part = failure_of(
        f"fatal: cannot read https://me:{token}@example.com/x\nAuthorization: Bearer abcdefgh12345\n"
    ).part
    assert token not in part
    assert "abcdefgh12345" not in part
    assert "[redacted: a GitHub token]" in part or "[redacted: a login]" in part


def test_progress_bars_and_redrawn_lines_are_not_told() -> None:
    part = failure_of("get 1%\rget 50%\rgot it\n 45%|####      | 9/20\n[=====>      ] 45%\nerror: no\n").part
    assert part == "got it\nerror: no"


TEXTS = st.text(max_size=3000) | st.lists(
    st.sampled_from([*(log_of(tool.values[0]) for tool in TOOLS), "##[error]no\n", "\x1b[31m", "\u202e", "x" * 5000]),  # type: ignore[attr-defined]  # a parameter set
    max_size=6,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.lists(TEXTS, max_size=3), st.integers(0, 30_000))
def test_whatever_a_check_left_its_part_fits_and_holds_no_control_characters(
    log: str, said: list[str], cap: int
) -> None:
    notes = [Annotation(path="a", line=1, message=words) for words in said]
    found = failure_of(log, annotations=notes, output="".join(said), cap=cap)
    assert len(found.part.encode()) <= cap
    assert not {c for c in found.part + found.headline if ord(c) < 32 and c not in "\t\n"}
    assert found == failure_of(log, annotations=notes, output="".join(said), cap=cap)
    assert found.fingerprint == failure_of(log, annotations=notes, output="".join(said), cap=PART_CAP).fingerprint


@given(st.lists(st.integers(0, 10_000), max_size=40), st.integers(0, 50_000))
def test_a_budget_is_shared_so_that_nobody_has_more_than_it_needs_and_nobody_less_than_its_part(
    sizes: list[int], budget: int
) -> None:
    shares = shared(sizes, budget)
    assert sum(shares) <= budget
    assert all(share <= size for share, size in zip(shares, sizes, strict=True))
    assert all(share >= min(size, budget // len(sizes)) for share, size in zip(shares, sizes, strict=True))
    assert sum(shares) == min(sum(sizes), budget) or sum(sizes) > budget


@given(st.text(max_size=400), st.integers(0, 300))
def test_a_text_is_squeezed_to_its_cap(text: str, cap: int) -> None:
    assert len(squeezed(text, cap).encode()) <= max(cap, 0)


def _seconds(log: str, read: Callable[[str], object] = failure_of) -> float:
    """The best of three: other processes have their time, too."""
    spans = []
    for _ in range(3):
        begun = time.process_time()
        read(log)
        spans.append(time.process_time() - begun)
    return min(spans)


def test_an_ordinary_log_is_read_in_the_time_in_which_its_words_are_found_twice() -> None:
    log = "".join(
        f"2026-11-25T10:00:00.0000000Z line {n} of a build that says a lot of ordinary things\n" for n in range(12_000)
    )
    assert len(log) > 1_000_000
    assert _seconds(log) < 2 * _seconds(log, re.compile(r"\w+").findall)


@pytest.mark.parametrize(
    "piece",
    ["a.a", "a > ", "--- FAIL: x\n", "= failed in ", "=\n", "x", "a/", "(1,1", "abcdef0 ", "/a/b", "error: /aa/bb/cc ", "a:1", "  1) a 1 ms",
     "a\r", "\x1b[", "authorization: bearer ", "://a:", "1234-", "::", "1%|", " - ", "[ERROR] a:1 "],
)  # fmt: skip
@pytest.mark.parametrize("lines", [True, False])
def test_no_log_takes_long_whatever_it_is_made_of(piece: str, lines: bool) -> None:
    line = piece * (900 // len(piece)) + ("\n" if lines else "")
    assert _seconds((line * (1_000_000 // len(line)))[:1_000_000]) < 1.0
    assert _seconds(("# " + line + " FAILED\n") * (1_000_000 // (len(line) + 10))) < 1.0
