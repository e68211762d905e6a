"""Filters and tags of the pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime

from aoweb.dashboard import text
from aoweb.dashboard.words import STATUS

register = template.Library()

register.filter("markdown", text.markdown)
register.filter("plain", text.plain)
register.filter("blocks", text.blocks)


@register.filter
def status_label(status: str) -> str:
    """A status as people say it."""
    return STATUS.get(status, (status, ""))[0]


@register.filter
def status_tone(status: str) -> str:
    """The colour of a status."""
    return STATUS.get(status, ("", "calm"))[1]


@register.filter
def sha(value: str) -> str:
    """The first ten digits of a commit."""
    return value[:10]


@register.filter
def span(value: timedelta | None) -> str:
    """A span as people say it: 45 s, 12 min, 3 h, 2 d."""
    if value is None:
        return ""
    seconds = int(value.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (unit == "min" and seconds >= size):
            return f"{seconds // size} {unit}"
    return f"{max(seconds, 0)} s"


@register.filter
def moment(value: datetime | None) -> SafeString:
    """A time that the browser turns into "5 min ago"; without scripts it is still a date."""
    if value is None:
        return SafeString("")
    local = localtime(value)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(timespec="seconds"),
        local.strftime("%Y-%m-%d %H:%M:%S %Z"),
        local.strftime("%d %b %H:%M"),
    )


@register.filter
def link(address: str) -> str:
    """An address that a page may link to: one of the web, or nothing."""
    return address if address.startswith(("https://", "http://")) else ""


@register.filter
def usd(value: Decimal) -> str:
    """Dollars with their cents, and what is less than one."""
    return f"${value:,.2f}" if not value or value >= Decimal("0.01") else "< $0.01"


@register.filter
def thousands(value: int) -> str:
    """12,345."""
    return f"{value:,}"
