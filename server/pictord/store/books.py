"""The seam between money and those who watch over it: budgets, what is counted under them, usage, alerts.

`memory_ledger` and `sql_books` keep the same promises; the holds behind the sums are the store's (`base.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pictord.domain.alert import Alert
from pictord.domain.budget import Budget
from pictord.domain.usage import UsageQuery, UsageRow


@dataclass(frozen=True, slots=True)
class Counted:
    """What is settled and held for one key of a budget, in the budget's unit; `held` is part of the amount."""

    key: str
    amount: int
    held: int


class Books(Protocol):
    """Remembers budgets and alerts, and sums what was spent."""

    async def budgets(self) -> Sequence[Budget]:
        """All that were set, by id."""
        ...

    async def set_budget(self, budget: Budget) -> None:
        """Set a budget, or replace the one of its id."""
        ...

    async def recount(self, budget: Budget, moment: datetime) -> None:
        """Count anew what was spent in the window of a moment, for a budget that has not been in force throughout.

        An attempt that is under way and not held under the budget is held from here on, at what it may cost at worst.
        """
        ...

    async def delete_budget(self, budget_id: str) -> bool:
        """Remove a budget; False if there is none."""
        ...

    async def counted(self, budget: Budget, moment: datetime, limit: int) -> Sequence[Counted]:
        """What is settled and held in the window of a moment, the most first; one entry unless it is for each."""
        ...

    async def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        """The groups, the most expensive first, then by their keys."""
        ...

    async def add_alert(self, alert: Alert) -> bool:
        """Remember an alert; False if there was one on this occasion before, and nothing changes."""
        ...

    async def delivered(self, alert_id: str) -> None:
        """Remember that an alert's message was taken."""
        ...

    async def give_up(self, alert_id: str) -> bool:
        """Remember that an alert's message was not taken; False, and nothing changes, if it is not pending any more."""
        ...

    async def alerts(self, *, since: datetime | None, before: str | None, limit: int) -> Sequence[Alert]:
        """Newest first; `before` is the last page's final id."""
        ...
