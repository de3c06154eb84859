"""Budgets in force: what was spent before one was set counts under it, even if that cannot be counted at once."""

from datetime import datetime

import pytest

import samples
from pictord.domain.budget import Budget, Counted, Unit, Window
from pictord.domain.reason import Reason
from pictord.errors import GatewayError
from pictord.jobs.budgets import Budgets
from pictord.store.memory_ledger import MemoryLedger

TEN_CENTS = Budget("ten", Counted.GLOBAL, "", Unit.USD, Window.DAY, 100_000_000)
ONE_CENT = Budget("one", Counted.CALLER, "studio", Unit.USD, Window.DAY, 10_000_000)


class Flaky(MemoryLedger):
    """Books that cannot be counted as long as they are away."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.recounted: list[str] = []

    async def recount(self, budget: Budget, moment: datetime) -> None:
        if self.is_away:
            raise GatewayError(Reason.STORE_UNAVAILABLE, "away")
        await super().recount(budget, moment)
        self.recounted.append(budget.id)


async def test_a_budget_that_could_not_be_counted_is_counted_with_the_next_look():
    """Else a hard budget would let through again whatever was spent before it was set."""
    books = Flaky()
    budgets = Budgets(books, lambda: samples.NOON)
    await books.set_budget(ONE_CENT)  # by another replica
    books.is_away = True
    with pytest.raises(GatewayError):
        await budgets.set(TEN_CENTS)
    assert budgets.in_force == (ONE_CENT, TEN_CENTS), "new requests count under them already"

    books.is_away = False
    await budgets.refresh()
    await budgets.refresh()

    assert books.recounted == ["one", "ten"]
