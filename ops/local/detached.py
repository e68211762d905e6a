"""Programs of ours in the background: whoever starts one is told when it is up, or why it is not."""

import json
import os
import subprocess
import sys
from typing import Any

from ops.local.errors import CannotRun
from ops.local.home import Home
from ops.local.server import last_lines
from ops.local.tree import rotated

DETACHED_SECONDS = 30.0


def tell_ready(ready: dict[str, object], told: list[str]) -> bool:
    """Tell the process that started us detached that we are up; False when nobody did."""
    if "AO_READY_FD" not in os.environ:
        return False
    with os.fdopen(int(os.environ.pop("AO_READY_FD")), "w") as stream:
        stream.write(json.dumps({"ready": ready, "told": told}) + "\n")
    return True


def launch_detached(home: Home, arguments: list[str]) -> dict[str, Any]:
    """Run `ao` with these words in the background, and answer what it tells when it is up."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    with rotated(home.logs / "ao.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.local.main", *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[writer],
            env=os.environ | {"AO_READY_FD": str(writer)},
        )  # fmt: skip
    os.close(writer)
    with os.fdopen(reader) as stream:
        data = stream.readline()
    if not data:
        process.wait(DETACHED_SECONDS)
        raise CannotRun(f"the service did not come up. Its last words:\n{last_lines(home.logs / 'ao.log')}")
    answer: dict[str, Any] = json.loads(data)
    if "error" in answer:
        raise CannotRun(answer["error"])
    return answer


def ready_descriptor() -> list[int]:
    """Where to tell the process that started us detached that we are up; no child of ours may hold it open."""
    return [int(os.environ["AO_READY_FD"])] if "AO_READY_FD" in os.environ else []


def tell_failure(error: CannotRun) -> None:
    """Tell the process that started us detached why there is no service."""
    if "AO_READY_FD" in os.environ:
        with os.fdopen(int(os.environ.pop("AO_READY_FD")), "w") as stream:
            stream.write(json.dumps({"error": str(error)}) + "\n")
