"""The ledger against the provider's invoice: where they differ, and what lost attempts turn out to have cost. Pure.

The invoice is the truth, but it has one sum for a day and a model and knows no attempt. What it bills above everything
that the ledger knows must have been drawn by attempts whose answers were lost:

- it is shared among them by their estimates, which are worst cases: none is ever settled above its own. More than that
  was not theirs, stays a difference, and is for a person to look into;
- what is left of their estimates was never billed, and is written off.

Lost attempts are left as they are where the invoice cannot be the last word: on a day that it does not name, that is
not long enough over, of which a call is still open, or on which it bills something under a name that nobody knows, for
that may have been theirs; and where it bills less than the ledger knows for certain, for then it is not the whole
invoice, or the prices are wrong.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum

SETTLED_AFTER = timedelta(days=1)
"""How long after its end a day is taken as billed: neither provider promises when its export is complete."""

Key = tuple[date, str]
"""A UTC day and a model of the catalog."""


@dataclass(frozen=True, slots=True)
class Invoice:
    """What a provider bills: nano-USD by day and model, the days that it names, and what it bills for other things."""

    amounts: Mapping[Key, int]
    days: AbstractSet[date]
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Nano-USD by the provider's own word, for what is no model of the catalog."""

    unclear_days: AbstractSet[date] = frozenset()
    """Days on which something of that may be Pictor's after all: nobody has said that it is not."""


@dataclass(frozen=True, slots=True)
class Booked:
    """What the ledger has for one day and model, in nano-USD; `unknown` holds lost attempts' estimates by id.

    `open_attempts` are calls that have not ended: nobody knows yet what they come to.
    """

    reported_nanos: int = 0
    reconciled_nanos: int = 0
    estimated_nanos: int = 0
    unknown: Mapping[str, int] = field(default_factory=dict)
    open_attempts: int = 0

    @property
    def known_nanos(self) -> int:
        """Everything but what was lost."""
        return self.reported_nanos + self.reconciled_nanos + self.estimated_nanos

    @property
    def unknown_nanos(self) -> int:
        """What was lost, at its estimates."""
        return sum(self.unknown.values())


class Verdict(StrEnum):
    """What a line says."""

    AGREES = "agrees"
    OFF = "off"
    NOT_YET = "not yet"
    """The day is not long enough over, or a call of it is open: nothing is judged or settled."""


@dataclass(frozen=True, slots=True)
class Line:
    """One day and model. `settled` says what each lost attempt comes to; None: they are left as they are."""

    day: date
    model: str
    booked: Booked
    invoice_nanos: int
    settled: Mapping[str, int] | None
    verdict: Verdict

    @property
    def ledger_nanos(self) -> int:
        """What the ledger says once the lost attempts are settled; where they are left, with their estimates."""
        lost = self.booked.unknown_nanos if self.settled is None else sum(self.settled.values())
        return self.booked.known_nanos + lost

    @property
    def difference_nanos(self) -> int:
        """What the invoice has above the ledger; negative if the ledger has more."""
        return self.invoice_nanos - self.ledger_nanos


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """All lines, by day and model; their sum, without those that are not to be judged yet; and whether all agree."""

    lines: tuple[Line, ...]
    invoice_nanos: int
    ledger_nanos: int
    agrees: bool

    @property
    def settlements(self) -> Mapping[str, int]:
        """What every lost attempt comes to that is settled, by id."""
        return {name: nanos for line in self.lines for name, nanos in (line.settled or {}).items()}


def reconcile(
    invoice: Invoice, ledger: Mapping[Key, Booked], now: datetime, tolerance_percent: Decimal
) -> Reconciliation:
    """Put an invoice against the ledger of the same days."""
    keys = sorted(invoice.amounts.keys() | ledger.keys())
    lines = tuple(
        _line(key, invoice, ledger.get(key, Booked()), tolerance_percent, is_over=is_over(key[0], now)) for key in keys
    )
    judged = [line for line in lines if line.verdict is not Verdict.NOT_YET]
    billed, booked = sum(line.invoice_nanos for line in judged), sum(line.ledger_nanos for line in judged)
    agrees = _agree(billed, booked, tolerance_percent) and all(line.verdict is Verdict.AGREES for line in judged)
    return Reconciliation(lines, billed, booked, agrees)


def is_over(day: date, now: datetime) -> bool:
    """Whether a UTC day ended so long ago that the provider has billed it."""
    end = datetime.combine(day + timedelta(days=1), time(), UTC)
    return now >= end + SETTLED_AFTER


def _line(key: Key, invoice: Invoice, booked: Booked, tolerance_percent: Decimal, *, is_over: bool) -> Line:
    day, model = key
    billed, settled = invoice.amounts.get(key, 0), None
    if not is_over or booked.open_attempts:
        return Line(day, model, booked, billed, None, Verdict.NOT_YET)
    over = billed - booked.known_nanos
    is_last_word = day in invoice.days and day not in invoice.unclear_days
    if booked.unknown and is_last_word and (over >= 0 or _agree(billed, booked.known_nanos, tolerance_percent)):
        settled = shares(max(over, 0), booked.unknown)
    line = Line(day, model, booked, billed, settled, Verdict.AGREES)
    if _agree(billed, line.ledger_nanos, tolerance_percent):
        return line
    return Line(day, model, booked, billed, settled, Verdict.OFF)


def _agree(billed: int, booked: int, tolerance_percent: Decimal) -> bool:
    return abs(billed - booked) * 100 <= tolerance_percent * abs(billed)


def shares(nanos: int, estimates: Mapping[str, int]) -> dict[str, int]:
    """Share an amount by estimates, exactly to the nano-dollar, nobody above its own; always in the same way."""
    whole = sum(estimates.values())
    nanos = min(nanos, whole)
    if not whole:
        return dict.fromkeys(estimates, 0)
    parts = {name: nanos * estimate // whole for name, estimate in estimates.items()}
    by_remainder = sorted(estimates, key=lambda name: (-(nanos * estimates[name] % whole), name))
    for name in by_remainder[: nanos - sum(parts.values())]:
        parts[name] += 1
    return parts


def percent(difference: int, billed: int) -> Decimal | None:
    """A difference in percent of what is billed, to two places; None if nothing is."""
    return None if not billed else (Decimal(difference) * 100 / abs(billed)).quantize(Decimal("0.01"))


def unknown_left(lines: Iterable[Line]) -> int:
    """How many lost attempts stay unknown."""
    return sum(len(line.booked.unknown) for line in lines if line.settled is None)
