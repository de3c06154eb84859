"""The templates, and how values are written for people."""

import hashlib
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pictord.console.words import ADAPTATIONS, why_row
from pictord.domain.money import format_usd

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"


def environment() -> Environment:
    """Everything is escaped, and a name that a view model lacks is an error."""
    found = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["static"] = static_url
    found.globals["adaptation_words"] = ADAPTATIONS
    found.filters.update(
        usd=usd, dollars=dollars, words=words, span=span, size=size, why_row=why_row, sentence=sentence, coded=coded
    )
    return found


@cache
def static_url(name: str) -> str:
    """Where a file of `static/` is served: the address changes with the file, so that browsers may keep it."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def usd(nanos: int) -> str:
    """An amount for people."""
    return format_usd(nanos) if nanos else "$0"


def dollars(nanos: int) -> str:
    """An amount in cents, as people write sums; what is less than half a cent is not nothing."""
    return "< $0.01" if 0 < nanos < 5_000_000 else format_usd(nanos, 2)


def plain_usd(nanos: int) -> str:
    """An amount as somebody would type it, exact: no sign, and cents or none."""
    whole, _, part = format_usd(nanos, 9).removeprefix("$").partition(".")
    part = part.rstrip("0")
    return f"{whole}.{part.ljust(2, '0')}" if part else whole


def words(value: Any) -> str:
    """A word of ours for people: `no_exact_candidate` is `no exact candidate`."""
    return str(value).replace("_", " ")


def sentence(text: str) -> str:
    """A text of ours as a sentence: the errors' texts begin small, for they follow a name elsewhere.

    Models' names stay as they are.
    """
    begins = text.partition(" ")[0].isalpha()
    ends = not text or text.rstrip(")").endswith((".", "!", "?", "…"))
    return (text[:1].upper() + text[1:] if begins else text) + ("" if ends else ".")


def coded(text: str) -> Markup:
    """A text of ours with its commands, which stand between backticks, as code."""
    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:
        return escape(text)  # one of them has no other
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd % 2 else part for odd, part in enumerate(parts)
    )


def span(seconds: float) -> str:
    """A span of time, in the unit that people would take."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    return f"{hours} h" if hours < 48 else f"{round(seconds / 86400)} days"


def ago(then: datetime, now: datetime) -> str:
    """How long ago something was."""
    seconds = (now - then).total_seconds()
    minutes = round(seconds / 60)
    if minutes < 1:
        return "just now"
    return f"{minutes} min ago" if minutes < 60 else f"{span(seconds)} ago"


def size(size_bytes: int) -> str:
    """A number of bytes in KiB or MiB."""
    kib = size_bytes / 1024
    return f"{kib:.0f} KiB" if kib < 1000 else f"{kib / 1024:.1f} MiB"


def shortened(text: str, most: int) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
