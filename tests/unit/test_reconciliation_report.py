"""A reconciliation as people read it."""

from datetime import UTC, date, datetime
from decimal import Decimal

from pictord.domain.reconciliation import Booked, Invoice, reconcile
from pictord.invoice.report import as_text

DAYS = [date(2026, 11, day) for day in (22, 23, 27)]
USD = 10**9
LEDGER = {
    (DAYS[0], "gpt-image-2"): Booked(12 * USD, unknown={"att_1": USD // 5, "att_2": USD // 5}),
    (DAYS[1], "gpt-image-2"): Booked(10 * USD, unknown={"att_3": USD // 5}),
    (DAYS[2], "gpt-image-2"): Booked(USD, unknown={"att_4": USD // 5}),
}
INVOICE = Invoice(
    {(day, "gpt-image-2"): nanos for day, nanos in zip(DAYS, (12_340_000_000, 9 * USD, 5), strict=True)},
    set(DAYS),
    {"gpt-5.6, input": 3 * USD} | {f"Cloud {number}": number for number in range(10)},
)

TABLE = """\
day         model           known  unknown  settled at   invoice  difference    off by
2026-11-22  gpt-image-2  $12.0000  $0.4000     $0.3400  $12.3400     $0.0000    0.00 %   agrees
2026-11-23  gpt-image-2  $10.0000  $0.2000           -   $9.0000    -$1.2000  -13.33 %      off
2026-11-27  gpt-image-2   $1.0000  $0.2000           -   $0.0000           -         -  not yet
            total        $22.0000  $0.6000     $0.3400  $21.3400    -$1.2000   -5.62 %      off"""


def test_the_table_says_what_is_known_what_was_lost_and_what_differs():
    """The total is of what is judged; what is left out is named as far as it matters, and nothing is claimed."""
    found = reconcile(INVOICE, LEDGER, datetime(2026, 11, 28, tzinfo=UTC), Decimal(1))
    table, _, after = as_text(found, INVOICE, applied=False).partition("\nleft out, ")

    assert table == TABLE
    assert after.splitlines()[0] == "no model of this provider: gpt-5.6, input, $3.0000"
    assert "left out too: 6 others, $0.0000" in after
    assert after.splitlines()[-3:] == [
        "2 unknown attempts would be settled at $0.3400, $0.0600 written off",
        "2 unknown attempts are left as they are",
        "nothing was written; --apply does it",
    ]
