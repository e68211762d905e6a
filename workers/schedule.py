"""Beat's schedule, as data: which job function, how often (seconds), on which queue. Losing beat costs nothing: every worker sweeps too."""

from __future__ import annotations

SCHEDULE = {
    "sweep": {"task": "workers.jobs.sweep_control", "schedule": 5.0, "options": {"queue": "control", "expires": 5}},
    "look-outside": {
        "task": "workers.jobs.look_after_projects",
        "schedule": 10.0,
        "options": {"queue": "control", "expires": 10},
    },
    "observe": {
        "task": "workers.jobs.observe_pull_requests",
        "schedule": 5.0,
        "options": {"queue": "effects", "expires": 5},
    },
}
