"""Budgets as they are read: for whom, how much, how far each sum has come."""

from dataclasses import dataclass, replace
from datetime import datetime

from pictord.console.templates import dollars, shortened, span
from pictord.domain.budget import EACH, Budget, Counted, Unit
from pictord.domain.caller import Caller
from pictord.jobs.budgets import Standing, percent


@dataclass(frozen=True, slots=True)
class BudgetBar:
    """One sum under a budget; `used` and `held` are percents of the amount, together at most 100."""

    key: str
    text: str
    percent: float
    used: float
    held: float
    tone: str


@dataclass(frozen=True, slots=True)
class BudgetCard:
    """A budget as it stands."""

    id: str
    whose: str
    amount: str
    per: str
    kind: str
    ends: str
    is_removable: bool
    thresholds: tuple[int, ...]
    bars: tuple[BudgetBar, ...]


def visible(budget: Budget, caller: Caller) -> Budget | None:
    """A budget as far as a visitor may see it: an operator all of it, a caller its own part of those for callers."""
    if caller.is_operator:
        return budget
    if budget.counted is Counted.CALLER and budget.key in {EACH, caller.name}:
        return replace(budget, key=caller.name)
    return None


def card(standing: Standing, now: datetime) -> BudgetCard:
    """A budget in words, with a bar for each sum."""
    budget = standing.budget
    return BudgetCard(
        id=budget.id,
        whose=whose(budget),
        amount=amount_of(budget, budget.amount),
        per=budget.window.value,
        kind=("hard" if budget.is_hard else "soft") + (", from the configuration" if standing.is_default else ""),
        ends=f"begins anew in {span((standing.window.end - now).total_seconds())}",
        is_removable=not standing.is_default,
        thresholds=tuple(each for each in budget.thresholds if each < 100),
        bars=tuple(_bar(budget, each.key, each.amount, each.held) for each in standing.sums),
    )


_WORDS = {
    Counted.CALLER: ("caller", "each caller"),
    Counted.TIER: ("tier", "each tier"),
    Counted.END_USER: ("end user", "each end user"),
    Counted.PROVIDER: ("provider", "each provider account"),
    Counted.GLOBAL: ("everybody", "everybody"),
}


def whose(budget: Budget) -> str:
    """For whom it counts, in words."""
    one, each = _WORDS[budget.counted]
    whose_it_is = each if budget.key == EACH else f"{one} {shortened(budget.key, 24)}".strip()
    return whose_it_is + (f", tier {budget.tier.value}" if budget.tier else "")


def _bar(budget: Budget, key: str, amount: int, held: int) -> BudgetBar:
    share = percent(budget, amount)
    full = min(share, 100.0)
    held_share = min(percent(budget, held), full) if held else 0.0
    used = f"{amount_of(budget, amount - held)} used"
    return BudgetBar(
        key=shortened(key, 24) if budget.key == EACH else "",
        text=f"{used}, {amount_of(budget, held)} held" if held else used,
        percent=share,
        used=full - held_share,
        held=held_share,
        tone="bad" if share >= 100 else "warn" if share >= 80 else "good",
    )


def amount_of(budget: Budget, amount: int) -> str:
    """So much, in the budget's unit."""
    if budget.unit is Unit.USD:
        return dollars(amount)
    return f"{amount} picture" if amount == 1 else f"{amount} pictures"
