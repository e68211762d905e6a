"""Files that are handed in."""

from __future__ import annotations

import sys
from pathlib import Path

from aoweb.cli.service import Failed

LARGEST_FILE = 500_000


def read_file(file: Path) -> str:
    """Its text; - is standard input. Raises `Failed`."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
    except OSError as error:
        raise Failed(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failed(f"{file} is not UTF-8: the byte at {error.start} cannot be read") from error
    if len(text) > LARGEST_FILE:
        raise Failed(f"{file} is longer than {LARGEST_FILE} characters")
    return text
