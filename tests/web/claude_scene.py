"""A turn of Claude Code as it comes out of the program, line by line."""

from __future__ import annotations

import json
from typing import Any

ROOT = "/var/lib/ao/hostkit/rooms/s41/work"
BIG = {"inputTokens": 1_204, "cacheReadInputTokens": 61_870, "cacheCreationInputTokens": 5_237, "outputTokens": 3_920}


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def says(*blocks: dict[str, Any], **more: Any) -> bytes:
    return line(type="assistant", message={"role": "assistant", "content": list(blocks)}, session_id="c-1", **more)


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def uses(id: str, tool: str, **used: Any) -> dict[str, Any]:  # noqa: A002  # the protocol's word
    return {"type": "tool_use", "id": id, "name": tool, "input": used}


def answers(id: str, content: Any, **more: Any) -> bytes:  # noqa: A002
    block = {"type": "tool_result", "tool_use_id": id, "content": content, **more}
    return line(type="user", message={"role": "user", "content": [block]}, session_id="c-1")


def asks(tool: str, **used: Any) -> bytes:
    request = {"subtype": "can_use_tool", "tool_name": tool, "input": used}
    return line(type="control_request", request_id="r-1", request=request)


def result(**more: Any) -> bytes:
    told = {"is_error": False, "result": "Done.", "num_turns": 9, "duration_ms": 94_310, "total_cost_usd": 0.53}
    return line(type="result", subtype="success", modelUsage={"big": BIG}, **{**told, **more})


SOURCE = "\n".join(
    f"{n:6}→{text}"
    for n, text in enumerate(
        [
            "from decimal import Decimal",
            "",
            "",
            "def total(lines):",
            '    """What the lines cost together."""',
            "    return sum(round(line.price * line.count, 2) for line in lines)",
            "",
            "",
            "def average(lines):",
            "    return total(lines) / len(lines)",
        ],
        start=1,
    )
)
RED = "\n".join(
    [
        "============================= test session starts ==============================",
        "platform linux -- Python 3.12.3, pytest-9.2.0, pluggy-1.6.0",
        f"rootdir: {ROOT}",
        "collected 42 items",
        "",
        *(f"tests/test_totals.py::test_total_of_{n}_lines \x1b[32mPASSED\x1b[0m [{n * 2:3}%]" for n in range(1, 42)),
        "tests/test_totals.py::test_three_apples \x1b[31mFAILED\x1b[0m [100%]",
        "",
        "=================================== FAILURES ===================================",
        "______________________________ test_three_apples _______________________________",
        "",
        "    def test_three_apples():",
        '>       assert total([Line(price=Decimal("0.303"), count=3)]) == Decimal("0.91")',
        "E       AssertionError: assert Decimal('0.909') == Decimal('0.91')",
        "",
        "tests/test_totals.py:12: AssertionError",
        "=========================== short test summary info ============================",
        "FAILED tests/test_totals.py::test_three_apples - AssertionError",
        "========================= 1 failed, 41 passed in 2.14s =========================",
    ]
)
OLD = "    return sum(round(line.price * line.count, 2) for line in lines)"
NEW = """    exact = sum((line.price * line.count for line in lines), Decimal())
    return exact"""
NEWER = """    return exact.quantize(Decimal("0.01"))"""
COMMIT = "git add -A && git commit -qm 'Round totals once, not per line' && git push --dry-run"

LINES = (
    line(type="control_response", response={"subtype": "success", "request_id": "initialize", "response": {}}),
    line(type="system", subtype="init", session_id="c-1", cwd=ROOT, model="claude-opus-4-5", tools=["Bash"],
         claude_code_version="2.1.4"),
    line(type="user", uuid="m-1", isReplay=True, message={"role": "user", "content": "Task: Round totals once, not per line"}),
    says(words("I'll start with the code that adds the lines up, and the tests around it.")),
    says(uses("t1", "Read", file_path=f"{ROOT}/billing/totals.py"), uses("t2", "Grep", pattern="total\\(", path=f"{ROOT}/tests")),
    answers("t1", SOURCE),
    answers("t2", "tests/test_totals.py:7:    assert total([]) == 0\ntests/test_totals.py:12:    assert total([Line("),
    says(words("Each line is rounded on its own in `total()`. That is where the cent gets lost: three lines of 0.303 become"
               " 0.90 instead of 0.91. The sum has to be exact, and rounded once:\n\n```python\nexact = sum(price * count)\n"
               "exact.quantize(Decimal(\"0.01\"))\n```\n\nI'll change that first and run the tests.")),
    says(uses("t3", "Edit", file_path=f"{ROOT}/billing/totals.py", old_string=OLD, new_string=NEW)),
    answers("t3", f"The file {ROOT}/billing/totals.py has been updated."),
    line(type="system", subtype="api_retry", attempt=1, max_retries=10, error_status=529),
    says(uses("t4", "Bash", command="python3 -m pytest -v", description="Run the tests")),
    answers("t4", RED, is_error=True),
    says(words("The sum is exact now, but nothing rounds it at the end.")),
    says(uses("t5", "Edit", file_path=f"{ROOT}/billing/totals.py", old_string="    return exact", new_string=NEWER)),
    answers("t5", f"The file {ROOT}/billing/totals.py has been updated."),
    says(uses("t6", "Bash", command="python3 -m pytest -q")),
    answers("t6", "..........................................                               [100%]\n42 passed in 2.02s"),
    says(uses("t7", "Bash", command=COMMIT)),
    asks("Bash", command=COMMIT),
    answers("t7", "Everything up-to-date"),
    says(words("Totals are rounded once, at the end, and all 42 tests pass. `average()` uses `total()`, so it is right as well.")),
    result(),
)  # fmt: skip
OUTPUT = b"".join(LINES)
