"""How log lines look: one event with its facts per line, for people or as JSON."""

import json
import logging
from datetime import UTC, datetime

STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message", "data"}
SECRET = ("token", "secret", "password", "authorization", "cookie", "api_key")


class EventFormatter(logging.Formatter):
    """Writes `time level logger: message key=value ...`, or the same as one JSON object."""

    def __init__(self, *, as_json: bool = False) -> None:
        super().__init__()
        self.as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Render one record; facts are what `extra={...}` brought, secrets among them are blanked."""
        at = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")
        facts = {name: redact(name, value) for name, value in record.__dict__.items() if name not in STANDARD}
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self.as_json:
            line = {"at": at, "level": record.levelname.lower(), "logger": record.name, "event": record.getMessage()}
            return json.dumps(line | facts | ({"trace": trace} if trace else {}), default=str)
        told = "".join(f" {name}={value}" for name, value in facts.items())
        head = f"{at} {record.levelname.lower()} {record.name}: {record.getMessage()}{told}"
        return f"{head}\n{trace}" if trace else head


def redact(name: str, value: object) -> object:
    """Blank a fact whose name says that it is a secret."""
    return "[redacted]" if any(word in name.lower() for word in SECRET) else value
