"""What providers say in words and headers: readable, without secrets, and how long to wait."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

_MOST_CHARACTERS = 400
_FEWEST_SECRET_CHARACTERS = 8
"""Shorter keys (a sandbox takes any) would be found inside ordinary words."""
_SECRETS = re.compile(
    r"\bsk-[\w*-]{4,}"  # OpenAI keys, also the half-starred ones that its 401 repeats
    r"|\bAIza[\w-]{10,}"  # Google API keys
    r"|\bya29\.[\w.-]+"  # Google access tokens
    r"|(?i:\bbearer\s+[\w.~+/=-]+)"
    r"|(?<=[?&]key=)[^&\s]+"
)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_WAIT = re.compile(
    r"\b(?:try again|retry) in ((?:\d+(?:\.\d+)?\s*(?:milliseconds?|seconds?|minutes?|hours?|ms|s|m|h)\s*)+)"
)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli|s|m|h)")
_UNIT_S = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def readable(text: str, secrets: Iterable[str] = ()) -> str:
    """A provider's text for people: one line, at most 400 characters, keys replaced; of a page only its title."""
    for secret in secrets:
        text = text.replace(secret, "[key]") if len(secret) >= _FEWEST_SECRET_CHARACTERS else text
    if text.lstrip().startswith("<"):
        title = _TITLE.search(text)
        text = f"HTML page: {title[1]}" if title else "HTML page"
    text = _SECRETS.sub("[key]", text)
    text = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def retry_after_s(headers: Mapping[str, str], text: str) -> float | None:
    """Seconds a provider asks us to wait, by `retry-after-ms`, `retry-after` or its words; None if it does not.

    Args:
        headers: looked up in lower case. An HTTP date counts from the answer's own `date`.
        text: "Please try again in 15ms." (OpenAI), "Please retry in 26.66s." (Gemini).

    Source: openai 3.54.0 `_base_client.py` (`retry-after-ms` first); community.openai.com/t/1382726 ("Please try
    again in 15ms"); dcdpr/jp#1061 (Google sends RetryInfo and no header); read 2026-11-22.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    for seconds in (_number(value), _until(value, headers.get("date"))):
        if seconds is not None:
            return seconds
    words = _WAIT.search(text)
    return None if words is None else sum(float(count) * _UNIT_S[unit] for count, unit in _PART.findall(words[1]))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _until(then: str | None, now: str | None) -> float | None:
    moments = (_moment(then), _moment(now))
    if moments[0] is None or moments[1] is None:
        return None
    return max(0.0, (moments[0] - moments[1]).total_seconds())


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else parsedate_to_datetime(text)
    except ValueError:
        return None
