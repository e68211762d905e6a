"""How people name a task on the command line."""

from __future__ import annotations

from aoweb.cli.service import Misused, Service


def task_id(service: Service, task: str) -> int:
    """A task's id from what was typed. Raises `Misused`."""
    if task.isascii() and task.isdigit() and len(task) <= 18:
        return int(task)
    project, mark, number = task.rpartition("#")
    if not mark or not project or not number.isdigit():
        raise Misused(f"{task!r} is not a task: give its id, or its key such as my-app#12")
    rows = service.get("/tasks/", project=project, number=number)["results"]
    if not rows:
        raise Misused(f"there is no task {task}")
    return int(rows[0]["id"])
