"""What providers say in words: how it is shown, and how long they want us to wait."""

import pytest

from pictord.providers.provider_words import readable, retry_after_s

WAITS = [
    ({"retry-after-ms": "250", "retry-after": "7"}, "", 0.25),
    ({"retry-after": "7"}, "try again in 15ms", 7.0),
    ({"retry-after": "0.5"}, "", 0.5),
    ({"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"}, "", 30.0),
    ({"retry-after": "Sun, 22 Nov 2026 09:00:00 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"}, "", 0.0),
    ({"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT"}, "", None),
    ({}, "Requested 1. Please try again in 15ms. Visit https://x", 0.015),
    ({}, "Please retry in 26.66s.", 26.66),
    ({}, "Please try again in 1m30s.", 90.0),
    ({}, "Please try again in 6h0m0s.", 21600.0),
    ({}, "Please try again in 20 seconds.", 20.0),
    ({}, "Please try again in 2 minutes.", 120.0),
    ({}, "Please try again later.", None),
    ({"retry-after": "soon"}, "", None),
    ({"retry-after": "-1"}, "", None),
    ({"retry-after": "nan"}, "", None),
    ({"retry-after-ms": "inf"}, "", None),
]


@pytest.mark.parametrize(("headers", "text", "seconds"), WAITS, ids=[str(case[:2]) for case in WAITS])
def test_the_wait_a_provider_asks_for(headers: dict[str, str], text: str, seconds: float | None) -> None:
    """Milliseconds before seconds, headers before words; nonsense is no hint."""
    assert retry_after_s(headers, text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Incorrect API key provided: sk-proj-ab**********yz.", "Incorrect API key provided: [key]."),
        ("key AIzaSyA1234567890abcdef is bad", "key [key] is bad"),
        ("Authorization: Bearer ya29.a0Af_x-y", "Authorization: [key]"),
        ("https://x/v1?key=abc&alt=sse", "https://x/v1?key=[key]&alt=sse"),
        ("my own secret hunter2hunter2!", "my own secret [key]!"),
        ("please check your plan", "please check your plan"),
        ("two\n lines\tand\x00 a \u202eletter", "two lines and a letter"),
        ("<!DOCTYPE html><html><head><title>\n502 Bad\nGateway</title>", "HTML page: 502 Bad Gateway"),
        ("<html>nothing", "HTML page"),
        ("x" * 1000, "x" * 399 + "…"),
    ],
)
def test_texts_are_short_and_without_keys(text: str, shown: str) -> None:
    """One readable line, for operators and for the caller of a refused prompt."""
    assert shown == readable(text, ("hunter2hunter2", "k"))
