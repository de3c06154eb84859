"""Engines: how each provider is doing, live; its prices and served versions; and its switch."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from starlette.responses import RedirectResponse, Response

from pictord.auth.callers import require_operator
from pictord.catalog.model import Model, Price
from pictord.catalog.pricing import Draw, estimate
from pictord.console.page import Page, PageRoute, Visit
from pictord.console.templates import span
from pictord.domain.reason import Reason
from pictord.domain.request import Resolution
from pictord.domain.usage import Group, UsageQuery, UsageRow
from pictord.errors import GatewayError
from pictord.jobs import switches
from pictord.jobs.served import ProviderFacts
from pictord.jobs.usage import whose
from pictord.resilience.breaker import BreakerKey, BreakerSettings, BreakerState, WindowCounts
from pictord.resilience.status import BreakerStatus, ProviderStatus

VERSIONS_SPAN = timedelta(days=30)
DISABLED_FOR = {
    "": ("Until somebody enables it", None),
    "900": ("15 minutes", 900.0),
    "3600": ("1 hour", 3600.0),
    "28800": ("8 hours", 28_800.0),
    "86400": ("1 day", 86_400.0),
    "604800": ("7 days", switches.MAX_DISABLED_S),
}
_SAMPLE_PROMPT_BYTES = 200
_WINDOW = BreakerSettings()
_WINDOW_CELLS = _WINDOW.window_calls
_WINDOW_SPAN = span(_WINDOW.window_s)
_COUNTED = f"Each counts its last {_WINDOW_CELLS} calls, none older than {_WINDOW_SPAN}; so do the errors above."
_ROUTES = "/engines/{provider}"


class Tone(StrEnum):
    """How a state is to be taken."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Breaker:
    """One breaker: what it lets through, and its window of calls, of which the `cells` are sorted by how they ended."""

    model: str
    operation: str
    state: str
    tone: Tone
    text: str
    calls: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Live:
    """What changes by the second. `full` is the share of the slots that are taken, in percent."""

    provider: str
    state: str
    tone: Tone
    text: str
    in_flight: str
    full: int
    waiting: str
    errors: str
    error_text: str
    rate: str
    rate_text: str
    breakers: tuple[Breaker, ...]
    counted: str = _COUNTED
    """Over which calls errors and breakers are counted."""


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The prices of one model from a day on, nano-USD a million tokens by kind."""

    title: str
    provider: str
    model: str
    since: str
    is_to_come: bool
    kinds: tuple[tuple[str, int], ...]
    source: str
    read: str
    samples: tuple[tuple[str, int], ...]
    """What a square 1K picture costs about, by quality (empty for an engine without)."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version that answered, with the UTC days of its first and last call."""

    model: str
    version: str
    days: str
    calls: int
    is_newest: bool


@dataclass(frozen=True, slots=True)
class Engine:
    """A provider account and its models."""

    provider: str
    titles: tuple[str, ...]
    account: str
    is_configured: bool
    live: Live
    prices: tuple[PriceTable, ...]
    versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed into a provider's switch, what is wrong with it, and what came of it."""

    provider: str = ""
    reason: str = ""
    duration: str = ""
    problem: str = ""
    said: str = ""


async def show(visit: Visit) -> Response:
    """The page."""
    return await _page(visit, Typed())


async def watch(visit: Visit) -> Response:
    """What has changed since the visitor's last look; 204 if nothing has."""
    lives = _lives(visit)
    mark = hashlib.sha256(repr(lives).encode()).hexdigest()[:16]
    if visit.request.query_params.get("seen") == mark:
        return Response(status_code=204, headers={"Cache-Control": "no-store"})
    return visit.part("engines_live.html", lives=lives, mark=mark)


async def disable(visit: Visit) -> Response:
    """Take a provider out of service."""
    require_operator(visit.caller, "switch providers")
    provider, form = visit.request.path_params["provider"], await visit.texts()
    reason, duration = form.get("reason", [""])[0], form.get("duration", [""])[0]
    problem = "" if duration in DISABLED_FOR else "choose for how long"
    if not problem:
        try:
            switches.disable(
                visit.ground.served.guards, provider, reason, DISABLED_FOR[duration][1], by=visit.caller.name
            )
        except GatewayError as error:
            if error.reason is not Reason.INVALID_FIELD:
                raise
            problem = error.violations[0].text
    if problem:
        return await _switched(visit, Typed(provider, reason, duration, problem=f"{problem[0].upper()}{problem[1:]}."))
    return await _switched(visit, Typed(provider, said=f"{provider} is disabled: {reason}"))


async def enable(visit: Visit) -> Response:
    """Put a provider into service again."""
    require_operator(visit.caller, "switch providers")
    provider = visit.request.path_params["provider"]
    switches.enable(visit.ground.served.guards, provider, by=visit.caller.name)
    return await _switched(visit, Typed(provider, said=f"{provider} is enabled; what kept it back is cleared"))


async def _switched(visit: Visit, typed: Typed) -> Response:
    if visit.is_partial:
        engines = [each for each in await _engines(visit) if each.provider == typed.provider]
        status = 422 if typed.problem else 200
        return visit.part("engine.html", status=status, engine=engines[0], **_switching(visit, typed))
    if typed.problem:
        return await _page(visit, typed, status=422)
    return RedirectResponse(f"/engines#engine-{typed.provider}", 303)


async def _page(visit: Visit, typed: Typed, status: int = 200) -> Response:
    return visit.page("engines.html", status=status, engines=await _engines(visit), **_switching(visit, typed))


def _switching(visit: Visit, typed: Typed) -> Mapping[str, object]:
    durations = {value: title for value, (title, _) in DISABLED_FOR.items()}
    return {
        "may_switch": visit.caller.is_operator,
        "typed": typed,
        "durations": durations,
        "versions_span": span(VERSIONS_SPAN.total_seconds()),
    }


async def _engines(visit: Visit) -> Sequence[Engine]:
    served = visit.ground.served
    now, books = served.now(), served.budgets.books
    query = UsageQuery(
        now - VERSIONS_SPAN,
        now + timedelta(seconds=1),
        (Group.MODEL, Group.VERSION, Group.DAY),
        caller=whose("", visit.caller),
    )
    usage = await books.usage(query)
    facts, models = served.facts(), visit.ground.models
    return [engine(each, models, facts.get(each.provider), usage, now.date()) for each in _lives(visit)]


def _lives(visit: Visit) -> Sequence[Live]:
    served = visit.ground.served
    facts, now, models = served.facts(), served.now(), visit.ground.models.values()
    statuses = {status.provider: status for status in served.guards.status()}
    names = dict.fromkeys([*(model.provider for model in models), *statuses])
    return [
        live(name, [each for each in models if each.provider == name], facts.get(name), statuses.get(name), now)
        for name in names
    ]


# From the domain to what is shown


def engine(
    state: Live, models: Mapping[str, Model], facts: ProviderFacts | None, usage: Iterable[UsageRow], today: date
) -> Engine:
    """A provider with its models, their prices and what was served of them."""
    own = [model for model in models.values() if model.provider == state.provider]
    return Engine(
        provider=state.provider,
        titles=tuple(model.title for model in own),
        account=facts.account if facts else "",
        is_configured=facts is not None,
        live=state,
        prices=tuple(table for model in own for table in prices(model, today)),
        versions=tuple(versions(usage, [model.id for model in own])),
    )


def live(
    provider: str, models: Sequence[Model], facts: ProviderFacts | None, status: ProviderStatus | None, now: datetime
) -> Live:
    """How a provider is doing."""
    if status is None or facts is None:
        text = "It has no credentials here, so every plan leaves it out."
        return Live(provider, "not configured", Tone.OFF, text, "none", 0, "", "none", "", "none", "", ())
    state, tone, text = _state(status, now)
    calls = sum(each.counts.calls for each in status.breakers)
    rate, rate_text = _rate(status, facts)
    return Live(
        provider=provider,
        state=state,
        tone=tone,
        text=text,
        in_flight=f"{status.in_flight} of {status.limit}",
        full=min(100, round(100 * status.in_flight / status.limit)) if status.limit else 100,
        waiting="calls that may run at once; " + (f"{status.waiting} waiting" if status.waiting else "nobody waits"),
        errors=f"{status.error_share:.0%}".replace("%", " %") if calls else "none",
        error_text=_error_text(status, calls),
        rate=rate,
        rate_text=rate_text,
        breakers=tuple(map(_breaker, _all_breakers(provider, models, status))),
    )


def _state(status: ProviderStatus, now: datetime) -> tuple[str, Tone, str]:
    """The gravest of what keeps calls back."""
    if status.disabled_reason is not None:
        until = "until somebody enables it"
        if math.isfinite(status.disabled_s):
            until = f"until {now + timedelta(seconds=status.disabled_s):%H:%M UTC on %d %B}"
        return "disabled", Tone.BAD, f"{status.disabled_reason} ({until})"
    if status.key_refused:
        return "key refused", Tone.BAD, "The provider refuses our key. Replace it and reload, or enable to try again."
    if status.unfunded_s > 0:
        return "unfunded", Tone.BAD, f"The account is out of credit. Tried again in {span(status.unfunded_s)}."
    if status.tripped_models:
        return "model refused", Tone.BAD, f"Not offered to our account: {', '.join(status.tripped_models)}."
    if any(each.state is BreakerState.OPEN for each in status.breakers):
        return "breaker open", Tone.BAD, "It was failing; the other engine serves."
    if any(each.state is BreakerState.HALF_OPEN for each in status.breakers):
        return "recovering", Tone.WARN, "Single calls find out whether it works."
    if status.limiter.frozen_s > 0:
        return "frozen", Tone.WARN, "The provider asked us to wait."
    return "in service", Tone.GOOD, "Nothing keeps calls back."


def _error_text(status: ProviderStatus, calls: int) -> str:
    """Of which calls the errors are the share."""
    if calls:
        return f"of {f'the last {calls} calls' if calls > 1 else '1 call'} in {_WINDOW_SPAN}"
    if all(each.state is BreakerState.CLOSED for each in status.breakers):
        return f"no call in {_WINDOW_SPAN}"
    return "no call counts yet"


def _rate(status: ProviderStatus, facts: ProviderFacts) -> tuple[str, str]:
    """What the limiter would let through, and what there is to say of it."""
    limiter = status.limiter
    wait = f"a newcomer waits {span(limiter.wait_s)}" if limiter.wait_s >= 0.001 else "no wait"
    if limiter.frozen_s > 0:
        return "frozen", f"for {span(limiter.frozen_s)}"
    if limiter.burst is None or limiter.tokens is None:
        return "no quota", wait
    quota = f"; the quota is {facts.per_minute:g} a minute" if facts.per_minute is not None else ""
    return f"{math.floor(limiter.tokens)} of {math.floor(limiter.burst)}", f"may start at once; {wait}{quota}"


def _all_breakers(provider: str, models: Iterable[Model], status: ProviderStatus) -> Iterable[BreakerStatus]:
    """Also those that no call has needed yet, so that each has its place from the beginning."""
    known = {each.key: each for each in status.breakers}
    for key in (BreakerKey(provider, model.id, each) for model in models for each in sorted(model.can.operations)):
        yield known.pop(key, BreakerStatus(key, BreakerState.CLOSED, 0.0, WindowCounts(0, 0, 0)))
    yield from known.values()


_BREAKERS = {
    BreakerState.CLOSED: ("closed", Tone.GOOD, "calls pass"),
    BreakerState.OPEN: ("open", Tone.BAD, "due for a probe"),
    BreakerState.HALF_OPEN: ("half open", Tone.WARN, "one probe at a time"),
}


def _breaker(status: BreakerStatus) -> Breaker:
    state, tone, text = _BREAKERS[status.state]
    if status.state is BreakerState.OPEN and status.open_s > 0:
        text = f"probes in {span(math.ceil(status.open_s))}"
    counts = status.counts
    none = f"no call in {_WINDOW_SPAN}" if status.state is BreakerState.CLOSED else "counts anew"
    good = counts.calls - counts.failed - counts.slow
    cells = ["failed"] * counts.failed + ["slow"] * counts.slow + ["ok"] * good
    said = [f"{number} {word}" for number, word in ((counts.failed, "failed"), (counts.slow, "slow")) if number]
    calls = f"{counts.calls} {_plural(counts.calls, 'call')}" if counts.calls else none
    return Breaker(
        model=status.key.model,
        operation=status.key.operation.value,
        state=state,
        tone=tone,
        text=text,
        calls=": ".join(filter(None, [calls, ", ".join(said)])),
        cells=tuple((cells + ["none"] * _WINDOW_CELLS)[:_WINDOW_CELLS]),
    )


def prices(model: Model, today: date) -> Iterable[PriceTable]:
    """The price in force on a day, then those that are to come."""
    in_force = model.price_at(today)
    for since, price in sorted(model.prices.items()):
        if price is in_force or since > today:
            yield PriceTable(
                title=model.title,
                provider=model.provider,
                model=model.id,
                since=since.isoformat(),
                is_to_come=price is not in_force,
                kinds=_kinds(price),
                source=price.source,
                read=price.date.isoformat(),
                samples=tuple(_samples(model.at(max(since, today)))),
            )


def _kinds(price: Price) -> tuple[tuple[str, int], ...]:
    return (
        ("Text in", price.text_in),
        ("Picture in", price.image_in),
        ("Text out", price.text_out),
        ("Picture out", price.image_out),
    )


def _samples(model: Model) -> Iterable[tuple[str, int]]:
    for quality in model.can.qualities or (None,):
        draw = Draw(_SAMPLE_PROMPT_BYTES, (1024, 1024), Resolution.R1K, quality)
        yield quality.value if quality else "", estimate(model, draw).expected_nanos


def versions(usage: Iterable[UsageRow], models: Sequence[str]) -> Iterable[Version]:
    """What answered, the newest of each model first."""
    days: dict[tuple[str, str], list[str]] = {}
    calls: dict[tuple[str, str], int] = {}
    for row in usage:
        model, version, day = row.keys
        if model in models and version:
            days.setdefault((model, version), []).append(day)
            calls[model, version] = calls.get((model, version), 0) + row.sums.attempts
    newest: set[str] = set()
    for (model, version), on in sorted(days.items(), key=lambda each: (each[0][0], max(each[1])), reverse=True):
        first, last = min(on), max(on)
        between = first if first == last else f"{first} to {last}"
        yield Version(model, version, between, calls[model, version], model not in newest)
        newest.add(model)


def _plural(number: int, word: str) -> str:
    return word if number == 1 else f"{word}s"


PAGE = Page(
    "Engines",
    "/engines",
    (
        PageRoute("/engines", show),
        PageRoute("/engines/live", watch),
        PageRoute(f"{_ROUTES}/disable", disable, "POST"),
        PageRoute(f"{_ROUTES}/enable", enable, "POST"),
    ),
    icon="engines",
)
