"""What secrets look like, and words without them: nobody is shown a key because a program printed it."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Name -> words of which one is there in every match, and the match itself. Looking for the words first is a hundred times faster than any
# pattern, and a search holds up every other thread of the process.
SECRETS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "a private key": (
        ("PRIVATE KEY",),
        r"-----BEGIN (?:[A-Z]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----\s{1,8}[A-Za-z0-9+/=:\s]{20,}(?:-----END [A-Z ]{1,60}-----)?",
    ),
    "an AWS access key": (("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a GitHub token": (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})",
    ),
    "a GitLab token": (("glpat-",), r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a Slack token": (("xox",), r"\bxox[abeprs]-[0-9A-Za-z-]{10,}"),
    "a Slack webhook": (
        ("hooks.slack.com",),
        r"hooks\.slack\.com/services/T[A-Z0-9]{1,20}/B[A-Z0-9]{1,20}/[A-Za-z0-9]{20,}",
    ),
    "a Google key": (("AIza",), r"\bAIza[0-9A-Za-z_-]{35,}"),
    "a model provider's key": (("sk-ant-", "sk-proj-"), r"\bsk-(?:ant|proj)-[A-Za-z0-9_-]{20,}"),
    "a Stripe key": (("k_live_",), r"\b[rs]k_live_[0-9a-zA-Z]{20,}"),
    "an npm token": (("npm_",), r"\bnpm_[A-Za-z0-9]{36}\b"),
    "a PyPI token": (("pypi-AgEIcHlwaS5vcmc",), r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}"),
}
# In files these are mostly examples; in the output of a program they may be what it was given.
_IN_OUTPUT: Mapping[str, tuple[tuple[str, ...], str]] = {
    "a login": (("://",), r"(?<=://)[^/\s:@]{1,100}:[^/\s@]{1,200}(?=@)"),
    "an authorization": (("uthorization", "UTHORIZATION"), r"(?i:(?<=authorization: )(?:bearer|basic|token) \S{8,})"),
}
_TABLE = tuple((name, words, re.compile(match)) for name, (words, match) in {**SECRETS, **_IN_OUTPUT}.items())


def redacted(text: str) -> str:
    """The text with each secret in it replaced by what it was."""
    for name, words, match in _TABLE:
        if any(word in text for word in words):
            text = match.sub(f"[redacted: {name}]", text)
    return text
