"""The budgets in force, and what they mean for one generation.

They are kept in memory, so that no request waits for them. Another replica's change is seen within some seconds; what
was opened before that is counted and held then.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pictord.domain import budget as budgeting
from pictord.domain.budget import DAILY_CAP, Budget, Charge, Counted, Span, Subject, Unit, Window, charges
from pictord.domain.generation import Generation
from pictord.domain.reason import Reason
from pictord.errors import GatewayError
from pictord.store.base import SpendLimit
from pictord.store.books import Books
from pictord.store.books import Counted as Sum

logger = logging.getLogger(__name__)

_FRESH_S = 5.0
_ARRIVED = timedelta(seconds=_FRESH_S)
"""After so long everything that was opened under other budgets is in the books, or never comes there."""


def daily_cap(nanos: int) -> Budget:
    """The budget of the configuration: what all may spend in one UTC day."""
    return Budget(DAILY_CAP, Counted.GLOBAL, "", Unit.USD, Window.DAY, nanos)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands: what is counted under it in its window, the most first; `is_default` is the daily cap's."""

    budget: Budget
    window: Span
    sums: Sequence[Sum]
    is_default: bool


def percent(budget: Budget, amount: int) -> float:
    """How much of a budget an amount is; of a budget of nothing everything is all of it."""
    return 100 * amount / budget.amount if budget.amount else 100.0


class Budgets:
    """The budgets that operators set, and the daily cap until one of them stands in for it.

    Args:
        books: where they are remembered.
        now: UTC.
        default: the daily cap; None for simulated providers.
        on_counted: told of each budget that has come into force, once what was spent before it is counted.
    """

    def __init__(
        self,
        books: Books,
        now: Callable[[], datetime],
        default: Budget | None = None,
        *,
        on_counted: Callable[[Budget], None] = lambda _: None,
    ) -> None:
        self.books = books
        self.default = default
        self._now = now
        self._on_counted = on_counted
        self._in_force: tuple[Budget, ...] = (default,) if default else ()
        self._uncounted: set[Budget] = set()
        self._just_counted: dict[Budget, datetime] = {}
        self._changing = asyncio.Lock()

    @property
    def in_force(self) -> tuple[Budget, ...]:
        """All that bound spending now, by id."""
        return self._in_force

    async def load(self) -> None:
        """Take up what was in force when the process before this one ended; its sums are still true."""
        self._in_force = self._with_default(await self.books.budgets())

    async def refresh(self) -> None:
        """Take up what was changed elsewhere, and count once more what has just come into force.

        When it was counted first, something opened under the budgets of before may have been on its way to the books.
        """
        async with self._changing:
            await self._put_in_force(await self.books.budgets())
            for budget, since in list(self._just_counted.items()):
                if self._now() - since >= _ARRIVED:
                    if budget in self._in_force:
                        await self.books.recount(budget, self._now())
                    del self._just_counted[budget]

    async def keep_fresh(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Take up what other replicas change, and what could not be counted before, every few seconds, for ever."""
        while True:
            await sleep(_FRESH_S)
            try:
                await self.refresh()
            except GatewayError as error:
                logger.warning("budgets: those known before stay in force: %s", error)

    async def set(self, budget: Budget) -> None:
        """Set a budget, or replace the one of its id, and count it anew, even if it was the same before."""
        async with self._changing:
            await self.books.set_budget(budget)
            self._uncounted.add(budget)
            await self._put_in_force(await self.books.budgets())

    async def delete(self, budget_id: str) -> bool:
        """Remove a budget; False if nobody set it."""
        async with self._changing:
            is_gone = await self.books.delete_budget(budget_id)
            await self._put_in_force(await self.books.budgets())
            return is_gone

    async def _put_in_force(self, wanted: Iterable[Budget]) -> None:
        """New attempts count first, then what came before them is counted.

        What cannot be counted now is counted with the next look.
        """
        known = set(self._in_force) - self._uncounted
        self._in_force = self._with_default(wanted)
        self._uncounted = set(self._in_force) - known
        for budget in self._in_force:
            if budget in self._uncounted:
                await self.books.recount(budget, self._now())
                self._uncounted.discard(budget)
                self._just_counted[budget] = self._now()
                self._on_counted(budget)

    async def standing(self, budget: Budget, most: int) -> Standing:
        """How a budget stands, for at most so many keys."""
        now = self._now()
        sums = await self.books.counted(budget, now, most)
        return Standing(budget, budgeting.span(budget.window, now), sums, is_default=budget == self.default)

    def _with_default(self, budgets: Iterable[Budget]) -> tuple[Budget, ...]:
        found = {budget.id: budget for budget in budgets}
        if self.default is not None:
            found.setdefault(DAILY_CAP, self.default)
        return tuple(found[name] for name in sorted(found))

    def limits(self, generation: Generation, end_user: str | None, moment: datetime) -> Sequence[SpendLimit]:
        """What an attempt of a generation counts under that is opened at this moment; `end_user` is the keyed hash."""
        providers = tuple(dict.fromkeys(candidate.provider for candidate in generation.plan.candidates))
        subject = Subject(generation.caller, generation.request.tier, end_user, providers)
        return [_limit(charge) for charge in charges(self._in_force, subject, moment)]


def _limit(charge: Charge) -> SpendLimit:
    budget = charge.budget
    return SpendLimit(
        charge.scope,
        budget.amount if budget else None,
        Reason.DAILY_CAP if budget and budget.id == DAILY_CAP else Reason.BUDGET_EXHAUSTED,
        unit=charge.unit,
        provider=charge.provider,
        budget=budget.id if budget else "",
    )
