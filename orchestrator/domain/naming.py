"""Names that are safe wherever they end up: in a ref, a path, an argument, a URL. Everything comes from an allow-list."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

BRANCH_LENGTH = 60
PREFIX_LENGTH = 20
WORKSPACE_LENGTH = 48
FILE_LENGTH = 500

_NOT_IN_SLUG = re.compile(r"[^a-z0-9]+")
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+@#-]{0,199}")
_FILE_PART = re.compile(r"[\w.@#+(\[][\w.@#+,=()\[\] -]*")
_LOGIN = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/]*@")
_SHA = re.compile(r"[0-9a-f]{40}")
_SCP_LIKE = re.compile(r"[^@/]+@(?P<host>[^:/]+):(?P<path>.+)")
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}")
_WORKSPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


def slug(text: str, *, length: int) -> str:
    """Lower-case ascii letters, digits and single hyphens; cut at a word where one ends in time; may be empty."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = _NOT_IN_SLUG.sub("-", ascii_text.lower()).strip("-")
    if len(words) <= length:
        return words
    cut, last_word = words[:length], words[length]
    if last_word != "-" and "-" in cut:
        cut = cut.rpartition("-")[0]
    return cut.strip("-")


def branch_for(prefix: str, task_number: int, title: str) -> str:
    """The branch of a task, such as `app/12-fix-the-failing-test`: the same for the same words, at most 60 characters."""
    head = f"{slug(prefix, length=PREFIX_LENGTH) or 'task'}/{task_number}"
    words = slug(title, length=BRANCH_LENGTH - len(head) - 1)
    return f"{head}-{words}" if words else head


def valid_branch(name: str) -> bool:
    """Whether git, a shell, a URL and a file system all take this branch name for nothing but a branch name."""
    if not _BRANCH.fullmatch(name) or ".." in name or "@{" in name or name in {"HEAD", "@"} or _SHA.fullmatch(name):
        return False
    return all(part and part[0] not in ".-" and not part.endswith((".", ".lock")) for part in name.split("/"))


def valid_repository_file(path: str) -> bool:
    """Whether this names a file of a repository by its path from the root, and a prompt and a shell take it for nothing but a path."""
    parts = path.removeprefix("./").split("/")
    return len(path) <= FILE_LENGTH and all(
        _FILE_PART.fullmatch(part) and part not in {".", ".."} and part.lower() != ".git" for part in parts
    )


def valid_sha(text: str) -> bool:
    """Whether this is a whole commit id."""
    return _SHA.fullmatch(text) is not None


def workspace_for(prefix: str, task_number: int, session: int) -> str:
    """The workspace of a task's session, such as `app-12-3`: fit for a directory, unique as long as the prefix is."""
    return f"{slug(prefix, length=PREFIX_LENGTH) or 'task'}-{task_number}-{session}"


def valid_workspace(name: str) -> bool:
    """Whether this may name a workspace: one path component of lower-case letters, digits and hyphens."""
    return len(name) <= WORKSPACE_LENGTH and _WORKSPACE.fullmatch(name) is not None


def without_login(remote: str) -> str:
    """A remote as people may see it: without the name and the password that its address may carry."""
    return _LOGIN.sub(r"\1", remote)


def repository_name(remote: str) -> str | None:
    """OWNER/NAME in the address of a repository on a forge; None where it has no such two parts."""
    scp = _SCP_LIKE.fullmatch(remote)
    path = scp["path"] if scp else urlsplit(remote).path
    name = path.strip("/").removesuffix(".git")
    return name if _REPOSITORY.fullmatch(name) else None


def github_api(remote: str, *, enterprise: str = "") -> str | None:
    """The API of the GitHub that a repository's address is on: github.com, a data residence, or the `enterprise` host; None elsewhere."""
    scp = _SCP_LIKE.fullmatch(remote)
    parts = urlsplit(remote)
    host = (scp["host"] if scp else parts.hostname or "").lower()
    if not scp and parts.scheme not in {"https", "ssh"}:
        return None
    if host == "github.com":
        return "https://api.github.com"
    if host.endswith(".ghe.com"):
        return f"https://api.{host}"
    return f"https://{host}/api/v3" if host and host == enterprise.lower() else None


def mirror_name(prefix: str, project: int) -> str:
    """The directory of a project's mirror, such as `app-7.git`."""
    return f"{slug(prefix, length=PREFIX_LENGTH) or 'project'}-{project}.git"
