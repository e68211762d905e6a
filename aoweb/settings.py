"""Django's settings, read from the environment and from nothing else.

`ao start` prepares the environment (its embedded servers, a secret key of its own); a team installation sets it by
compose or systemd. Every variable is named in the table of README.md.
"""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from orchestrator.domain.durations import parse_duration

BASE_DIR = Path(__file__).resolve().parent.parent


def flag(name: str, *, default: bool = False) -> bool:
    """Read a switch: 1, true, yes or on."""
    return os.environ.get(name, "1" if default else "0").strip().lower() in {"1", "true", "yes", "on"}


def words(name: str) -> list[str]:
    """Read a list separated by commas or spaces."""
    return [word for word in re.split(r"[,\s]+", os.environ.get(name, "")) if word]


def span(name: str, default: str) -> timedelta:
    """Read a duration such as 30d. Refuses to start on anything else."""
    try:
        return parse_duration(os.environ.get(name) or default)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error


def database(url: str) -> dict[str, Any]:
    """Turn `postgresql://user:password@host:5432/name?sslmode=require` into Django's form.

    A unix socket is `postgresql://user@/name?host=/run/folder`, as libpq writes it.
    """
    parts = urlsplit(url)
    name = unquote(parts.path.lstrip("/"))
    if parts.scheme not in {"postgres", "postgresql"} or not name:
        raise ImproperlyConfigured("DATABASE_URL must look like postgresql://user:password@host:5432/name")
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    host = options.pop("host", None) or unquote(parts.hostname or "")
    options.setdefault("connect_timeout", 5)
    options.setdefault("application_name", os.environ.get("AO_PROCESS", "ao"))
    # A web request or a job that waits longer than this for a lock is stuck, and says so instead of piling up.
    patience = int(os.environ.get("AO_STATEMENT_TIMEOUT_MS", "20000"))
    options.setdefault("options", f"-c statement_timeout={patience} -c idle_in_transaction_session_timeout={patience}")
    options["pool"] = {
        "min_size": 0,
        "max_size": int(os.environ.get("AO_DB_POOL", "16")),
        "timeout": 10,
        "max_idle": 120,
    }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(parts.port or ""),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }


DEBUG = flag("AO_DEBUG")
DATABASE_URL = os.environ.get("DATABASE_URL", "")
REDIS_URL = os.environ.get("REDIS_URL", "")
if not DATABASE_URL or not REDIS_URL:
    raise ImproperlyConfigured(
        "DATABASE_URL and REDIS_URL are not set. `ao start` sets both for its embedded servers; "
        "for your own: DATABASE_URL=postgresql://user:password@host/name REDIS_URL=redis://host:6379/0",
    )
SECRET_KEY = os.environ.get("AO_SECRET_KEY", "")
if len(SECRET_KEY) < 50:
    raise ImproperlyConfigured(
        "AO_SECRET_KEY is not set, or shorter than 50 characters. Make one: "
        'python3 -c "import secrets; print(secrets.token_urlsafe(64))"',
    )
# Older keys still open what they sealed: sessions, links and encrypted fields survive a change of key.
SECRET_KEY_FALLBACKS = words("AO_SECRET_KEY_FALLBACKS")

AO_VERSION = "0.1.0"
AO_HOME = Path(os.environ.get("AO_HOME") or Path.home() / ".local" / "share" / "ao")
AO_PORT = int(os.environ.get("AO_PORT", "3000"))
AO_BASE_URL = os.environ.get("AO_BASE_URL", f"http://localhost:{AO_PORT}").rstrip("/")
AO_LOCAL_HOST = os.environ.get("AO_LOCAL_HOST", "local")
# Set by `ao worker --join`: the name under which this machine serves an installation on another one.
AO_JOINED = os.environ.get("AO_JOINED", "")
AO_FLOWER_SOCKET = os.environ.get("AO_FLOWER_SOCKET", "")
AO_FLOWER_AUTH = os.environ.get("AO_FLOWER_AUTH", "")
# How long it is kept what was known at each decision: as far back as `ao replay` and the reasons on a task's page reach.
DECISIONS_KEPT = span("AO_DECISIONS_KEPT", "30d")
# Set by tests and faults only: which point of which effect kills its process (`after_pr_create:kill9`).
AO_FAILPOINT = os.environ.get("AO_FAILPOINT", "")

base = urlsplit(AO_BASE_URL)
HTTPS = base.scheme == "https"
ALLOWED_HOSTS = [base.hostname or "localhost", "localhost", "127.0.0.1", "[::1]", *words("AO_ALLOWED_HOSTS")]
CSRF_TRUSTED_ORIGINS = [AO_BASE_URL, *words("AO_TRUSTED_ORIGINS")]
# Sockets are checked against full origins, ports included: another port of this machine is another program.
AO_ALLOWED_ORIGINS = [
    *CSRF_TRUSTED_ORIGINS,
    f"http://localhost:{AO_PORT}",
    f"http://127.0.0.1:{AO_PORT}",
    f"http://[::1]:{AO_PORT}",
]

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "django_htmx",
    "django_filters",
    "orchestrator",
    "aoweb",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "aoweb.middleware.ContentSecurityPolicyMiddleware",
    "aoweb.middleware.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "aoweb.urls"
ASGI_APPLICATION = "aoweb.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "aoweb" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "aoweb.dashboard.waiting.waiting",
            ],
        },
    },
]

DATABASES = {"default": database(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CHANNEL_LAYERS = {
    "default": {
        # The other layer's idle sockets die after five seconds with current redis clients.
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "ao", "capacity": 1000},
    },
}

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
SESSION_COOKIE_AGE = int(timedelta(days=30).total_seconds())
# Cookies ignore ports: two installations on one machine must not log each other out.
SESSION_COOKIE_NAME = f"ao_session_{AO_PORT}"
CSRF_COOKIE_NAME = f"ao_csrf_{AO_PORT}"
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = HTTPS and flag("AO_SSL_REDIRECT", default=True)
SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds()) if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
if flag("AO_BEHIND_PROXY"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

LANGUAGE_CODE = "en"
TIME_ZONE = os.environ.get("AO_TIME_ZONE", "UTC")
USE_I18N = False
USE_TZ = True

STATIC_URL = "/static/"
# Finders and plain storage: no collectstatic step, and nothing to forget after an upgrade.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "aoweb.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Agent Orchestrator",
    "DESCRIPTION": "Tasks go in, merged pull requests come out.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

UNFOLD = {
    "SITE_TITLE": "Agent Orchestrator",
    "SITE_HEADER": "Agent Orchestrator",
    "SITE_URL": "/",
    "SITE_ICON": "/static/ao/icon.svg",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "/static/ao/icon.svg"}],
    "SHOW_VIEW_ON_SITE": True,
    "BORDER_RADIUS": "7px",
    "COLORS": {
        "primary": {
            "50": "oklch(97% 0.012 277)", "100": "oklch(94% 0.026 277)", "200": "oklch(88% 0.052 277)", "300": "oklch(80% 0.09 277)",
            "400": "oklch(70% 0.135 277)", "500": "oklch(61% 0.17 277)", "600": "oklch(53% 0.18 277)", "700": "oklch(46% 0.165 277)",
            "800": "oklch(39% 0.135 277)", "900": "oklch(33% 0.1 277)", "950": "oklch(23% 0.07 277)",
        },
    },
}  # fmt: skip

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"events": {"()": "aoweb.logs.EventFormatter", "as_json": flag("AO_LOG_JSON")}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "events"}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("AO_LOG_LEVEL", "INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "django.channels": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        # A connection that breaks is said by whoever used it, in a sentence.
        "paramiko": {"level": "CRITICAL"},
        "markdown_it": {"level": "WARNING"},
        "uvicorn.access": {"level": "WARNING"},
        # A doorbell every few seconds is no event; what it led to is.
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
    },
}
