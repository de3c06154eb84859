"""Money in memory: holds and what is charged for the store, budgets, usage and alerts as `Books`.

Like its store it dies with the process. Attempts are remembered for two months, whatever becomes of their records.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pictord.domain.alert import Alert, Delivery
from pictord.domain.budget import EACH, Budget, Subject, Unit, keys, scope, scope_prefix, span
from pictord.domain.generation import Attempt, AttemptState, Generation
from pictord.domain.money import CostBasis
from pictord.domain.outcome import Outcome
from pictord.domain.request import Tier
from pictord.domain.usage import Group, Sums, UsageQuery, UsageRow, sums_of
from pictord.store.base import HoldRefused, Opening, SpendLimit, settled_amount
from pictord.store.books import Counted

_REMEMBERED = timedelta(days=62)


@dataclass(frozen=True, slots=True)
class _Whose:
    """What money remembers of a generation: no prompt, no picture."""

    generation_id: str
    caller: str
    tier: Tier
    workflow: str
    row: str
    end_user: str | None


@dataclass(slots=True)
class _Entry:
    """An attempt as it stands, and whose it is."""

    attempt: Attempt
    whose: _Whose
    began: datetime
    pictures: int = 0

    @property
    def subject(self) -> Subject:
        return Subject(self.whose.caller, self.whose.tier, self.whose.end_user, (self.attempt.provider,))

    def counted(self, unit: Unit) -> int:
        """What it counts as: once it has ended what it came to, before that what it may come to at worst."""
        if self.attempt.state is AttemptState.FINISHED:
            return settled_amount(unit, self.attempt, self.pictures)
        return self.attempt.estimated_nanos if unit is Unit.USD else 1


class MemoryLedger:
    """Holds and charges, and `Books` over them. Nothing here awaits, so each method is one transaction."""

    def __init__(self) -> None:
        self._openings: dict[str, Opening] = {}
        self._entries: dict[str, _Entry] = {}
        self._holds: dict[str, dict[str, tuple[Unit, int]]] = {}
        self._charged: dict[str, int] = {}
        self._generations_under: Counter[str] = Counter()
        self._budgets: dict[str, Budget] = {}
        self._alerts: dict[str, Alert] = {}
        self._occasions: set[str] = set()

    # Reserve and settle

    def open(self, opening: Opening) -> HoldRefused | None:
        """Hold every first attempt under all its limits, or none at all."""
        self._forget_old(opening.generation)
        refused = self._reserve(opening, opening.attempts, opening.limits)
        if refused is None:
            self._openings[opening.generation.id] = opening
            self._generations_under.update(_ending_scopes(opening))
        return refused

    def open_attempt(self, generation_id: str, attempt: Attempt, limits: Sequence[SpendLimit]) -> HoldRefused | None:
        """Hold a further attempt of a generation that runs, under its own limits and under these."""
        opening = self._openings[generation_id]
        return self._reserve(opening, (attempt,), (*opening.own_limits, *limits))

    def mark_sent(self, attempt: Attempt) -> None:
        """Count the attempt as sent."""
        self._entries[attempt.id].attempt = _without_words(attempt)

    def settle(self, attempt: Attempt, pictures: int) -> bool:
        """Resolve the attempt's holds; False if they were resolved before, and nothing changes."""
        holds = self._holds.pop(attempt.id, None)
        if holds is None:
            return False
        for name, (unit, held) in holds.items():
            self._charged[name] += settled_amount(unit, attempt, pictures) - held
        entry = self._entries.get(attempt.id)
        if entry is not None:
            entry.attempt, entry.pictures = _without_words(attempt), pictures
        return True

    def forget(self, generation_id: str) -> None:
        """The generation's record is gone, and with the last of them the scopes that end so."""
        opening = self._openings.pop(generation_id, None)
        for name in _ending_scopes(opening) if opening else ():
            self._generations_under[name] -= 1
            if not self._generations_under[name]:
                del self._generations_under[name]
                self._charged.pop(name, None)

    def spent(self, name: str) -> int:
        """Everything settled and held under a scope."""
        return self._charged.get(name, 0)

    def _reserve(
        self, opening: Opening, attempts: Sequence[Attempt], limits: Sequence[SpendLimit]
    ) -> HoldRefused | None:
        for limit in limits:
            needed = sum(limit.hold_for(attempt) for attempt in attempts if limit.charges(attempt))
            available = needed if limit.cap is None else limit.cap - self.spent(limit.scope)
            if needed > available:
                return HoldRefused(limit, needed, max(available, 0))
        for attempt in attempts:
            holds = {limit.scope: (limit.unit, limit.hold_for(attempt)) for limit in limits if limit.charges(attempt)}
            self._holds[attempt.id] = holds
            began = attempt.create_time or opening.generation.create_time
            self._entries[attempt.id] = _Entry(_without_words(attempt), _whose(opening), began)
            for name, (_, held) in holds.items():
                self._charged[name] = self.spent(name) + held
        return None

    def _forget_old(self, newest: Generation) -> None:
        oldest_allowed = newest.create_time - _REMEMBERED
        while self._entries:
            attempt_id, entry = next(iter(self._entries.items()))
            if entry.began >= oldest_allowed:
                break
            del self._entries[attempt_id]

    # Budgets

    async def budgets(self) -> Sequence[Budget]:
        """See `Books.budgets`."""
        return [self._budgets[name] for name in sorted(self._budgets)]

    async def set_budget(self, budget: Budget) -> None:
        """See `Books.set_budget`."""
        self._budgets[budget.id] = budget

    async def recount(self, budget: Budget, moment: datetime) -> None:
        """See `Books.recount`."""
        sums = {budget.key: 0} if budget.key != EACH else dict.fromkeys(self._keys(budget, moment), 0)
        window = span(budget.window, moment)
        for attempt_id, entry in self._entries.items():
            if window.start <= entry.began < window.end:
                amount = entry.counted(budget.unit)
                for key in keys(budget, entry.subject):
                    if attempt_id in self._holds:
                        hold = (budget.unit, amount)
                        _, amount = self._holds[attempt_id].setdefault(scope(budget, key, moment), hold)
                    sums[key] = sums.get(key, 0) + amount
        for key, amount in sums.items():
            self._charged[scope(budget, key, moment)] = amount

    async def delete_budget(self, budget_id: str) -> bool:
        """See `Books.delete_budget`."""
        return self._budgets.pop(budget_id, None) is not None

    async def counted(self, budget: Budget, moment: datetime, limit: int) -> Sequence[Counted]:
        """See `Books.counted`."""
        names = self._keys(budget, moment) if budget.key == EACH else [budget.key]
        scopes = {key: scope(budget, key, moment) for key in names}
        found = [Counted(key, self.spent(name), self._held(name)) for key, name in scopes.items()]
        return sorted(found, key=lambda each: (-each.amount, each.key))[:limit]

    def _held(self, name: str) -> int:
        return sum(holds[name][1] for holds in self._holds.values() if name in holds)

    def _keys(self, budget: Budget, moment: datetime) -> list[str]:
        prefix = scope_prefix(budget, moment)
        return [name.removeprefix(prefix) for name in self._charged if name.startswith(prefix)]

    # Usage

    async def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        """See `Books.usage`."""
        sums: defaultdict[tuple[str, ...], Sums] = defaultdict(Sums)
        for entry in self._entries.values():
            if _matches(entry, query):
                attempt = entry.attempt
                was_sent = attempt.sent_time is not None
                part = sums_of(attempt.cost.nanos, attempt.cost.basis, was_sent=was_sent, pictures=entry.pictures)
                group = tuple(_GROUPS[each](entry) for each in query.group_by)
                sums[group] = sums[group].plus(part)
        rows = [UsageRow(group, each) for group, each in sums.items()]
        return sorted(rows, key=lambda row: (-row.sums.nanos, row.keys))[: query.most]

    def drawing_times(self, query: UsageQuery) -> Iterator[tuple[str, str, float]]:
        """Workflow, model and seconds of every attempt that brought a picture."""
        for entry in self._entries.values():
            attempt = entry.attempt
            if (
                _matches(entry, query)
                and attempt.outcome is Outcome.IMAGE
                and attempt.sent_time
                and attempt.finish_time
            ):
                yield entry.whose.workflow, attempt.model, (attempt.finish_time - attempt.sent_time).total_seconds()

    # Alerts

    async def add_alert(self, alert: Alert) -> bool:
        """See `Books.add_alert`."""
        if alert.occasion in self._occasions:
            return False
        self._occasions.add(alert.occasion)
        self._alerts[alert.id] = alert
        return True

    async def delivered(self, alert_id: str) -> None:
        """See `Books.delivered`."""
        self._alerts[alert_id] = replace(self._alerts[alert_id], delivery=Delivery.DONE)

    async def give_up(self, alert_id: str) -> bool:
        """See `Books.give_up`."""
        alert = self._alerts[alert_id]
        if alert.delivery is not Delivery.PENDING:
            return False
        self._alerts[alert_id] = replace(alert, delivery=Delivery.FAILED)
        return True

    async def alerts(self, *, since: datetime | None, before: str | None, limit: int) -> Sequence[Alert]:
        """See `Books.alerts`."""
        newest_first: Iterable[Alert] = sorted(self._alerts.values(), key=lambda each: each.id, reverse=True)
        found = (
            each
            for each in newest_first
            if (since is None or each.create_time >= since) and (before is None or each.id < before)
        )
        return [each for each, _ in zip(found, range(limit), strict=False)]


def _ending_scopes(opening: Opening) -> list[str]:
    return [limit.scope for limit in opening.own_limits]


def _whose(opening: Opening) -> _Whose:
    generation, workflow = opening.generation, opening.generation.request.workflow
    return _Whose(
        generation.id,
        generation.caller,
        generation.request.tier,
        workflow.value if workflow else "",
        generation.plan.row,
        opening.end_user,
    )


def _without_words(attempt: Attempt) -> Attempt:
    """An attempt as it outlives its generation: without what somebody said."""
    return replace(attempt, detail="", adaptations=()) if attempt.detail or attempt.adaptations else attempt


def _matches(entry: _Entry, query: UsageQuery) -> bool:
    return (
        query.since <= entry.began < query.until
        and query.caller in {None, entry.whose.caller}
        and (not query.unknown_only or entry.attempt.cost.basis is CostBasis.UNKNOWN)
    )


_GROUPS: Mapping[Group, Callable[[_Entry], str]] = {
    Group.PROVIDER: lambda entry: entry.attempt.provider,
    Group.MODEL: lambda entry: entry.attempt.model,
    Group.VERSION: lambda entry: entry.attempt.served_version,
    Group.CALLER: lambda entry: entry.whose.caller,
    Group.END_USER: lambda entry: entry.whose.end_user or "",
    Group.TIER: lambda entry: entry.whose.tier.value,
    Group.WORKFLOW: lambda entry: entry.whose.workflow,
    Group.ROW: lambda entry: entry.whose.row,
    Group.DAY: lambda entry: entry.began.astimezone(UTC).date().isoformat(),
    Group.GENERATION: lambda entry: entry.whose.generation_id,
}
