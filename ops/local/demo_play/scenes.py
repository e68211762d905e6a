"""The demo's tasks: what is asked for, what its agent makes of it, what the person does about it, and where it ends. Pure data."""

from dataclasses import dataclass
from enum import StrEnum

CALCULATOR, CONVERTER, CLOCK = "calculator", "converter", "clock"
TESTS = "python3 -m unittest -q"

_IGNORE = "__pycache__/\n"
SAMPLES = {
    CALCULATOR: {
        "README.md": "# Calculator\n\nOne function a file, each with its test. Run them all: python3 -m unittest\n",
        "add.py": '"""Return a + b."""\n\n\ndef add(a, b):\n    return a + b\n',
        "rounding.py": '"""How results are rounded."""\n\nMODE = "not at all"\n',
        "test_add.py": (
            "import unittest\n\nfrom add import add\n\n\nclass AddTest(unittest.TestCase):\n"
            "    def test_add(self):\n        self.assertEqual(add(2, 3), 5)\n        self.assertEqual(add(-2, -3), -5)\n"
        ),
        ".gitignore": _IGNORE,
    },
    CONVERTER: {
        "README.md": "# Converter\n\nUnits into other units. Run the tests: python3 -m unittest\n",
        "metres.py": '"""Return feet as metres."""\n\n\ndef metres(feet):\n    return feet * 0.3048\n',
        "test_metres.py": (
            "import unittest\n\nfrom metres import metres\n\n\nclass MetresTest(unittest.TestCase):\n"
            "    def test_metres(self):\n        self.assertEqual(metres(10), 3.048)\n"
        ),
        ".gitignore": _IGNORE,
    },
    CLOCK: {
        "README.md": "# Clock\n\nArithmetic of hours. Run the tests: python3 -m unittest\n",
        "minutes.py": '"""Return hours as minutes."""\n\n\ndef minutes(hours):\n    return hours * 60\n',
        "test_minutes.py": (
            "import unittest\n\nfrom minutes import minutes\n\n\nclass MinutesTest(unittest.TestCase):\n"
            "    def test_minutes(self):\n        self.assertEqual(minutes(2), 120)\n"
        ),
        ".gitignore": f"{_IGNORE}.set-up\n",
    },
}
# What is run in each new workspace: the clock's fails the first time, like a package index that does not answer.
POST_CREATE = {
    CLOCK: ("test -e .set-up || { touch .set-up; echo 'the package index does not answer' >&2; exit 1; }",),
}


class Part(StrEnum):
    """What the person does about a task."""

    MERGE = "approve it and press merge"
    APPROVE = "approve it; a rule merges"
    CRITICISE = "ask for changes once, then approve and merge"
    GO_FIRST = "merge it as soon as its sibling could be merged as well"
    GO_SECOND = "merge it once the conflict with its sibling is resolved"
    ANSWER = "answer the agent's question, then approve and merge"
    CANCEL = "cancel it while the agent works"
    RETRY = "say retry when its workspace could not be set up, then approve and merge"
    LEAVE = "leave it to whoever watches"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One task. `fate` and `feature` are what the agent is started with; `intended` is the status it comes to rest in."""

    title: str
    fate: str
    feature: str = ""
    part: Part = Part.MERGE
    intended: str = "merged"
    escalated: bool = False
    project: str = CALCULATOR
    after: str = ""  # the feature of the task that it waits for


# Both siblings are submitted first, so that they begin at the same base.
SCENES = (
    Scene(title="Round results half up", fate="rounds_up", part=Part.GO_FIRST),
    Scene(title="Round results half to even", fate="rounds_even", part=Part.GO_SECOND),
    Scene(title="Double, and explain every step", fate="flood", feature="double"),
    Scene(
        title="Make 0.1 + 0.2 equal 0.3",
        fate="hopeless",
        feature="exact",
        part=Part.LEAVE,
        intended="ci_failed",
        escalated=True,
    ),
    Scene(title="Divide", fate="red_once", feature="divide"),
    Scene(title="Raise to powers", fate="reviewed", feature="power", part=Part.CRITICISE),
    Scene(title="Multiply", fate="crashes", feature="multiply"),
    Scene(title="Take square roots", fate="asks", feature="root", part=Part.ANSWER),
    Scene(title="Subtract", fate="straight", feature="subtract"),
    Scene(title="Average what was subtracted", fate="straight", feature="average", after="subtract"),
    Scene(title="Rewrite the calculator from scratch", fate="endless", part=Part.CANCEL, intended="cancelled"),
    Scene(title="Add negative numbers", fate="nothing", intended="done"),
    Scene(title="Tell the remainder", fate="leftovers", feature="remainder"),
    Scene(title="Divide by zero", fate="dies", part=Part.LEAVE, intended="failed"),
    Scene(title="Percentages", fate="straight", feature="percent", part=Part.LEAVE, intended="review_pending"),
    Scene(title="Celsius to Fahrenheit", fate="straight", feature="fahrenheit", part=Part.APPROVE, project=CONVERTER),
    Scene(title="Miles to kilometres", fate="straight", feature="kilometres", part=Part.APPROVE, project=CONVERTER),
    Scene(title="Hours to seconds", fate="straight", feature="seconds", part=Part.RETRY, project=CLOCK),
)
