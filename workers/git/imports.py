"""Takes in what an agent's workspace hands out: a git bundle, believed in nothing.

It is unpacked into a quarantine of our mirror, where a half-read or refused bundle leaves no trace; what passes git's own checks is moved
in. Nothing that it holds is ever checked out or becomes a setting here.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.naming import valid_sha
from orchestrator.ports import Refused, Unavailable
from workers.git.findings import Finding, Limits, examine
from workers.git.program import Deadline, Git, complaint, failure

_SIGNATURE = b"# v2 git bundle\n"
_HEADER_LINE = re.compile(rb"(-?)([0-9a-f]{40})(?: ([^\n\x00]*))?")
_HEADER_CAP = 1024 * 1024
_LAST_TO_MOVE = {".pack": 0, ".rev": 1, ".idx": 2}  # a pack exists for git from the moment its index does


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A branch that is in the mirror now, at `ref`; a push waits for a human while there are `findings`."""

    head_sha: str
    ref: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bundle:
    head_sha: str
    pack: memoryview  # not a copy: bundles are large


def take_in(
    mirror: Path, bundle: bytes, *, only_ref: str, base_sha: str, limits: Limits, deadline: Deadline
) -> Imported:
    """Move the commits of a bundle with the one ref `only_ref` into the mirror, without a ref yet.

    Refused codes: `too-large`, `bad-bundle`.
    """
    if len(bundle) > limits.bundle:
        sentence = f"the work is {len(bundle) / 1e6:.0f} MB; at most {limits.bundle / 1e6:.0f} MB are taken"
        raise Refused(sentence, code="too-large", evidence={"bytes": len(bundle)})
    content = _parse(bundle, only_ref=only_ref)
    if not valid_sha(base_sha):
        raise Refused("the base of the work is no commit id", code="bad-base")
    with _quarantine(mirror) as objects:
        env = {"GIT_OBJECT_DIRECTORY": str(objects), "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(mirror / "objects")}
        git = Git(mirror, env={**env, "GIT_QUARANTINE_PATH": str(objects)})
        _unpack(git, content, limits=limits, deadline=deadline)
        findings = examine(git, base=base_sha, head=content.head_sha, limits=limits, deadline=deadline)
        _migrate(objects, mirror / "objects")
    return Imported(head_sha=content.head_sha, ref=only_ref, findings=findings)


def _parse(bundle: bytes, *, only_ref: str) -> _Bundle:
    header, blank, pack = bundle[:_HEADER_CAP].partition(b"\n\n")
    if not bundle.startswith(_SIGNATURE) or not blank or not pack.startswith(b"PACK"):
        raise Refused("what the workspace handed out is not a git bundle", code="bad-bundle")
    lines = [_HEADER_LINE.fullmatch(line) for line in header.removeprefix(_SIGNATURE).split(b"\n")]
    refs = {line[3]: line[2].decode() for line in lines if line is not None and not line[1]}
    if None in lines or set(refs) != {only_ref.encode()}:
        raise Refused(f"the bundle of the workspace holds other things than {only_ref}", code="bad-bundle")
    return _Bundle(head_sha=refs[only_ref.encode()], pack=memoryview(bundle)[len(header) + 2 :])


@contextmanager
def _quarantine(mirror: Path) -> Iterator[Path]:
    try:
        # Beside the objects and not in the temporary files: moving in must be a rename.
        directory = Path(tempfile.mkdtemp(prefix="incoming-", dir=mirror / "objects"))
        (directory / "pack").mkdir()
    except OSError as error:
        raise Unavailable(f"the mirror cannot be written: {error.strerror}") from error
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _unpack(git: Git, content: _Bundle, *, limits: Limits, deadline: Deadline) -> None:
    args = ("index-pack", "--stdin", "--fix-thin", "--strict", f"--max-input-size={limits.bundle}")
    output = git.run(*args, timeout=deadline.left(), stdin=content.pack)
    if output.code != 0:
        problem = failure(output, doing="unpacking the work")
        if isinstance(problem, Unavailable):
            raise problem
        said = complaint(output.stderr)
        raise Refused(f"the work of the workspace is not sound: {said}", code="bad-bundle", evidence={"said": said})
    if git.run("cat-file", "-t", content.head_sha, timeout=deadline.left()).text != "commit":
        raise Refused("the bundle of the workspace holds no commit", code="bad-bundle")


def _migrate(incoming: Path, objects: Path) -> None:
    try:
        for file in sorted((incoming / "pack").iterdir(), key=lambda file: _LAST_TO_MOVE.get(file.suffix, -1)):
            if file.suffix in _LAST_TO_MOVE:
                file.chmod(0o444)
                file.rename(objects / "pack" / file.name)
    except OSError as error:
        raise Unavailable(f"the work could not be moved into the mirror: {error.strerror}") from error
