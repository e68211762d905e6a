"""The demo's coding agent: a script that plays one fate and needs no model. It keeps to the contract of the agent `command`.

Run in a workspace as `agent.py FATE FEATURE PACE`, with its prompt on standard input. PACE is how many seconds a step takes, so that people
can watch. What it does depends on what it is told, never on time. Standard library only: it runs under whatever python3 the host has.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Function -> its parameters, what it returns, and an example that its test checks.
FEATURES = {
    "subtract": ("a, b", "a - b", "subtract(5, 3) == 2"),
    "divide": ("a, b", "a / b", "divide(7, 2) == 3.5"),
    "power": ("a, b", "a ** b", "power(2, 10) == 1024"),
    "exact": ("a, b", "a + b", "exact(0.1, 0.2) == 0.3"),
    "multiply": ("a, b", "a * b", "multiply(6, 7) == 42"),
    "root": ("a", "a ** 0.5", "root(9) == 3"),
    "remainder": ("a, b", "a % b", "remainder(7, 4) == 3"),
    "double": ("a", "a + a", "double(4) == 8"),
    "average": ("a, b", "(a + b) / 2", "average(2, 4) == 3"),
    "percent": ("a, b", "a * b / 100", "percent(50, 10) == 5"),
    "fahrenheit": ("celsius", "celsius * 9 / 5 + 32", "fahrenheit(100) == 212"),
    "seconds": ("hours", "hours * 3600", "seconds(2) == 7200"),
    "kilometres": ("miles", "miles * 1.609344", "kilometres(2) == 3.218688"),
}
FLOOD_LINE = "thinking aloud " * 64 + "\n"
FLOOD_LINES = 20 * 1024  # together more than a transcript keeps, so that the end is dropped and said to be


def straight(words: str, feature: str, pace: float) -> None:
    """Builds what was asked for, with its test."""
    del words
    build(feature, pace)
    commit(f"Add {feature}")


def red_once(words: str, feature: str, pace: float) -> None:
    """Gets it wrong, and right once it was shown the failing check."""
    if "Checks failed at" in words:
        build(feature, pace)
        commit(f"Fix {feature}: keep the fraction")
    else:
        build(feature, pace, returns=FEATURES[feature][1].replace("/", "//"))
        commit(f"Add {feature}")


def reviewed(words: str, feature: str, pace: float) -> None:
    """Leaves something for the reviewer to ask for, then does it."""
    if "A reviewer asks for changes" in words:
        build(feature, pace, says="Raise a to the power b. Both may be fractions, and b may be negative.")
        commit("Say what is taken, as the review asks")
    else:
        build(feature, pace, says="power")
        commit(f"Add {feature}")


def hopeless(words: str, feature: str, pace: float) -> None:
    """Tries something else each time, and never gets there."""
    del words
    build(feature, pace, says=f"Attempt {os.environ['AO_TURN']} at an exact sum.")
    commit(f"Try again to make the sum exact ({os.environ['AO_TURN']})")


def crashes(words: str, feature: str, pace: float) -> None:
    """Dies in the middle of its first turn; resumed, it finishes."""
    if "Your program ended" not in words:
        step("a thought too large for this process", pace)
        os.kill(os.getpid(), signal.SIGKILL)
    straight(words, feature, pace)


def dies(words: str, feature: str, pace: float) -> None:
    """Dies, however often it is resumed."""
    del words, feature
    step("about to divide by zero", pace)
    os.kill(os.getpid(), signal.SIGKILL)


def asks(words: str, feature: str, pace: float) -> None:
    """Asks before it builds."""
    if "The answer is:" in words:
        step("reading the answer", pace)
        straight(words, feature, pace)
    else:
        step("thinking about negative numbers", pace)
        question = f"What should {feature} do with a negative number?"
        tell(
            "needs_input",
            id="negative-numbers",
            question=question,
            options=["raise an error", "return a complex number"],
        )


def rounds_up(words: str, feature: str, pace: float) -> None:
    """Changes the line that its sibling changes too."""
    del feature
    settle_rounding(words, "half up", pace)


def rounds_even(words: str, feature: str, pace: float) -> None:
    """Changes the line that its sibling changes too, and rebases when the sibling was merged first."""
    del feature
    settle_rounding(words, "half to even", pace)


def settle_rounding(words: str, mode: str, pace: float) -> None:
    """Write the one line; in a conflict, put it on top of what the base has become."""
    line = f'"""How results are rounded."""\n\nMODE = "{mode}"\n'
    step(f"rounding {mode}", pace)
    if "conflicts with its base" in words:
        git("rebase", "--quiet", "refs/remotes/origin/main", check=False)
        Path("rounding.py").write_text(line)
        git("add", "rounding.py")
        git("-c", "core.editor=true", "rebase", "--continue")
    else:
        Path("rounding.py").write_text(line)
        commit(f"Round {mode}")


def endless(words: str, feature: str, pace: float) -> None:
    """Works until somebody stops it."""
    del words, feature
    while True:
        step("rewriting everything", max(pace, 0.5))


def nothing(words: str, feature: str, pace: float) -> None:
    """Finds that there is nothing to do, and says so."""
    del words, feature
    step("reading test_add.py", pace)
    tell("message", text="Negative numbers are added correctly already: test_add.py shows it. Nothing to change.")


def leftovers(words: str, feature: str, pace: float) -> None:
    """Does the work and forgets to commit it."""
    del words
    build(feature, pace)


def flood(words: str, feature: str, pace: float) -> None:
    """Says far too much on the way."""
    step("thinking aloud", pace)
    for _ in range(FLOOD_LINES):
        sys.stdout.write(FLOOD_LINE)
    straight(words, feature, pace)


FATES: dict[str, Callable[[str, str, float], None]] = {
    fate.__name__: fate
    for fate in (
        straight, red_once, reviewed, hopeless, crashes, dies, asks, rounds_up, rounds_even, endless, nothing, leftovers, flood,
    )
}  # fmt: skip


def build(feature: str, pace: float, *, returns: str = "", says: str = "") -> None:
    """Write a function and its test."""
    parameters, right, example = FEATURES[feature]
    step(f"reading add.py to see how {feature} should look", pace)
    says = says or f"Return {right}."
    Path(f"{feature}.py").write_text(f'"""{says}"""\n\n\ndef {feature}({parameters}):\n    return {returns or right}\n')
    step(f"writing {feature}.py", pace)
    call, expected = example.split(" == ")
    Path(f"test_{feature}.py").write_text(
        f"import unittest\n\nfrom {feature} import {feature}\n\n\nclass {feature.title()}Test(unittest.TestCase):\n"
        f"    def test_{feature}(self):\n        self.assertEqual({call}, {expected})\n"
    )
    step(f"writing test_{feature}.py", pace)


def step(summary: str, pace: float) -> None:
    """Say what is being done, and take a while over it."""
    tell("activity", tool="demo", summary=summary)
    time.sleep(pace)


def tell(kind: str, **facts: object) -> None:
    """One event, as a line of JSON."""
    print(json.dumps({"type": kind, **facts}), flush=True)


def commit(message: str) -> None:
    """Commit everything."""
    git("add", "--all")
    git("commit", "--quiet", "--message", message)


def git(*words: str, check: bool = True) -> None:
    """Run git in the workspace."""
    subprocess.run(["git", *words], check=check)


def main() -> None:
    """Play one turn."""
    fate, feature, pace = sys.argv[1:]
    tell("started", id=f"demo-{os.environ['AO_SESSION']}")
    FATES[fate](sys.stdin.read(), feature, float(pace))
    tell("usage", input_tokens=1200, output_tokens=350, cost_usd=0.01)


if __name__ == "__main__":
    main()
