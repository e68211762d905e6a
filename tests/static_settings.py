"""Settings for tools that read the code without running it (mypy, makemigrations --check): no server is asked."""

import os

os.environ.setdefault("DATABASE_URL", "postgresql:///unused")
os.environ.setdefault("REDIS_URL", "redis://localhost/15")
os.environ.setdefault("AO_SECRET_KEY", "only-for-tools-that-read-the-code-and-serve-nobody-" + "x" * 16)
os.environ.setdefault("AO_BASE_URL", "https://ao.example.com")

from aoweb.settings import *  # noqa: F403 the environment must be there first

# One quick refusal, where the pool would go on trying for a server that is not there.
del DATABASES["default"]["OPTIONS"]["pool"]  # noqa: F405 from the settings above
