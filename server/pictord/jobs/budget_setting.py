"""Setting and removing budgets, at an operator's word: by the RPCs and in the console, under the same rules."""

import logging
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pictord.domain.budget import DAILY_CAP, EACH, Budget, Counted, Unit, Window
from pictord.domain.reason import Reason
from pictord.domain.request import Tier
from pictord.errors import FieldViolation, GatewayError
from pictord.jobs.budgets import Budgets

logger = logging.getLogger(__name__)

MAX_KEY_CHARS = 200
MAX_THRESHOLDS = 10
DEFAULT_THRESHOLDS = (50, 80, 100)

_ID = re.compile(r"[a-z0-9._-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A budget as it was asked for; None is what was not said, or could not be read."""

    id: str
    counted: Counted | None
    key: str
    unit: Unit | None
    amount: int | None
    window: Window | None
    is_hard: bool = True
    thresholds: tuple[int, ...] = ()
    tier: Tier | None = None

    def budget(self) -> Budget:
        """The budget; only of what `violations` finds nothing in."""
        assert self.counted and self.unit and self.window and self.amount  # noqa: S101, PT018 - looked at before
        return Budget(
            id=self.id,
            counted=self.counted,
            key=self.key,
            unit=self.unit,
            window=self.window,
            amount=self.amount,
            is_hard=self.is_hard,
            thresholds=tuple(sorted(set(self.thresholds))) or DEFAULT_THRESHOLDS,
            tier=self.tier,
        )


def violations(wanted: Wanted, providers: Collection[str]) -> Iterator[FieldViolation]:
    """Everything that is wrong, by field as in the contract; `providers` are those that the catalog knows."""
    if not _ID.fullmatch(wanted.id):
        yield FieldViolation("id", "needs 1 to 64 lower-case letters, digits, `.`, `_` and `-`")
    if wanted.counted is None:
        yield FieldViolation("counted", "say whose requests count")
    elif (wrong := _wrong_key(wanted.counted, wanted.key, providers)) is not None:
        yield FieldViolation("key", wrong)
    if wanted.window is None:
        yield FieldViolation("window", "say whether it counts by day or by month")
    if wanted.tier is not None and wanted.counted is Counted.TIER:
        yield FieldViolation("tier", "leave it unset: the key names the tier that is counted")
    if wanted.unit is None:
        yield FieldViolation("amount", "say what may be spent: `usd` or `pictures`")
    elif wanted.amount is not None and wanted.amount <= 0:
        is_money = wanted.unit is Unit.USD
        text = "is nothing; give more than that" if is_money else f"{wanted.amount}; give more than 0"
        yield FieldViolation(wanted.unit.value, text)
    for index, percent in enumerate(wanted.thresholds):
        if not 1 <= percent <= 100:
            yield FieldViolation(f"thresholds[{index}]", f"{percent} is not a percent from 1 to 100")
    if len(wanted.thresholds) > MAX_THRESHOLDS:
        yield FieldViolation("thresholds", f"at most {MAX_THRESHOLDS}")


def _wrong_key(counted: Counted, key: str, providers: Collection[str]) -> str | None:
    """What is wrong with a key; None if nothing is."""
    if counted is Counted.GLOBAL:
        return None if not key else "leave it empty: everybody's requests count"
    if not key:
        return f"is empty; name one {counted.value}, or `{EACH}` for each"
    if key == EACH:
        return None
    if counted is Counted.TIER and key not in {tier.value for tier in Tier}:
        return f"{key!r} is no tier; there are {', '.join(tier.value for tier in Tier)}"
    if counted is Counted.PROVIDER and key not in providers:
        return f"{key!r} is no provider; there are {', '.join(sorted(providers))}"
    if counted is Counted.END_USER and not _HASH.fullmatch(key):
        return f"give the end user's hash (64 hexadecimal digits) as GetUsage shows it, or `{EACH}` for each"
    if len(key) > MAX_KEY_CHARS or not key.isprintable():
        return f"needs at most {MAX_KEY_CHARS} printable characters"
    return None


async def put(budgets: Budgets, budget: Budget, *, by: str) -> None:
    """Set a budget, or replace the one of its id."""
    await budgets.set(budget)
    logger.warning("budget %s set by %s: %s", budget.id, by, budget)


async def remove(budgets: Budgets, budget_id: str, *, by: str) -> None:
    """Remove a budget; if it stood in for the daily cap of the configuration, that one is in force again.

    Raises:
        GatewayError: NOT_FOUND: nobody set it.
    """
    if not await budgets.delete(budget_id):
        text = f"nobody set a budget {budget_id!r}; ListBudgets names them"
        if budget_id == DAILY_CAP:
            text = "the daily cap is the configuration's (PICTOR_DAILY_CAP_USD); set a budget of its id instead"
        raise GatewayError(Reason.NOT_FOUND, text, {"budget": budget_id})
    logger.warning("budget %s deleted by %s", budget_id, by)
