"""The documents of a simulated earthquake, filled in from templates, and times as they write them."""

from datetime import UTC, datetime
from typing import Any

from coslide.io.templates import templates_of

_TEMPLATES = templates_of("simulate")


def render(template: str, **content: Any) -> str:
    """Fill a template of this package, such as ``"event.toml"``; in XML every text is escaped."""
    return _TEMPLATES.get_template(f"{template}.j2").render(content)


def utc_text(time: datetime, form: str = "%Y%m%dT%H%M%S") -> str:
    """Write a time in UTC, by default as the names of Sentinel-2 products have it."""
    return time.astimezone(UTC).strftime(form)


_TEMPLATES.filters["utc"] = utc_text
