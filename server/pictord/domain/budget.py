"""Budgets: whose spending is counted, in which window, up to how much; and what follows from that for one request.

A budget counts under *scopes*: names such as `usd/2026-11-22/global` or `pictures/2026-11/end_user.free/<hash>` under
which the store holds and settles. A scope says what is counted, not which budget asked for it: two budgets that count
the same thing (a soft one below a hard one) share one sum.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pictord.domain.request import Tier

EACH = "*"
"""As a key: every caller, tier, end user or provider has this budget for itself."""

DAILY_CAP = "daily-cap"
"""The budget that is in force before anybody sets one."""


class Counted(StrEnum):
    """Whose requests a budget counts."""

    CALLER = "caller"
    TIER = "tier"
    END_USER = "end_user"
    PROVIDER = "provider"
    GLOBAL = "global"


class Unit(StrEnum):
    """What a budget counts: nano-USD, or pictures that were drawn."""

    USD = "usd"
    PICTURES = "pictures"


class Window(StrEnum):
    """Over what time a budget counts before it begins anew, in UTC."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount that may be spent in every window.

    `amount` is nano-USD or pictures. `key` names the caller, tier, end user (keyed hash) or provider that is counted,
    or is `EACH`; it is empty for GLOBAL. `tier` narrows any other kind to requests of one tier: the free tier's five
    pictures a month are END_USER, EACH, FREE, PICTURES, MONTH, 5. A hard budget refuses what does not fit, a soft one
    only alerts. `thresholds` are percents of the amount, ascending.
    """

    id: str
    counted: Counted
    key: str
    unit: Unit
    window: Window
    amount: int
    is_hard: bool = True
    thresholds: tuple[int, ...] = (50, 80, 100)
    tier: Tier | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """One window: from `start` until just before `end`, UTC. The name is `2026-11-22`, or `2026-11` for a month."""

    name: str
    start: datetime
    end: datetime


def span(window: Window, moment: datetime) -> Span:
    """The window that a moment lies in."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if window is Window.DAY:
        return Span(day.date().isoformat(), day, day + timedelta(days=1))
    first = day.replace(day=1)
    return Span(f"{first:%Y-%m}", first, (first + timedelta(days=31)).replace(day=1))


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose request it is; `end_user` is the keyed hash, `providers` are all that may be called for it."""

    caller: str
    tier: Tier
    end_user: str | None
    providers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Charge:
    """One scope that a request counts under.

    With a `provider`, only attempts there count. `budget` is the tightest hard budget over this scope; None: no limit.
    """

    scope: str
    unit: Unit
    provider: str | None
    budget: Budget | None


def scope(budget: Budget, key: str, moment: datetime) -> str:
    """The name under which the store counts for one key of a budget in the window of a moment.

    The key comes last: whatever it holds, two different things never have one name.
    """
    return f"{scope_prefix(budget, moment)}{key}" if budget.counted is not Counted.GLOBAL else _stem(budget, moment)


def scope_prefix(budget: Budget, moment: datetime) -> str:
    """What all scopes of a budget for EACH begin with; the rest of such a scope is its key."""
    return f"{_stem(budget, moment)}/"


def key_of(name: str) -> str:
    """The key at the end of a scope's name; empty for GLOBAL."""
    return "".join(name.split("/", 3)[3:])


def _stem(budget: Budget, moment: datetime) -> str:
    narrowed = f".{budget.tier.value}" if budget.tier else ""
    return f"{budget.unit.value}/{span(budget.window, moment).name}/{budget.counted.value}{narrowed}"


def charges(budgets: Iterable[Budget], subject: Subject, moment: datetime) -> tuple[Charge, ...]:
    """Everything that a request counts under, each scope once."""
    found: dict[str, Charge] = {}
    for budget in budgets:
        for key in keys(budget, subject):
            name = scope(budget, key, moment)
            provider = key if budget.counted is Counted.PROVIDER else None
            known = found.get(name)
            found[name] = Charge(name, budget.unit, provider, _tighter(known.budget if known else None, budget))
    return tuple(found.values())


def _tighter(known: Budget | None, budget: Budget) -> Budget | None:
    if not budget.is_hard or (known is not None and known.amount <= budget.amount):
        return known
    return budget


def keys(budget: Budget, subject: Subject) -> Iterator[str]:
    """For whom of a subject a budget counts: at most one, or each provider; nobody if it is about others.

    A request without an end user counts under no end user's budget.
    """
    if budget.tier is not None and budget.tier is not subject.tier:
        return
    candidates: tuple[str | None, ...] = {
        Counted.CALLER: (subject.caller,),
        Counted.TIER: (subject.tier.value,),
        Counted.END_USER: (subject.end_user,),
        Counted.PROVIDER: subject.providers,
        Counted.GLOBAL: ("",),
    }[budget.counted]
    for key in candidates:
        if key is not None and budget.key in {key, EACH}:
            yield key


def crossed(budget: Budget, before: int, after: int) -> tuple[int, ...]:
    """The thresholds, in percent, that a sum reached on its way from `before` to `after`; none on the way down."""
    return tuple(percent for percent in budget.thresholds if before * 100 < percent * budget.amount <= after * 100)
