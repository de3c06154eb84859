"""The ledger against the invoice: what lost attempts come to, and when nothing may be concluded."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pictord.domain.reconciliation import Booked, Invoice, Verdict, is_over, reconcile, shares

DAY, MODEL = date(2026, 11, 22), "gpt-image-2"
KEY = (DAY, MODEL)
NOW = datetime(2026, 11, 28, tzinfo=UTC)
LOST = {"att_1": 60, "att_2": 60, "att_3": 120}
BOOKED = Booked(reported_nanos=10_000, unknown=LOST)


def only(billed: int, booked: Booked = BOOKED, now: datetime = NOW, tolerance: str = "1", **invoice):
    """The one line of a reconciliation, and the whole."""
    found = reconcile(Invoice({KEY: billed}, {DAY}, **invoice), {KEY: booked}, now, Decimal(tolerance))
    return found.lines[0], found


def test_what_is_billed_above_the_known_is_shared_by_the_estimates():
    """Every lost attempt gets its part, and the rest of what was held is written off."""
    line, found = only(10_120)

    assert line.settled == {"att_1": 30, "att_2": 30, "att_3": 60}
    assert (line.ledger_nanos, line.difference_nanos, line.verdict) == (10_120, 0, Verdict.AGREES)
    assert found.agrees
    assert found.settlements == line.settled


def test_what_was_not_billed_is_written_off_to_nothing():
    """The invoice has exactly what is known."""
    assert only(10_000)[0].settled == {"att_1": 0, "att_2": 0, "att_3": 0}


def test_no_attempt_is_settled_above_its_estimate():
    """More than the worst case was somebody else's: it stays in sight as a difference."""
    line, found = only(11_000)

    assert line.settled == LOST
    assert (line.difference_nanos, line.verdict, found.agrees) == (760, Verdict.OFF, False)


def test_an_invoice_below_what_is_known_settles_nothing():
    """It is half an invoice, or of another account, or the prices are wrong: no reason to write anything off."""
    line, found = only(9_000)

    assert line.settled is None
    assert (line.ledger_nanos, line.difference_nanos, line.verdict) == (10_240, -1_240, Verdict.OFF)
    assert found.settlements == {}


def test_a_day_that_the_invoice_does_not_name_settles_nothing():
    """A hole in the file is no word about that day; that money was spent there is a difference."""
    found = reconcile(Invoice({}, set()), {KEY: BOOKED}, NOW, Decimal(1))
    only_lost = reconcile(Invoice({}, set()), {KEY: Booked(unknown=LOST)}, NOW, Decimal(1))

    assert (found.settlements, only_lost.settlements) == ({}, {})
    assert (found.agrees, only_lost.agrees) == (False, False)


def test_a_day_that_the_invoice_names_without_the_model_billed_nothing_for_it():
    """What was lost there was never drawn."""
    found = reconcile(Invoice({}, {DAY}), {KEY: Booked(unknown=LOST)}, NOW, Decimal(1))

    assert found.settlements == dict.fromkeys(LOST, 0)
    assert found.agrees


@pytest.mark.parametrize("billed", [10_120, 10_000, 0])
def test_a_day_with_something_that_nobody_knows_settles_nothing(billed):
    """It may be what the lost attempts came to, under a new name."""
    line, found = only(billed, unclear_days={DAY})
    elsewhere, _ = only(10_120, unclear_days={date(2026, 11, 21)})

    assert (line.settled, found.settlements) == (None, {})
    assert elsewhere.settled


@pytest.mark.parametrize(
    ("now", "open_attempts"),
    [(datetime(2026, 11, 22, 12, tzinfo=UTC), 0), (datetime(2026, 11, 23, 23, 59, tzinfo=UTC), 0), (NOW, 1)],
)
def test_a_day_in_progress_is_neither_judged_nor_settled(now, open_attempts):
    """Until a day after its end, and while a call of it is open."""
    line, found = only(0, replace(BOOKED, open_attempts=open_attempts), now)

    assert (line.verdict, line.settled) == (Verdict.NOT_YET, None)
    assert (found.invoice_nanos, found.ledger_nanos, found.agrees) == (0, 0, True)


def test_a_day_is_over_a_day_after_its_end():
    """To the second, in UTC."""
    assert not is_over(DAY, datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC))
    assert is_over(DAY, datetime(2026, 11, 24, tzinfo=UTC))


@pytest.mark.parametrize(
    ("billed", "tolerance", "verdict"),
    [
        pytest.param(10_101, "1", Verdict.AGREES, id="within"),
        pytest.param(10_102, "1", Verdict.OFF, id="above"),
        pytest.param(9_901, "1", Verdict.AGREES, id="within, below"),
        pytest.param(9_900, "1", Verdict.OFF, id="below"),
        pytest.param(10_001, "0", Verdict.OFF, id="exact"),
        pytest.param(0, "1", Verdict.OFF, id="nothing billed"),
        pytest.param(20_000, "50", Verdict.AGREES, id="half"),
    ],
)
def test_a_line_is_off_above_the_tolerance_of_what_is_billed(billed, tolerance, verdict):
    """In percent of the invoice."""
    assert only(billed, Booked(reported_nanos=10_000), tolerance=tolerance)[0].verdict is verdict


def test_days_that_are_off_do_not_make_up_for_each_other():
    """The sum agrees, the days do not: exit 1."""
    other = (date(2026, 11, 21), MODEL)
    invoice = Invoice({KEY: 900, other: 1_100}, {DAY, other[0]})
    booked = Booked(reported_nanos=1_000)

    found = reconcile(invoice, {KEY: booked, other: booked}, NOW, Decimal(1))

    assert (found.invoice_nanos, found.ledger_nanos, found.agrees) == (2_000, 2_000, False)


def test_what_is_billed_and_not_in_the_ledger_is_off():
    """Somebody else uses the key, or an attempt is missing."""
    found = reconcile(Invoice({KEY: 5}, {DAY}), {}, NOW, Decimal(1))

    assert [(line.ledger_nanos, line.verdict) for line in found.lines] == [(0, Verdict.OFF)]


def test_a_second_time_finds_nothing_to_settle_and_the_same_difference():
    """What was settled is known from then on."""
    line, _ = only(10_121)
    settled = Booked(reported_nanos=10_000, reconciled_nanos=sum((line.settled or {}).values()))

    again, found = only(10_121, settled)

    assert (again.settled, again.difference_nanos, found.agrees) == (None, line.difference_nanos, True)


@given(st.integers(0, 10**12), st.dictionaries(st.text(max_size=4), st.integers(0, 10**9), min_size=1, max_size=50))
def test_shares_are_exact_and_nobodys_is_above_its_estimate(nanos, estimates):
    """To the nano-dollar, whatever the amounts; and always the same."""
    found = shares(nanos, estimates)

    assert sum(found.values()) == min(nanos, sum(estimates.values()))
    assert all(0 <= found[name] <= estimates[name] for name in estimates)
    assert found == shares(nanos, dict(reversed(estimates.items())))
