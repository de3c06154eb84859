"""How values are written for people."""

from datetime import UTC, datetime, timedelta

import pytest

from pictord.console.templates import ago, coded, plain_usd, sentence, shortened, size, span, static_url, usd
from pictord.domain.money import parse_usd

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.0421, "42 ms"), (0.4, "0.4 s"), (9.96, "10 s"), (99, "99 s"), (100, "2 min"), (3600, "1 h")],
)
def test_a_span_is_told_in_its_unit(seconds, text):
    """Never more than two digits that count."""
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("past", "text"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=29), "just now"),
        (timedelta(seconds=65), "1 min ago"),
        (timedelta(minutes=59), "59 min ago"),
        (timedelta(hours=5), "5 h ago"),
        (timedelta(days=3), "3 days ago"),
    ],
)
def test_how_long_ago(past, text):
    """Clocks of replicas may differ a little."""
    assert ago(NOW - past, NOW) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("no engine can serve this", "No engine can serve this."),
        ("gpt-image-2: refused (why.)", "gpt-image-2: refused (why.)"),
        ("Done.", "Done."),
    ],
)
def test_our_texts_become_sentences(text, told):
    """Models keep their names."""
    assert sentence(text) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("`pictor usage --unknown` lists <it>", "<code>pictor usage --unknown</code> lists &lt;it&gt;"),
        ("`<b>` and `b`", "<code>&lt;b&gt;</code> and <code>b</code>"),
        ("a lone ` <stands>", "a lone ` &lt;stands&gt;"),
    ],
)
def test_commands_are_code(text, told):
    """Whatever else stands there is text."""
    assert coded(text) == told


@pytest.mark.parametrize(
    ("nanos", "text"), [(250 * 10**9, "250"), (500_000_000, "0.50"), (123_456_789, "0.123456789"), (0, "0")]
)
def test_an_amount_as_somebody_would_type_it(nanos, text):
    """Exact, and read as the same."""
    assert plain_usd(nanos) == text
    assert parse_usd(text) == nanos


def test_an_amount_that_no_ledger_holds_is_none():
    """However it is written: neither an overflow nor a number of a million digits."""
    for text in ("1e999999", "1e999990", "1e10", "NaN", "-1e999999", "99999999999"):
        with pytest.raises(ValueError, match="not an amount"):
            parse_usd(text)


def test_amounts_sizes_and_long_texts():
    """Nothing spent is plainly nothing."""
    assert (usd(0), usd(67_200_000)) == ("$0", "$0.0672")
    assert (size(10_240), size(3 * 1024 * 1024)) == ("10 KiB", "3.0 MiB")
    assert shortened("a  long\ntext", 7) == "a long…"
    assert shortened("short", 7) == "short"


def test_a_static_file_has_an_address_of_its_content():
    """So that browsers may keep it for ever."""
    assert static_url("console.css").startswith("/static/console.css?v=")
