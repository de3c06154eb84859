"""Reading a provider's cost export, CSV or JSON, into one amount for each UTC day and model.

What is taken, and where it comes from (read 2026-11-28):

| from                                | time               | what              | amount, currency                    |
|-------------------------------------|--------------------|-------------------|-------------------------------------|
| OpenAI, the costs API: JSON pages   | `start_time`       | `line_item`       | `amount.value`, `amount.currency`   |
| OpenAI, the usage page: CSV         | `start_time`       | `line_item`       | `amount_value`, `amount_currency`   |
| Google, BigQuery: JSON, lines, CSV  | `usage_start_time` | `sku.description` | `cost`, `currency`                  |
| anybody's own table                 | `day`              | `model`           | `usd`                               |

- The costs API is `GET /v1/organization/costs?group_by=line_item`; Google's rows are those of the table
  `gcp_billing_export_v1_...`, as they are or summed by day and SKU.
- A line item begins with the model (`gpt-image-2-2026-04-21, image output`), an SKU names it somewhere (`Generate
  content output token count gemini 3.1 flash image`). What names no model of the provider is left out, and told; it may
  be ours under a new name all the same, so nothing is concluded of its day unless somebody says that it is not. What
  names a model of another provider is the wrong file.
- Google's `cost` is before credits: a credit pays a price, it does not change it. Rows whose `cost_type` is not
  `regular` (taxes, rounding) are left out.
- A file that is known to be half a file is refused: a page of OpenAI's whose `has_more` no other page follows.

Amounts are decimals throughout; only the sum of a day and model is rounded, to the nano-dollar.
"""

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from pictord.domain.money import NANOS_PER_USD
from pictord.domain.reconciliation import Invoice, Key

_TIME = ("day", "usage_start_time", "start_time")
_END = ("usage_end_time", "end_time")
_WHAT = ("model", "line_item", "sku.description", "sku_description")
_AMOUNT = ("usd", "amount.value", "amount_value", "cost")
_CURRENCY = ("currency", "amount.currency", "amount_currency")
_SKU = frozenset({"sku.description", "sku_description"})
_DAY = timedelta(days=1)
NO_NAMES: Mapping[str, str] = {}


class ExportError(ValueError):
    """A cost export that cannot be used; the text is one sentence that says where."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One row with its values by column, and where it stands."""

    place: str
    values: Mapping[str, Any]

    @property
    def given(self) -> set[str]:
        """The columns that say something."""
        return {name for name, value in self.values.items() if value not in ("", None)}

    def error(self, column: str, text: str) -> ExportError:
        return ExportError(f"{self.place}, column {column}: {text}")

    def column(self, names: Iterable[str], what: str) -> str:
        found = next((name for name in names if name in self.values), None)
        if found is None:
            raise ExportError(f"{self.place}: no column for {what}; there should be {' or '.join(names)}")
        return found


def read(
    text: str, names: Mapping[str, str], *, foreign: Mapping[str, str] = NO_NAMES, not_ours: Sequence[str] = ()
) -> Invoice:
    """Read an export.

    Args:
        text: the file.
        names: the provider's models: ids by id, alias and snapshot, in lower case.
        foreign: the same of all other providers.
        not_ours: words, in any case; what is left out and has one of them is said not to be Pictor's.

    Raises:
        ExportError: it is none, or one of its values is wrong; the text says in which line and column.
    """
    text = text.removeprefix("\ufeff")
    sums: defaultdict[Key, Decimal] = defaultdict(Decimal)
    left_out: defaultdict[str, Decimal] = defaultdict(Decimal)
    days, unclear, unheard = set(), set(), {word.lower() for word in not_ours}
    for row in _json_rows(text) if text.lstrip()[:1] in {"{", "["} else _csv_rows(text):
        day = _day(row)
        days.add(day)
        if not row.given - _BUCKET:
            continue  # a day on which nothing was billed
        what = row.column(_WHAT, "what is billed")
        amount, said = _amount(row), _text(row, what)
        kind = str(row.values.get("cost_type") or "regular")
        model = _model(said, names, is_sku=what in _SKU) if kind == "regular" else None
        if model is not None:
            sums[day, model] += amount
            continue
        left_out[said if kind == "regular" else kind] += amount
        if other := _model(said, foreign, is_sku=what in _SKU):
            raise row.error(what, f"{said!r} is {other}, of another provider")
        excused = {word for word in map(str.lower, not_ours) if word in said.lower()}
        unheard -= excused
        if kind == "regular" and amount and not excused:
            unclear.add(day)
    if unheard:
        raise ExportError(f"nothing that is left out has {min(unheard)!r} in its name")
    if not days:
        raise ExportError("it has no rows")
    return Invoice(
        {key: _nanos(amount) for key, amount in sums.items()},
        days,
        {said: _nanos(amount) for said, amount in sorted(left_out.items())},
        unclear,
    )


# Rows

_BUCKET = frozenset({"start_time", "end_time", "start_time_iso", "end_time_iso"})
"""What a row has at least: a bucket of OpenAI's without results says only when."""


def _csv_rows(text: str) -> Iterator[_Row]:
    # Strict: what comes after a closing quote is an error and no value.
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                continue
            if len(cells) != len(header):
                raise ExportError(f"line {lines.line_num}: {len(cells)} columns, the first line has {len(header)}")
            yield _Row(f"line {lines.line_num}", dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise ExportError(f"line {lines.line_num}: {error}") from None


def _json_rows(text: str) -> Iterator[_Row]:
    more_after = None
    for place, value in _json_objects(text):
        if not isinstance(value, dict):
            raise ExportError(f"{place}: not an object")
        if isinstance(value.get("data"), list):
            yield from _page_rows(place, value["data"])
            more_after = place if value.get("has_more") else None
        else:
            yield _Row(place, _flat(value))
    if more_after is not None:
        raise ExportError(f"{more_after}: has_more is true, and the next page is not in the file")


def _json_objects(text: str) -> Iterator[tuple[str, Any]]:
    """All top-level objects with their places: of one document, of an array, or of JSON lines."""
    decoder = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal, parse_constant=_not_a_number)
    at, number = 0, 0
    while (at := _skip_space(text, at)) < len(text):
        line = text.count("\n", 0, at) + 1
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise ExportError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
        except (ValueError, RecursionError) as error:
            raise ExportError(f"line {line}: {error}") from None
        if isinstance(value, list):
            yield from ((f"entry {index}", each) for index, each in enumerate(value, start=1))
        else:
            number += 1
            yield f"line {line}", value


def _not_a_number(word: str) -> Decimal:
    raise ValueError(f"{word} is no amount")


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _page_rows(place: str, buckets: list[Any]) -> Iterator[_Row]:
    for index, bucket in enumerate(buckets):
        where = f"{place}, data[{index}]"
        results = bucket.get("results") if isinstance(bucket, dict) else None
        if not isinstance(results, list):
            raise ExportError(f"{where}: no bucket with results")
        when = {name: bucket[name] for name in ("start_time", "end_time") if name in bucket}
        if not results:
            yield _Row(where, when)
        for number, result in enumerate(results):
            if not isinstance(result, dict):
                raise ExportError(f"{where}.results[{number}]: not an object")
            yield _Row(f"{where}.results[{number}]", _flat(result) | when)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one, with names like `sku.description`."""
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= _flat(inner, f"{prefix}{name}.") if isinstance(inner, dict) else {prefix + name: inner}
    return flat


# Values


def _text(row: _Row, column: str) -> str:
    value = row.values[column]
    if isinstance(value, str) and value.strip():
        return value.strip()
    help_ = "; ask for group_by=line_item" if column == "line_item" else ""
    raise row.error(column, f"says not what is billed{help_}")


def _amount(row: _Row) -> Decimal:
    column = row.column(_AMOUNT, "the amount")
    value = row.values[column]
    try:
        amount = value if isinstance(value, Decimal) else Decimal(value.strip() if isinstance(value, str) else "")
    except InvalidOperation:
        raise row.error(column, f"{value!r} is not an amount") from None
    if not amount.is_finite() or abs(amount) > _MOST:
        raise row.error(column, f"{value!s:.40} is not an amount")
    if column != "usd":
        where = row.column(_CURRENCY, "the currency")
        currency = row.values[where]
        if not isinstance(currency, str) or currency.strip().upper() != "USD":
            raise row.error(where, f"{currency!r} is not USD, which the ledger is kept in")
    return amount


_MOST = Decimal(1_000_000_000)
"""Dollars; more in one row is a wrong column."""


def _nanos(amount: Decimal) -> int:
    return int((amount * NANOS_PER_USD).to_integral_value(ROUND_HALF_EVEN))


def _day(row: _Row) -> date:
    column = row.column(_TIME, "the day")
    start = _moment(row, column)
    end = next((name for name in _END if name in row.given), None)
    if end is not None and not start < _moment(row, end) <= _midnight(start) + _DAY:
        raise row.error(end, f"{row.values[end]} does not end on the UTC day that begins the row")
    return start.date()


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _moment(row: _Row, column: str) -> datetime:
    """Seconds since 1970, a day, or a time; without an offset it is UTC, as in both providers' exports."""
    value = str(row.values[column]).strip()
    try:
        if re.fullmatch(r"\d+(\.\d+)?([eE]\+?\d+)?", value):
            return datetime.fromtimestamp(int(Decimal(value)), UTC)
        moment = datetime.fromisoformat(value.removesuffix(" UTC"))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise row.error(column, f"{value[:40]!r} is no time, such as 2026-11-22 or 1795305600") from None


# Models

_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def _model(said: str, names: Mapping[str, str], *, is_sku: bool) -> str | None:
    """The model that a line item begins with, whichever of its snapshots, or that an SKU names; None: no model."""
    if not is_sku:
        name = said.partition(",")[0].strip().lower()
        return names.get(name) or names.get(_DATED.sub("", name))
    words = f" {_words(said)} "
    found = [name for name in names if f" {_words(name)} " in words]
    return names[max(found, key=len)] if found else None


def _words(text: str) -> str:
    """Lower case, words with one space between; `3.1` is one word and so never found in `3`."""
    return " ".join(re.findall(r"[a-z0-9]+(?:\.[0-9]+)*", text.lower()))
