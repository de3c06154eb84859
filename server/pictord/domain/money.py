"""Money in integer nano-USD, and how sure we are of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

NANOS_PER_USD = 1_000_000_000
MOST_NANOS = 2**63 - 1
"""What a ledger can hold."""


class CostBasis(StrEnum):
    """Where a cost comes from, from the strongest to the weakest."""

    REPORTED = "reported"
    """Priced from the usage that the provider reported."""
    RECONCILED = "reconciled"
    """Was unknown, and is settled or written off by the provider's own cost export."""
    ESTIMATED = "estimated"
    """Our worst-case price; nothing is known of the real one yet, or never will be."""
    UNKNOWN = "unknown"
    """Sent, and the provider's answer was lost: the hold stays at the estimate."""


_STRENGTH = (CostBasis.REPORTED, CostBasis.RECONCILED, CostBasis.ESTIMATED, CostBasis.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Cost:
    """An amount in nano-USD with its basis."""

    nanos: int = 0
    basis: CostBasis = CostBasis.REPORTED


def total(costs: Iterable[Cost]) -> Cost:
    """Sum costs; the basis is the weakest of them (nothing spent is REPORTED zero)."""
    nanos, weakest = 0, 0
    for cost in costs:
        nanos += cost.nanos
        weakest = max(weakest, _STRENGTH.index(cost.basis))
    return Cost(nanos, _STRENGTH[weakest])


def parse_usd(text: str) -> int:
    """Read decimal USD ("0.25") as nano-USD.

    Raises:
        ValueError: not a finite decimal, finer than a nano-dollar, or more than any ledger holds.
    """
    try:
        scaled = Decimal(text) * NANOS_PER_USD
    except ArithmeticError:
        raise ValueError(f"not an amount in USD: {text!r}") from None
    if not scaled.is_finite() or abs(scaled) > MOST_NANOS or scaled != scaled.to_integral_value():
        raise ValueError(f"not an amount in USD: {text!r}")
    return int(scaled)


def format_usd(nanos: int, places: int = 4, *, rounding: str = ROUND_HALF_UP) -> str:
    """Write nano-USD for people, e.g. `$0.0672`.

    What must be afforded is rounded up (`ROUND_CEILING`) and what there is down (`ROUND_FLOOR`): whoever takes the
    text at its word has enough.
    """
    quantum = Decimal(1).scaleb(-places)
    amount = (Decimal(nanos) / NANOS_PER_USD).quantize(quantum, rounding=rounding)
    return f"-${-amount:f}" if amount < 0 else f"${amount:f}"


MOST_TOKENS = 10_000_000
"""Of one call: a hundred times what any takes. More is no report, and its price may be more than a ledger can hold."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens by kind, as the provider reported them or as we estimate them.

    `text_out_tokens` holds thinking and other text output.
    """

    text_in_tokens: int = 0
    image_in_tokens: int = 0
    text_out_tokens: int = 0
    image_out_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """All tokens together."""
        return self.text_in_tokens + self.image_in_tokens + self.text_out_tokens + self.image_out_tokens
