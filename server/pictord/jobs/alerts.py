"""Alerts: what a person should look at, kept and told once on each occasion.

No job waits for any of this. What happens is noted; one task looks at it soon after, others tell the webhook.
A budget raises each threshold once in a window, and anew if its amount is changed; one that is set when its window has
reached a threshold already raises it then. A budget of each caller, tier or provider does so for each of them; one of
each end user for the first that gets there: a free tier's users get there by the thousand. Whatever else is alarming is
raised once in an hour for each provider, or for each of its models if it is about one. What processes left that died is
looked at when it has been resolved: no generation ends then that would tell of it.

An alert is told by the process that raised it. What is still pending when that must have ended, one way or the other,
is told by another: alone on a database at the next start, else by whichever replica's sweep gives it up first.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from pictord.domain.alert import BUDGET, Alert, Delivery
from pictord.domain.budget import EACH, Budget, Counted, Subject, Unit, Window, crossed, key_of, keys, scope, span
from pictord.domain.generation import Attempt, Generation
from pictord.domain.money import CostBasis, format_usd
from pictord.domain.outcome import Outcome
from pictord.domain.usage import Group, UsageQuery
from pictord.errors import GatewayError
from pictord.jobs.budgets import Budgets
from pictord.jobs.webhook import Webhook
from pictord.store.base import HoldRefused, Store

logger = logging.getLogger(__name__)

PRICE_MISSING = "price_missing"
VERSION_CHANGED = "version_changed"
UNKNOWN_COST = "unknown_cost"

UNKNOWN_SHARE_PERCENT = 1
_PAUSE_S = 1.0
"""Between two looks: under load one look serves many generations."""
_LOOK_AGAIN_S = 10.0
"""After a look that failed."""
_WAITING = 1000
_KEYS = 1000
"""Of a budget for each that are looked at when it is set, those with the most first."""
_AT_ONCE = 16
"""Alerts that are told at the same time: one that nobody takes is tried for minutes."""
_TOLD_AGAIN = timedelta(days=1)
_CLOCKS = timedelta(minutes=1)
"""By which those of two machines may differ."""
_LOOKED_BACK = timedelta(days=31)
"""For the versions that were served, and for days of which too much is unknown and nobody was told."""


@dataclass(frozen=True, slots=True)
class AlertPorts:
    """What alerts stand on."""

    store: Store
    budgets: Budgets
    announce: Callable[[str, str, str | None], None]
    """Says a kind and a text, of a provider or not, in the log and the metrics."""
    end_user: Callable[[str, str], str]
    """The keyed hash of a caller's end user."""
    is_priced: Callable[[str, date], bool]
    """Whether a model has a price in force on a day."""
    now: Callable[[], datetime]
    new_id: Callable[[str], str]
    sleep: Callable[[float], Awaitable[None]]
    webhook: Webhook | None = None
    is_alone: bool = True
    """Whether no other process works on the same store."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """A budget under which something was counted, for whom and when."""

    budget: Budget
    key: str
    moment: datetime


@dataclass(frozen=True, slots=True)
class _Noted:
    """An alert that is to be raised; whether it is in the log already, else of which provider it is to be said."""

    alert: Alert
    provider: str | None = None
    is_announced: bool = False


class Alerts:
    """Notes what happens, raises alerts, keeps them and has them told."""

    def __init__(self, ports: AlertPorts) -> None:
        self._ports = ports
        self._books = ports.store.books
        self._set: dict[str, Budget] = {}
        self._counted: dict[tuple[str, str], _Counted] = {}
        self._noted: dict[str, _Noted] = {}
        self._lost: set[date] = set()
        self._raised: set[str] = set()
        self._versions: dict[str, str] = {}
        self._spent: dict[str, tuple[str, int]] = {}
        self._something = asyncio.Event()
        self._looking = asyncio.Lock()
        self._untold: asyncio.Queue[Alert] = asyncio.Queue(_WAITING)
        self._in_hand: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take up what is known, and begin to look and to tell; alone, with what the last process did not tell."""
        now = self._ports.now()
        month = UsageQuery(now - _LOOKED_BACK, now, (Group.DAY, Group.MODEL, Group.VERSION))
        for _, model, version in sorted(row.keys for row in await self._books.usage(month)):
            if version:
                self._versions[model] = version
        for budget in self._ports.budgets.in_force:
            if budget.key != EACH:
                await self._spent_under(_Counted(budget, budget.key, now))
        self.look_at_all()
        self._tasks = [asyncio.create_task(self._keep_looking())]
        webhook = self._ports.webhook
        if webhook is not None:
            if self._ports.is_alone:
                for alert in await self._pending():
                    self._tell(alert)
            self._tasks += [asyncio.create_task(self._keep_telling(webhook)) for _ in range(_AT_ONCE)]

    async def close(self) -> None:
        """Look once more, and stop; what was not told yet is told after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._look_or_complain()

    # What happens; nothing here waits

    def alarmed(self, kind: str, provider: str, text: str, model: str | None = None) -> None:
        """Somebody raised an alarm, and has said so already."""
        what = f"{kind}/{provider}/{model}" if model else f"{kind}/{provider}"
        alert = self._alert(f"{what}/{self._ports.now():%Y-%m-%dT%H}", kind, provider, text)
        self._note(_Noted(alert, provider, is_announced=True))

    def refused(self, refusal: HoldRefused) -> None:
        """A budget left no room: it is exhausted, though its sum may stay below the amount for good."""
        budget = next((each for each in self._ports.budgets.in_force if each.id == refusal.limit.budget), None)
        if budget is not None and 100 in budget.thresholds:
            left, amount = _amount(budget, refusal.available), _amount(budget, budget.amount)
            key = key_of(refusal.limit.scope)
            who = _who(budget, key)
            text = f"budget {budget.id!r} is exhausted{who}: a request found no room, {left} of {amount} is left"
            occasion = _occasion(budget, key, self._ports.now(), 100)
            self._note(_Noted(self._alert(occasion, BUDGET, budget.id, text)))

    def budget_set(self, budget: Budget) -> None:
        """A budget has come into force, and what was spent in its window before is counted."""
        self._set[budget.id] = budget
        self._something.set()

    def look_at_all(self) -> None:
        """What processes that died had sent is charged by now: any budget may be full, any day's share too large."""
        self._set.update({budget.id: budget for budget in self._ports.budgets.in_force})
        self._lost.add((self._ports.now() - _LOOKED_BACK).date())
        self._something.set()

    def finished(self, generation: Generation) -> None:
        """A generation has ended."""
        end_user = generation.request.end_user
        hashed = self._ports.end_user(generation.caller, end_user) if end_user else None
        for attempt in generation.attempts:
            subject = Subject(generation.caller, generation.request.tier, hashed, (attempt.provider,))
            moment = attempt.create_time or generation.create_time
            for budget in self._ports.budgets.in_force:
                for key in keys(budget, subject):
                    self._counted[budget.id, scope(budget, key, moment)] = _Counted(budget, key, moment)
            self._examine(attempt)
        self._something.set()

    def _examine(self, attempt: Attempt) -> None:
        today = self._ports.now().date()
        if attempt.cost.basis is CostBasis.UNKNOWN:
            self._lost.add((attempt.create_time or self._ports.now()).date())
        if attempt.outcome is not Outcome.IMAGE:
            return
        priced = self._ports.is_priced(attempt.model, today)
        if not priced or attempt.usage is None:
            why = "reported no usage, its estimate counts" if priced else "has no price for today, its first one counts"
            text = f"{attempt.model} {why}"
            occasion = f"{PRICE_MISSING}/{attempt.model}/{today}"
            self._note(_Noted(self._alert(occasion, PRICE_MISSING, attempt.provider, text), attempt.provider))
        known = self._versions.get(attempt.model)
        if not attempt.served_version or known == attempt.served_version:
            return
        self._versions[attempt.model] = attempt.served_version
        if known is not None:
            text = f"{attempt.provider} serves {attempt.model} as {attempt.served_version}, until now it was {known}"
            occasion = f"{VERSION_CHANGED}/{attempt.model}/{attempt.served_version}/{today}"
            self._note(_Noted(self._alert(occasion, VERSION_CHANGED, attempt.provider, text), attempt.provider))

    def _note(self, noted: _Noted) -> None:
        occasion = noted.alert.occasion
        if occasion in self._raised or occasion in self._noted:
            return
        if len(self._noted) >= _WAITING:
            logger.error("alerts: more than %d are waiting, dropped: %s", _WAITING, noted.alert.text)
            return
        self._noted[occasion] = noted
        self._something.set()

    def _alert(self, occasion: str, kind: str, subject: str, text: str) -> Alert:
        delivery = Delivery.PENDING if self._ports.webhook else Delivery.NONE
        return Alert(self._ports.new_id("alt"), occasion, kind, subject, text, self._ports.now(), delivery)

    # Looking

    def used(self) -> dict[str, float]:
        """The share of each budget that was spent in its window when it was last looked at, by its id.

        A budget for each (`*`) has none: it may be as many as there are end users.
        """
        now, shares = self._ports.now(), {}
        for budget in self._ports.budgets.in_force:
            if budget.key != EACH and budget.amount:
                name, amount = self._spent.get(budget.id, ("", 0))
                shares[budget.id] = amount / budget.amount if name == scope(budget, budget.key, now) else 0.0
        return shares

    async def _keep_looking(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            if await self._look_or_complain():
                await self._ports.sleep(_PAUSE_S)
            else:
                self._something.set()
                await self._ports.sleep(_LOOK_AGAIN_S)

    async def _look_or_complain(self) -> bool:
        """Look; whether what was noted could be looked at."""
        try:
            await self.look()
        except GatewayError as error:
            logger.warning("alerts: %s; looked at again in %.0f s", error, _LOOK_AGAIN_S)
            return False
        except Exception:
            # The last frame of its task: whatever went wrong with one alert, the next ones are to be raised.
            logger.exception("alerts: a look failed; looked at again with the next generation")
        return True

    async def look(self) -> None:
        """Raise what has been noted, and what follows from the sums of today.

        Raises:
            GatewayError: STORE_UNAVAILABLE; what was not raised stays noted.
        """
        async with self._looking:
            noted, new, counted, lost = self._noted, self._set, self._counted, self._lost
            self._noted, self._set, self._counted, self._lost = {}, {}, {}, set()
            try:
                for each in noted.values():
                    await self._raise(each)
                for budget in new.values():
                    await self._look_at_new(budget)
                for one in counted.values():
                    await self._look_at_budget(one)
                if lost:
                    await self._look_at_unknown(min(lost))
            except (GatewayError, asyncio.CancelledError):  # the latter as the process ends
                self._noted, self._set = noted | self._noted, new | self._set
                self._counted, self._lost = counted | self._counted, lost | self._lost
                raise

    async def _look_at_new(self, budget: Budget) -> None:
        """Look at a budget that has just been set; of one for each end user at who has spent the most."""
        now = self._ports.now()
        for one in await self._books.counted(budget, now, 1 if _is_for_end_users(budget) else _KEYS):
            await self._look_at_budget(_Counted(budget, one.key, now))

    async def _look_at_budget(self, counted: _Counted) -> None:
        budget = counted.budget
        amount = await self._spent_under(counted)
        for percent in crossed(budget, 0, amount):
            occasion = _occasion(budget, counted.key, counted.moment, percent)
            if occasion not in self._raised:
                who = _who(budget, counted.key)
                spent, whole = _amount(budget, amount), _amount(budget, budget.amount)
                window = span(budget.window, counted.moment).name
                text = f"budget {budget.id!r} has reached {percent} % in {window}{who}: {spent} of {whole}"
                await self._raise(_Noted(self._alert(occasion, BUDGET, budget.id, text)))

    async def _spent_under(self, counted: _Counted) -> int:
        """What was spent under a budget; kept for `used`, if it is one that has a share."""
        budget = counted.budget
        name = scope(budget, counted.key, counted.moment)
        amount = await self._ports.store.spent(name)
        if budget.key != EACH:
            self._spent[budget.id] = (name, amount)
        return amount

    async def _look_at_unknown(self, since: date) -> None:
        """Look at what is unknown of each day from one on, at each provider."""
        start, until = datetime.combine(since, time(), UTC), span(Window.DAY, self._ports.now()).end
        for row in await self._books.usage(UsageQuery(start, until, (Group.DAY, Group.PROVIDER))):
            (day, provider), unknown, all_of_it = row.keys, row.sums.unknown_nanos, row.sums.nanos
            occasion = f"{UNKNOWN_COST}/{provider}/{day}"
            if unknown * 100 > all_of_it * UNKNOWN_SHARE_PERCENT and occasion not in self._raised:
                share = f"{format_usd(unknown)} of {format_usd(all_of_it)}"
                text = f"what {share} at {provider} came to on {day} is unknown; `pictor usage --unknown` lists it"
                await self._raise(_Noted(self._alert(occasion, UNKNOWN_COST, provider, text), provider))

    async def _raise(self, noted: _Noted) -> None:
        """Keep an alert, say it and have it told, unless somebody did on this occasion."""
        alert = noted.alert
        if alert.occasion in self._raised:
            return
        is_new = await self._books.add_alert(alert)
        if len(self._raised) >= _WAITING:
            self._raised.clear()  # the books remember
        self._raised.add(alert.occasion)
        if is_new and not noted.is_announced:
            self._ports.announce(alert.kind, alert.text, noted.provider)
        if is_new and self._ports.webhook is not None:
            self._tell(alert)

    # Telling

    async def sweep(self) -> None:
        """Tell what nobody can be telling any more: its process has died, or had no room for it.

        Whoever gives it up first has it: it counts as failed until it is taken after all.

        Raises:
            GatewayError: STORE_UNAVAILABLE, STORE_FULL.
        """
        webhook = self._ports.webhook
        if webhook is None:
            return
        ended = self._ports.now() - timedelta(seconds=webhook.longest_s) - _CLOCKS
        for alert in await self._pending():
            is_left = alert.create_time < ended and alert.id not in self._in_hand
            if is_left and not self._untold.full() and await self._books.give_up(alert.id):
                self._tell(alert)

    async def _pending(self) -> list[Alert]:
        """What is not told yet, the oldest first."""
        recent = await self._books.alerts(since=self._ports.now() - _TOLD_AGAIN, before=None, limit=_WAITING)
        return [alert for alert in reversed(recent) if alert.delivery is Delivery.PENDING]

    def _tell(self, alert: Alert) -> None:
        try:
            self._untold.put_nowait(alert)
        except asyncio.QueueFull:
            logger.error("alert %s is told later: too many are waiting for the webhook", alert.id)  # noqa: TRY400 - no fault of ours
        else:
            self._in_hand.add(alert.id)

    async def _keep_telling(self, webhook: Webhook) -> None:
        while True:
            alert = await self._untold.get()
            try:
                was_taken = await webhook.tell(alert)
            except Exception as error:  # noqa: BLE001 - the last frame of its task, as above; the text may name the address
                logger.error("alert %s: the webhook could not be asked: %s", alert.id, type(error).__name__)  # noqa: TRY400
                was_taken = False
            with suppress(GatewayError):  # told again, at worst
                if was_taken:
                    await self._books.delivered(alert.id)
                else:
                    await self._books.give_up(alert.id)
            self._in_hand.discard(alert.id)


def _occasion(budget: Budget, key: str, moment: datetime, percent: int) -> str:
    # With the amount: a budget that was raised today alerts anew.
    whole = f"{BUDGET}/{budget.id}/{span(budget.window, moment).name}/{percent}/{budget.amount}"
    return f"{whole}/{key}" if budget.key == EACH and not _is_for_end_users(budget) else whole


def _is_for_end_users(budget: Budget) -> bool:
    return budget.key == EACH and budget.counted is Counted.END_USER


def _who(budget: Budget, key: str) -> str:
    return f" by {key}" if budget.key == EACH else ""


def _amount(budget: Budget, amount: int) -> str:
    return format_usd(amount) if budget.unit is Unit.USD else f"{amount} pictures"
