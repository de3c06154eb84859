"""Guard: what stands between a job and a paid call, composed.

    switches → breaker → queue bounds → limiter → slot → switches and breaker again → Permit

Whatever a call has taken so far hangs on its `Permit`, so that a refusal, a failure or a cancellation at any point
gives all of it back in one place. Whoever had to wait is asked again at the end: the engine may have failed, or been
frozen or switched off, while he stood in line.

A permit ends once: `report(outcome)` applies the outcome table (`domain/outcome.py`), `release()` says that nothing was
sent. A slot that has been freed, a token that has been refunded or a finished probe goes to the next in line at once.

| the rule says                      | and this happens                                                               |
|------------------------------------|--------------------------------------------------------------------------------|
| OK, FAIL, IGNORE                   | the breaker hears it; OK over the call's slow limit is SLOW                    |
| TRIP_MODEL, PROVIDER_OFF, UNFUNDED | a switch goes off, unless the account began a new life; no word to the breaker |
| FREEZE_AND_SHRINK                  | the limiter freezes until Retry-After, else for the back-off; the limit is cut |
| SHRINK                             | the concurrency limit is cut; a Retry-After freezes here too                   |
| REFUND                             | the limiter takes the permit back                                              |

Not handled: which candidate is next, and what happens to the money (`jobs/`).
"""

import random as dice
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from pictord.domain.outcome import RULES, BreakerVerdict, LimiterEffect, Outcome
from pictord.domain.plan import ExclusionReason
from pictord.domain.reason import Reason
from pictord.domain.request import Operation
from pictord.resilience.admission import AdmissionSettings, NotAdmitted, Wait, check_wait
from pictord.resilience.backoff import Backoff, BackoffSettings
from pictord.resilience.breaker import (
    Breaker,
    BreakerChange,
    BreakerKey,
    BreakerOpen,
    BreakerPermit,
    Breakers,
    BreakerSettings,
    Verdict,
)
from pictord.resilience.concurrency import Concurrency, ConcurrencySettings, NoSlot, Slot
from pictord.resilience.limiter import Limiter, LimiterPermit, LimiterSettings, TooLate
from pictord.resilience.provider_state import Alert, ProviderState, ProviderStateSettings
from pictord.resilience.status import Availability, BreakerStatus, LimiterStatus, ProviderStatus

COMPLETED = frozenset({Outcome.IMAGE, Outcome.REFUSED, Outcome.NO_IMAGE, Outcome.BAD_REQUEST})
"""Outcomes in which the provider did its work without pushing back: the concurrency limit may grow."""


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """One provider account; quotas per minute (None: not limited), `max_concurrency` in calls."""

    requests_per_minute: float | None = None
    images_per_minute: float | None = None
    max_concurrency: int = 512
    longest_freeze_s: float = 3600.0
    """A provider that asks us to wait longer than this is asked again."""
    state: ProviderStateSettings = field(default_factory=ProviderStateSettings)
    backoff: BackoffSettings = field(default_factory=BackoffSettings)


class Guard:
    """Everything that protects one provider account; made by `Guards`."""

    def __init__(
        self,
        provider: str,
        settings: GuardSettings,
        breakers: Breakers,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        on_alert: Callable[[Alert], None],
    ) -> None:
        self.provider = provider
        self.breakers = breakers
        self.clock = clock
        self.state = ProviderState(provider, settings.state, clock=clock, on_alert=on_alert)
        self.limiter = Limiter(LimiterSettings(settings.requests_per_minute, settings.images_per_minute), clock=clock)
        self.concurrency = Concurrency(ConcurrencySettings(settings.max_concurrency), clock=clock)
        self._longest_freeze_s = settings.longest_freeze_s
        self._backoff = Backoff(settings.backoff, clock=clock, random=random)
        self._call_times_s: deque[float] = deque(maxlen=20)
        self._median_call_s: float | None = None

    @property
    def waiting(self) -> int:
        """How many wait for this provider."""
        return self.limiter.waiting + self.concurrency.waiting

    def require_on(self, model: str) -> None:
        """Refuse a model that is switched off."""
        obstacle = self.state.obstacle(model)
        if obstacle is not None:
            raise NotAdmitted(obstacle.reason, obstacle.text, obstacle.remaining_s)

    def wait(self, *, is_fallback: bool, call_time_s: float) -> Wait:
        """What a caller who came now would wait for; `call_time_s` counts until the first call has come back."""
        rate_s = self.limiter.predict()
        slot_s = self.concurrency.predict(is_fallback=is_fallback, call_time_s=self.median_call_s(call_time_s))
        by_rate = self.limiter.waiting == 0 and rate_s >= slot_s
        return Wait(self.waiting, max(rate_s, slot_s), by_rate)

    async def take_turn(self, permit: "Permit", deadline: float | None, longest_wait_s: float) -> None:
        """Wait for the limiter and for a slot, and put both on the permit.

        The limiter knows every start, so whom a freeze makes wait past the queue's bound is refused at once and can
        fall back; a slot's wait is a guess, so it ends at the caller's deadline.
        """
        while True:
            latest = self.clock() + longest_wait_s
            try:
                permit.token = await self.limiter.admit(latest if deadline is None else min(latest, deadline))
                permit.slot = await self.concurrency.acquire(deadline, is_fallback=permit.is_fallback)
            except TooLate as late:
                raise NotAdmitted(ExclusionReason.RATE_LIMITED, f"{self.provider} {late}", late.wait_s) from None
            except NoSlot:
                wait_s = self.wait(is_fallback=permit.is_fallback, call_time_s=permit.call_time_s).wait_s
                raise NotAdmitted(Reason.QUEUE_FULL, f"no slot of {self.provider} was free in time", wait_s) from None
            if not self.limiter.frozen_s():
                return
            # The account was frozen while he waited for the slot: nobody is sent into a freeze.
            permit.give_back()

    def median_call_s(self, otherwise_s: float) -> float:
        """How long a picture took of late, in seconds."""
        return otherwise_s if self._median_call_s is None else self._median_call_s

    def conclude(self, permit: "Permit", outcome: Outcome, elapsed_s: float, retry_after_s: float | None) -> None:
        """Apply the outcome table to everything the permit holds."""
        rule = RULES[outcome]
        permit.breaker.report(_verdict(rule.breaker, elapsed_s, permit.slow_after_s))
        if permit.life == self.state.life:
            self._switch_off(rule.breaker, permit.model)
        if rule.limiter is LimiterEffect.REFUND and permit.token is not None:
            permit.token.refund()
        if rule.limiter in (LimiterEffect.FREEZE_AND_SHRINK, LimiterEffect.SHRINK):
            self._give_way(rule.limiter, permit, retry_after_s)
        if outcome in COMPLETED:
            self._backoff.succeeded(permit.sent_at)
        if outcome is Outcome.IMAGE:
            self._call_times_s.append(elapsed_s)
            self._median_call_s = statistics.median(self._call_times_s)
        if permit.slot is not None:
            permit.slot.release(completed=outcome in COMPLETED)

    def _switch_off(self, verdict: BreakerVerdict, model: str) -> None:
        match verdict:
            case BreakerVerdict.TRIP_MODEL:
                self.state.trip_model(model)
            case BreakerVerdict.PROVIDER_OFF:
                self.state.refuse_key()
            case BreakerVerdict.UNFUNDED:
                self.state.run_dry()
            case _:
                pass  # the breaker's business alone

    def _give_way(self, effect: LimiterEffect, permit: "Permit", retry_after_s: float | None) -> None:
        self.concurrency.shrink(self.median_call_s(permit.call_time_s))
        if retry_after_s is None and effect is LimiterEffect.FREEZE_AND_SHRINK:
            retry_after_s = self._backoff.refused(permit.sent_at)
        if retry_after_s is not None and retry_after_s > 0:
            self.limiter.freeze(self.clock() + min(retry_after_s, self._longest_freeze_s))

    def enable(self) -> None:
        """Switch the provider on and clear breakers, freeze and unfunded; the operator knows better."""
        self.state.enable()
        for _, breaker in self.breakers.of(self.provider):
            breaker.reset()
        self.limiter.thaw()

    def status(self) -> ProviderStatus:
        """A snapshot."""
        now, bucket = self.clock(), self.limiter.bucket
        breakers = tuple(
            BreakerStatus(key, breaker.state(), breaker.remaining_open_s(), breaker.counts())
            for key, breaker in self.breakers.of(self.provider)
        )
        return ProviderStatus(
            provider=self.provider,
            disabled_reason=self.state.disabled_reason,
            disabled_s=self.state.disabled_s,
            key_refused=self.state.key_refused,
            unfunded_s=self.state.unfunded_s,
            tripped_models=self.state.tripped_models(),
            breakers=breakers,
            limiter=LimiterStatus(
                burst=bucket.burst if bucket else None,
                tokens=bucket.tokens(now) if bucket else None,
                frozen_s=self.limiter.frozen_s(),
                wait_s=self.limiter.predict(),
            ),
            in_flight=self.concurrency.in_flight,
            limit=self.concurrency.limit,
            waiting=self.waiting,
            error_share=_share(sum(b.counts.failed for b in breakers), sum(b.counts.calls for b in breakers)),
        )


class Permit:
    """The right to make one call, with everything that was taken for it; ends with `report` or `release`."""

    __slots__ = (
        "_ended", "_guard", "breaker", "call_time_s", "is_fallback",
        "life", "model", "sent_at", "slot", "slow_after_s", "token",
    )  # fmt: skip

    def __init__(
        self,
        guard: Guard,
        model: str,
        breaker: BreakerPermit,
        *,
        is_fallback: bool,
        call_time_s: float,
        slow_after_s: float | None,
    ) -> None:
        self._guard = guard
        self._ended = False
        self.model = model
        self.breaker = breaker
        self.is_fallback = is_fallback
        self.call_time_s = call_time_s
        self.slow_after_s = slow_after_s
        self.life = guard.state.life
        self.sent_at = 0.0
        self.token: LimiterPermit | None = None
        self.slot: Slot | None = None

    def report(self, outcome: Outcome, *, elapsed_s: float, retry_after_s: float | None = None) -> None:
        """Say how the call ended; only the first report, or release, counts.

        Args:
            outcome: the row of the outcome table.
            elapsed_s: seconds the provider took.
            retry_after_s: seconds the provider asked us to wait, if it did.
        """
        if not self._ended:
            self._ended = True
            self._guard.conclude(self, outcome, elapsed_s, retry_after_s)

    def release(self) -> None:
        """Give everything back, because nothing was sent; does nothing after a report."""
        if not self._ended:
            self._ended = True
            self.breaker.release()
            self.give_back()

    def give_back(self) -> None:
        """Give token and slot back; the breaker's permit stays."""
        token, self.token = self.token, None
        slot, self.slot = self.slot, None
        if token is not None:
            token.refund()
        if slot is not None:
            slot.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.release()


class Guards:
    """The guards of all providers, and the gateway's queue.

    Args:
        providers: settings by provider name.
        admission: bounds of the queue.
        breaker: settings of every breaker.
        clock: the running loop's clock, in seconds (asyncio's own loops: `time.monotonic`).
        random: uniform in [0, 1).
        on_breaker: told of every breaker's change of state; must not raise.
        on_alert: told when a provider is switched off by what it answered; must not raise.
    """

    def __init__(
        self,
        providers: Mapping[str, GuardSettings],
        *,
        admission: AdmissionSettings | None = None,
        breaker: BreakerSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = dice.random,
        on_breaker: Callable[[BreakerChange], None] = lambda _change: None,
        on_alert: Callable[[Alert], None] = lambda _alert: None,
    ) -> None:
        self._clock = clock
        self._admission = admission or AdmissionSettings()
        breakers = Breakers(breaker or BreakerSettings(), clock=clock, random=random, on_change=on_breaker)
        self._guards = {
            provider: Guard(provider, settings, breakers, clock=clock, random=random, on_alert=on_alert)
            for provider, settings in providers.items()
        }

    async def admit(
        self,
        provider: str,
        model: str,
        operation: Operation,
        *,
        deadline: float | None,
        is_fallback: bool,
        call_time_s: float,
        slow_after_s: float | None = None,
        on_queued: Callable[[int, float], None] | None = None,
    ) -> Permit:
        """Wait for the right to make one call.

        Args:
            provider: who is called.
            model: the requested model.
            operation: GENERATE or EDIT.
            deadline: the latest start, on the clock; None waits as long as the queue's bounds allow.
            is_fallback: whether another engine was tried first.
            call_time_s: the longest the call may take, in seconds; how long a probe keeps its place.
            slow_after_s: a picture that takes longer counts as slow; None never does.
            on_queued: told once, if the call has to wait: the calls before it, and the predicted seconds.

        Raises:
            NotAdmitted: nothing was sent, and nothing is left taken.
            asyncio.CancelledError: the same.
        """
        guard = self._guards[provider]
        guard.require_on(model)
        breaker = guard.breakers.get(BreakerKey(provider, model, operation))
        permit = Permit(
            guard,
            model,
            _enter(breaker, model, call_time_s),
            is_fallback=is_fallback,
            call_time_s=call_time_s,
            slow_after_s=slow_after_s,
        )
        try:
            self._check_queue(permit, guard, deadline, on_queued)
            await guard.take_turn(permit, deadline, self._admission.longest_wait_s)
            guard.require_on(model)
            permit.breaker = _enter(breaker, model, call_time_s, permit.breaker)
        except BaseException:
            permit.release()
            raise
        permit.sent_at = self._clock()
        return permit

    def predict(
        self, provider: str, model: str, operation: Operation, *, is_fallback: bool = False, call_time_s: float = 0.0
    ) -> Availability:
        """What `admit` would say now, without taking anything; a wait that may be too long is the router's to judge."""
        guard = self._guards[provider]
        obstacle = guard.state.obstacle(model)
        if obstacle is not None:
            return Availability(obstacle.reason, obstacle.text, retry_after_s=obstacle.remaining_s)
        breaker = guard.breakers.get(BreakerKey(provider, model, operation))
        if not breaker.admits():
            refusal = _breaker_open(model, breaker.remaining_open_s())
            return Availability(ExclusionReason.BREAKER_OPEN, refusal.text, retry_after_s=refusal.retry_after_s)
        return Availability(wait_s=guard.wait(is_fallback=is_fallback, call_time_s=call_time_s).wait_s)

    def disable(self, provider: str, reason: str, for_s: float | None = None) -> None:
        """Send nothing to the provider, for `for_s` seconds or until it is enabled; calls in flight go on."""
        self._guards[provider].state.disable(reason, for_s)

    def enable(self, provider: str) -> None:
        """Switch the provider on; clears breakers, freeze, unfunded, refused key and tripped models."""
        self._guards[provider].enable()

    def secrets_reloaded(self, provider: str) -> None:
        """The provider's key may be another one now: try it."""
        self._guards[provider].state.secrets_reloaded()

    def status(self) -> tuple[ProviderStatus, ...]:
        """A snapshot of every provider; may be called from a metrics thread."""
        return tuple(guard.status() for guard in self._guards.values())

    def _check_queue(
        self, permit: Permit, guard: Guard, deadline: float | None, on_queued: Callable[[int, float], None] | None
    ) -> None:
        room_s = float("inf") if deadline is None else deadline - self._clock()
        if room_s < 0:
            raise NotAdmitted(ExclusionReason.DEADLINE, "the latest start has passed", None)
        wait = guard.wait(is_fallback=permit.is_fallback, call_time_s=permit.call_time_s)
        if wait.wait_s <= 0:
            return
        check_wait(
            wait,
            self._admission,
            room_s=room_s,
            waiting=sum(each.waiting for each in self._guards.values()),
            slots=sum(each.concurrency.limit for each in self._guards.values()),
        )
        if on_queued is not None:
            on_queued(wait.ahead, wait.wait_s)


def _enter(breaker: Breaker, model: str, call_time_s: float, held: BreakerPermit | None = None) -> BreakerPermit:
    """A breaker's permit, or the held one confirmed."""
    try:
        return breaker.admit(call_time_s) if held is None else breaker.renew(held, call_time_s)
    except BreakerOpen as refusal:
        raise _breaker_open(model, refusal.remaining_s) from None


def _breaker_open(model: str, remaining_s: float) -> NotAdmitted:
    text = f"{model} has been failing, and is tried again in {remaining_s:.0f} s"
    if not remaining_s:
        text = f"{model} has been failing, and another call is finding out whether it works again"
    return NotAdmitted(ExclusionReason.BREAKER_OPEN, text, max(remaining_s, 1.0))


def _verdict(verdict: BreakerVerdict, elapsed_s: float, slow_after_s: float | None) -> Verdict:
    if verdict is BreakerVerdict.OK:
        return Verdict.SLOW if slow_after_s is not None and elapsed_s > slow_after_s else Verdict.OK
    return Verdict.FAIL if verdict is BreakerVerdict.FAIL else Verdict.IGNORE


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
