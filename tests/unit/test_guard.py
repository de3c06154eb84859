"""The guard: admission in order, refusals without a trace, and the outcome table's effects. In virtual time."""

import asyncio
import time
from dataclasses import dataclass

import pytest

import virtual_time
from pictord.domain.outcome import RULES, BreakerVerdict, LimiterEffect, Outcome
from pictord.domain.plan import ExclusionReason
from pictord.domain.reason import Reason
from pictord.domain.request import Operation
from pictord.resilience.admission import NotAdmitted
from pictord.resilience.breaker import BreakerChange, BreakerState
from pictord.resilience.guard import COMPLETED, Guards, GuardSettings, Permit
from pictord.resilience.provider_state import Alert

MODEL = "gpt-image-2"
GENERATE = Operation.GENERATE


class Desk:
    """Guards over `openai` and `gemini` on the running loop's clock, and what they told."""

    def __init__(self, settings: GuardSettings | None = None) -> None:
        self.alerts: list[Alert] = []
        self.changes: list[BreakerChange] = []
        self.guards = Guards(
            {"openai": settings or GuardSettings(), "gemini": GuardSettings(max_concurrency=1)},
            clock=virtual_time.now,
            random=lambda: 0.5,
            on_breaker=self.changes.append,
            on_alert=self.alerts.append,
        )

    async def admit(self, *, model: str = MODEL, patience_s: float | None = None, **options) -> Permit:
        options = {"is_fallback": False, "call_time_s": 60.0, "slow_after_s": 50.0} | options
        deadline = None if patience_s is None else virtual_time.now() + patience_s
        return await self.guards.admit("openai", model, GENERATE, deadline=deadline, **options)

    async def call(self, outcome: Outcome, *, elapsed_s: float = 10.0, **report) -> None:
        (await self.admit()).report(outcome, elapsed_s=elapsed_s, **report)

    async def fail_until_open(self) -> None:
        for _ in range(5):
            await self.call(Outcome.SERVER_ERROR)

    async def refusal(self, **options) -> NotAdmitted:
        with pytest.raises(NotAdmitted) as caught:
            await self.admit(**options)
        return caught.value

    @property
    def openai(self):
        return self.guards.status()[0]

    @property
    def breaker(self):
        return self.openai.breakers[0]

    @property
    def here(self):
        """Everything a call could leave behind."""
        status = self.openai
        waits = (status.limiter.tokens, status.limiter.frozen_s)
        heard = [(b.state, b.counts) for b in status.breakers if b.counts.calls or b.state is not BreakerState.CLOSED]
        return (status.in_flight, status.limit, status.waiting, *waits, heard)


@dataclass(frozen=True)
class Effect:
    """What one outcome does; see the table of design §6."""

    failed: int = 0
    frozen: bool = False
    limit: int = 100
    refunded: bool = False
    obstacle: ExclusionReason | None = None


EFFECTS = {
    Outcome.IMAGE: Effect(),
    Outcome.REFUSED: Effect(),
    Outcome.NO_IMAGE: Effect(),
    Outcome.UNUSABLE: Effect(failed=1),
    Outcome.UNFUNDED: Effect(obstacle=ExclusionReason.UNFUNDED),
    Outcome.KEY_REFUSED: Effect(obstacle=ExclusionReason.KEY_REFUSED),
    Outcome.MODEL_REFUSED: Effect(obstacle=ExclusionReason.MODEL_TRIPPED),
    Outcome.RATE_LIMITED: Effect(frozen=True, limit=70),
    Outcome.OVERLOADED: Effect(failed=1, limit=70),
    Outcome.SERVER_ERROR: Effect(failed=1),
    Outcome.BAD_REQUEST: Effect(),
    Outcome.UNREACHABLE: Effect(failed=1, refunded=True),
    Outcome.NOT_ADMITTED: Effect(),
    Outcome.CANCELLED: Effect(refunded=True),
    Outcome.SHUTDOWN: Effect(),
}


def test_the_table_below_knows_every_outcome():
    """A new outcome needs a line in this test."""
    assert EFFECTS.keys() == RULES.keys() == set(Outcome)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_the_effect_of_the_table(outcome):
    """Breaker, limiter, concurrency and switches do what the outcome table says, and nothing else."""

    async def scenario():
        desk = Desk(GuardSettings(requests_per_minute=60, max_concurrency=100))
        permit = await desk.admit()
        before = desk.openai.limiter.tokens
        assert desk.openai.in_flight == 1
        permit.report(outcome, elapsed_s=10.0)
        status = desk.openai
        assert (status.in_flight, status.waiting) == (0, 0)
        return Effect(
            failed=desk.breaker.counts.failed,
            frozen=status.limiter.frozen_s > 0,
            limit=status.limit,
            refunded=status.limiter.tokens == pytest.approx(before + 1),
            obstacle=desk.guards.predict("openai", MODEL, GENERATE).obstacle,
        ), desk.breaker.counts.calls

    effect, counted = virtual_time.run(scenario())

    assert effect == EFFECTS[outcome]
    assert counted == (outcome is Outcome.IMAGE or effect.failed)


def test_growth_follows_work_that_was_done():
    """An outcome that lets the limit grow neither fails the breaker nor touches the limiter."""
    for outcome in COMPLETED:
        assert RULES[outcome].breaker in (BreakerVerdict.OK, BreakerVerdict.IGNORE)
        assert RULES[outcome].limiter is LimiterEffect.NONE


@pytest.mark.parametrize(("elapsed_s", "slow_after_s", "slow"), [(50.0, 50.0, 0), (50.1, 50.0, 1), (1e6, None, 0)])
def test_a_picture_over_the_slow_limit_counts_as_slow(elapsed_s, slow_after_s, slow):
    """The slow limit is the call's own: a high-quality picture may take longer."""

    async def scenario():
        desk = Desk()
        permit = await desk.admit(slow_after_s=slow_after_s)
        permit.report(Outcome.IMAGE, elapsed_s=elapsed_s)
        return desk.breaker.counts

    counts = virtual_time.run(scenario())

    assert (counts.calls, counts.slow) == (1, slow)


@pytest.mark.parametrize(
    ("outcome", "retry_after_s", "frozen_s"),
    [
        (Outcome.RATE_LIMITED, 7.0, 7.0),
        (Outcome.RATE_LIMITED, 90_000.0, 3600.0),
        (Outcome.RATE_LIMITED, 0.0, 0.0),
        (Outcome.OVERLOADED, 7.0, 7.0),
        (Outcome.OVERLOADED, None, 0.0),
        (Outcome.SERVER_ERROR, 7.0, 0.0),
    ],
)
def test_retry_after_freezes(outcome, retry_after_s, frozen_s):
    """A provider that says when to come back is believed, up to an hour."""

    async def scenario():
        desk = Desk()
        await desk.call(outcome, retry_after_s=retry_after_s)
        return desk.openai.limiter.frozen_s

    assert virtual_time.run(scenario()) == frozen_s


def test_without_retry_after_the_freeze_doubles_from_1_to_60_s():
    """Half of 1, 2, 4 … 60 with these dice; a good call in between starts afresh."""

    async def scenario():
        desk, spans = Desk(), []
        for _ in range(8):
            await asyncio.sleep(0.1)
            await desk.call(Outcome.RATE_LIMITED)
            spans.append(desk.openai.limiter.frozen_s)
            await asyncio.sleep(spans[-1])
        await asyncio.sleep(0.1)
        await desk.call(Outcome.IMAGE)
        await desk.call(Outcome.RATE_LIMITED)
        return [*spans, desk.openai.limiter.frozen_s]

    assert virtual_time.run(scenario()) == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 0.5])


def test_calls_refused_together_are_one_piece_of_news():
    """Twenty 429s of calls that were in flight together freeze once and cut once."""

    async def scenario():
        desk = Desk(GuardSettings(max_concurrency=100))
        permits = [await desk.admit() for _ in range(20)]
        await asyncio.sleep(1)
        for permit in permits:
            permit.report(Outcome.RATE_LIMITED, elapsed_s=1.0)
        return desk.openai.limiter.frozen_s, desk.openai.limit

    assert virtual_time.run(scenario()) == (0.5, 70)


def test_the_cut_waits_for_the_median_call():
    """Pictures take 10 s here: the next cut comes 10 s after the first, not before."""

    async def scenario():
        desk, limits = Desk(GuardSettings(max_concurrency=100)), []
        for elapsed_s in (9.0, 10.0, 11.0):
            await desk.call(Outcome.IMAGE, elapsed_s=elapsed_s)
        for pause in (0, 9.9, 0.1):
            permits = [await desk.admit()]
            await asyncio.sleep(pause)
            permits[0].report(Outcome.OVERLOADED, elapsed_s=1.0)
            limits.append(desk.openai.limit)
        return limits

    assert virtual_time.run(scenario()) == [70, 70, 49]


def test_a_report_counts_once_and_ends_the_permit():
    """Five reports and a release of one call are one failure, one slot, one token."""

    async def scenario():
        desk = Desk(GuardSettings(requests_per_minute=60))
        other, permit = await desk.admit(), await desk.admit()
        for _ in range(5):
            permit.report(Outcome.SERVER_ERROR, elapsed_s=1.0)
        permit.release()
        in_flight = desk.openai.in_flight
        other.release()
        return desk.breaker.counts.failed, in_flight, desk.openai.limiter.tokens

    failed, in_flight, tokens = virtual_time.run(scenario())

    assert (failed, in_flight, tokens) == (1, 1, pytest.approx(5))


def test_leaving_the_block_without_a_report_gives_everything_back():
    """A permit that was never used leaves no trace, whatever went wrong."""

    async def scenario():
        desk = Desk(GuardSettings(requests_per_minute=60))
        await desk.call(Outcome.IMAGE)
        before = desk.here
        with pytest.raises(OSError, match="disk full"), await desk.admit():
            raise OSError("disk full")
        return before, desk.here

    before, after = virtual_time.run(scenario())

    assert after == before


# Refusals leave nothing behind


async def nothing(_desk: Desk) -> None:
    """Leave everything as it is."""


async def disabled(desk: Desk) -> None:
    desk.guards.disable("openai", "maintenance", for_s=100.0)


async def frozen(desk: Desk) -> None:
    await desk.call(Outcome.RATE_LIMITED, retry_after_s=20.0)


async def dry_bucket(desk: Desk) -> None:
    for _ in range(6):
        await desk.call(Outcome.IMAGE)


async def no_slot(desk: Desk) -> None:
    for _ in range(2):
        await desk.admit(model="another model")


async def half_open(desk: Desk) -> None:
    await desk.fail_until_open()
    await asyncio.sleep(desk.breaker.open_s)


async def half_open_and_frozen(desk: Desk) -> None:
    await half_open(desk)
    (await desk.admit(model="another model")).report(Outcome.RATE_LIMITED, elapsed_s=1.0, retry_after_s=20.0)


async def half_open_without_slot(desk: Desk) -> None:
    await half_open(desk)
    await no_slot(desk)


@pytest.mark.parametrize(
    ("prepare", "patience_s", "reason", "retry_after_s"),
    [
        pytest.param(disabled, None, ExclusionReason.DISABLED, 100.0, id="switched off"),
        pytest.param(Desk.fail_until_open, None, ExclusionReason.BREAKER_OPEN, 30.0, id="breaker open"),
        pytest.param(nothing, -0.1, ExclusionReason.DEADLINE, None, id="deadline passed"),
        pytest.param(frozen, 19.0, ExclusionReason.RATE_LIMITED, 20.0, id="frozen past the deadline"),
        pytest.param(dry_bucket, 0.1, ExclusionReason.RATE_LIMITED, 1 / 0.9, id="token past the deadline"),
        pytest.param(no_slot, 29.0, Reason.QUEUE_FULL, 30.0, id="slot past the deadline"),
        pytest.param(half_open_and_frozen, 19.0, ExclusionReason.RATE_LIMITED, 20.0, id="a probe that is frozen"),
        pytest.param(half_open_without_slot, 29.0, Reason.QUEUE_FULL, 30.0, id="a probe without a slot"),
    ],
)
def test_a_refusal_is_immediate_and_leaves_nothing_behind(prepare, patience_s, reason, retry_after_s):
    """The reason and the time to come back are said at once; no probe, token or slot stays taken."""

    async def scenario():
        desk = Desk(GuardSettings(requests_per_minute=60, max_concurrency=2))
        await prepare(desk)
        before, begin = (desk.here, desk.guards.predict("openai", MODEL, GENERATE)), virtual_time.now()
        refusal = await desk.refusal(patience_s=patience_s)
        assert virtual_time.now() == begin
        assert (desk.here, desk.guards.predict("openai", MODEL, GENERATE)) == before
        return refusal

    refusal = virtual_time.run(scenario())

    assert refusal.reason is reason
    assert refusal.retry_after_s == (None if retry_after_s is None else pytest.approx(retry_after_s))
    assert refusal.text


@pytest.mark.parametrize("prepare", [frozen, dry_bucket, no_slot, half_open_and_frozen, half_open_without_slot])
def test_a_cancelled_waiter_leaves_nothing_behind(prepare):
    """Wherever in the line he stood: no probe, token, slot or place stays taken."""

    async def scenario():
        desk = Desk(GuardSettings(requests_per_minute=60, max_concurrency=2))
        await prepare(desk)
        before = desk.here, desk.guards.predict("openai", MODEL, GENERATE)
        waiter = asyncio.create_task(desk.admit())
        await virtual_time.settle()
        assert desk.openai.waiting == 1
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        return before, (desk.here, desk.guards.predict("openai", MODEL, GENERATE))

    before, after = virtual_time.run(scenario())

    assert after == before


def test_a_slot_that_does_not_come_in_time_gives_the_token_back():
    """The prediction was too hopeful: the wait ends at the deadline, and the limiter is as full as before."""

    async def scenario():
        desk = Desk(GuardSettings(requests_per_minute=60, max_concurrency=2))
        await no_slot(desk)
        before = desk.openai.limiter.tokens
        refusal = await desk.refusal(patience_s=5.0, call_time_s=10.0)
        return refusal, before, desk.openai

    refusal, before, after = virtual_time.run(scenario())

    assert (refusal.reason, refusal.retry_after_s) == (Reason.QUEUE_FULL, 5.0)
    assert (after.waiting, after.in_flight) == (0, 2)
    assert after.limiter.tokens > before


def test_a_thousand_refusals_and_cancellations_never_move_the_breaker():
    """What says nothing about the engine's health is not heard."""

    async def scenario():
        desk = Desk()
        for number in range(1000):
            await desk.call((Outcome.REFUSED, Outcome.CANCELLED, Outcome.BAD_REQUEST, Outcome.NO_IMAGE)[number % 4])
            (await desk.admit()).release()
            waiter = asyncio.create_task(desk.admit())
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
        return desk.changes, desk.breaker.counts.calls

    assert virtual_time.run(scenario()) == ([], 0)


# Half open


def test_two_hundred_callers_find_the_engine_half_open():
    """One is sent, the others fall back at once; two paid probes bring everybody back."""

    async def scenario():
        desk = Desk()
        await half_open(desk)
        answers = await asyncio.gather(*(desk.admit() for _ in range(200)), return_exceptions=True)
        (probe,) = [answer for answer in answers if isinstance(answer, Permit)]
        assert {answer.reason for answer in answers if answer is not probe} == {ExclusionReason.BREAKER_OPEN}
        assert desk.openai.in_flight == 1
        probe.report(Outcome.IMAGE, elapsed_s=10.0)
        await desk.call(Outcome.IMAGE)
        return desk.breaker.state, len(await asyncio.gather(*(desk.admit() for _ in range(200))))

    assert virtual_time.run(scenario()) == (BreakerState.CLOSED, 200)


def test_a_refused_or_withdrawn_probe_lets_the_next_one_probe():
    """Neither closes nor opens, and neither keeps the place."""

    async def scenario():
        desk = Desk()
        await half_open(desk)
        for outcome in (Outcome.REFUSED, Outcome.CANCELLED, Outcome.RATE_LIMITED, Outcome.SHUTDOWN):
            await desk.call(outcome, retry_after_s=0.0)
        (await desk.admit()).release()
        return desk.breaker.state

    assert virtual_time.run(scenario()) is BreakerState.HALF_OPEN


def test_an_outage_costs_five_failed_calls_one_after_the_other():
    """The sixth caller is refused before anything is sent."""

    async def scenario():
        desk, sent = Desk(), 0
        for _ in range(50):
            try:
                await desk.call(Outcome.SERVER_ERROR)
                sent += 1
            except NotAdmitted:
                pass
        return sent

    assert virtual_time.run(scenario()) == 5


# What happens while somebody waits


async def open_the_breaker(desk: Desk) -> None:
    breaker = desk.guards._guards["openai"].breakers.get(("openai", MODEL, GENERATE))
    breaker._open()


async def switch_off(desk: Desk) -> None:
    desk.guards.disable("openai", "maintenance")


async def freeze_for_long(desk: Desk) -> None:
    desk.guards._guards["openai"].limiter.freeze(virtual_time.now() + 60)


@pytest.mark.parametrize(
    ("event", "reason", "after_s"),
    [
        pytest.param(open_the_breaker, ExclusionReason.BREAKER_OPEN, 20.0, id="the engine fails"),
        pytest.param(switch_off, ExclusionReason.DISABLED, 20.0, id="the operator switches it off"),
        pytest.param(freeze_for_long, ExclusionReason.RATE_LIMITED, 5.0, id="a freeze beyond the queue's bound"),
    ],
)
def test_whoever_waited_is_not_sent_into_what_happened_meanwhile(event, reason, after_s):
    """The waiter is refused and can fall back; his token and slot are free again."""

    async def scenario():
        desk = Desk(GuardSettings(requests_per_minute=5))
        await frozen(desk)
        begin = virtual_time.now()
        waiter = asyncio.create_task(desk.admit())
        await asyncio.sleep(5)
        await event(desk)
        with pytest.raises(NotAdmitted) as refusal:
            await waiter
        return refusal.value.reason, virtual_time.now() - begin, desk.openai.in_flight, desk.openai.limiter.tokens

    assert virtual_time.run(scenario()) == (reason, after_s, 0, pytest.approx(min(1, after_s * 4.5 / 60)))


def test_a_line_in_front_of_a_failed_engine_dissolves_at_once():
    """The first waiter who is refused hands his token on, so all are told in the same moment."""

    async def scenario():
        desk = Desk(GuardSettings(requests_per_minute=60))
        await frozen(desk)
        waiters = [asyncio.create_task(desk.admit()) for _ in range(15)]
        await asyncio.sleep(5)
        await open_the_breaker(desk)
        answers = await asyncio.gather(*waiters, return_exceptions=True)
        return {answer.reason for answer in answers}, desk.openai.limiter.frozen_s, desk.openai.in_flight

    assert virtual_time.run(scenario()) == ({ExclusionReason.BREAKER_OPEN}, 0.0, 0)


def test_nobody_is_sent_into_a_freeze_that_came_while_he_waited_for_a_slot():
    """With his token in hand he waits for the end of the freeze, without holding a slot."""

    async def scenario():
        desk, begin = Desk(GuardSettings(max_concurrency=2)), virtual_time.now()
        first, second = await desk.admit(), await desk.admit()
        waiter = asyncio.create_task(desk.admit(call_time_s=10.0))
        await asyncio.sleep(5)
        first.report(Outcome.RATE_LIMITED, elapsed_s=5.0, retry_after_s=20.0)
        second.release()
        await virtual_time.settle()
        assert desk.openai.in_flight == 0
        await waiter
        return virtual_time.now() - begin

    assert virtual_time.run(scenario()) == 25.0


# The queue


def test_with_defaults_256_calls_go_at_once_and_nobody_is_told_to_wait():
    """No quota and a free slot: no queue, and no time."""

    async def scenario():
        desk, told = Desk(), []
        begin = virtual_time.now()
        await asyncio.gather(*(desk.admit(on_queued=lambda *wait: told.append(wait)) for _ in range(256)))
        return desk.openai.in_flight, told, virtual_time.now() - begin

    assert virtual_time.run(scenario()) == (256, [], 0.0)


def test_a_waiter_is_told_who_is_before_him_and_his_time():
    """Once each, before the wait: nobody is before the first; the limiter's prediction is the real start."""

    async def scenario():
        desk, told, starts = Desk(GuardSettings(requests_per_minute=60)), [], []
        await dry_bucket(desk)
        begin = virtual_time.now()

        async def caller():
            await desk.admit(on_queued=lambda *wait: told.append(wait))
            starts.append(virtual_time.now() - begin)

        await asyncio.gather(*(caller() for _ in range(3)))
        return told, starts

    told, starts = virtual_time.run(scenario())

    assert [before for before, _ in told] == [0, 1, 2]
    assert [wait_s for _, wait_s in told] == pytest.approx(starts)


def test_the_queue_holds_two_waiters_per_slot_of_the_whole_gateway():
    """Two slots of one provider and one of the other: six may wait, the seventh is refused."""

    async def scenario():
        desk = Desk(GuardSettings(max_concurrency=2))
        await no_slot(desk)
        line = [asyncio.create_task(desk.admit(call_time_s=1.0)) for _ in range(6)]
        await virtual_time.settle()
        refusal = await desk.refusal(call_time_s=1.0)
        for waiter in line:
            waiter.cancel()
        await asyncio.gather(*line, return_exceptions=True)
        return refusal.reason, refusal.retry_after_s

    assert virtual_time.run(scenario()) == (Reason.QUEUE_FULL, 3.5)


def test_fallbacks_leave_the_engine_to_its_own_callers():
    """Of ten slots three may be held by calls that fell back from the other engine."""

    async def scenario():
        desk = Desk(GuardSettings(max_concurrency=10))
        for _ in range(3):
            await desk.admit(is_fallback=True)
        refusal = await desk.refusal(is_fallback=True, patience_s=1.0)
        for _ in range(7):
            await desk.admit()
        return refusal.reason

    assert virtual_time.run(scenario()) is Reason.QUEUE_FULL


# Switches, prediction, status


def test_enabling_clears_everything():
    """Breaker, freeze, unfunded, refused key and tripped model: the operator knows better."""

    async def scenario():
        desk = Desk()
        await desk.fail_until_open()
        other = await desk.admit(model="another model")
        other.report(Outcome.RATE_LIMITED, elapsed_s=1.0, retry_after_s=100.0)
        for switch_off_by in (Outcome.UNFUNDED, Outcome.MODEL_REFUSED, Outcome.KEY_REFUSED):
            desk.guards._guards["openai"]._switch_off(RULES[switch_off_by].breaker, MODEL)
        desk.guards.disable("openai", "maintenance")
        desk.guards.enable("openai")
        await desk.admit()
        return desk.openai

    status = virtual_time.run(scenario())

    assert status.enabled
    assert (status.unfunded_s, status.tripped_models, status.limiter.frozen_s) == (0.0, {}, 0.0)
    assert {breaker.state for breaker in status.breakers} == {BreakerState.CLOSED}


@pytest.mark.parametrize("outcome", [Outcome.KEY_REFUSED, Outcome.UNFUNDED, Outcome.MODEL_REFUSED])
def test_calls_of_an_earlier_life_of_the_account_switch_nothing_off(outcome):
    """The old key's last calls come back after the new key was loaded; they say nothing about it."""

    async def scenario():
        desk = Desk()
        permits = [await desk.admit(), await desk.admit()]
        desk.guards.secrets_reloaded("openai")
        permits[0].report(outcome, elapsed_s=1.0)
        desk.guards.enable("openai")
        permits[1].report(outcome, elapsed_s=1.0)
        return desk.guards.predict("openai", MODEL, GENERATE).obstacle, desk.alerts

    assert virtual_time.run(scenario()) == (None, [])


def test_a_prediction_takes_nothing():
    """The router asks as often as it likes; what it is told is what a call would meet."""

    async def scenario():
        desk = Desk(GuardSettings(requests_per_minute=5))
        free = desk.guards.predict("openai", MODEL, GENERATE)
        before = desk.openai.limiter
        await desk.call(Outcome.IMAGE)
        busy = desk.guards.predict("openai", MODEL, GENERATE)
        await asyncio.sleep(busy.wait_s)
        return free.wait_s, busy.wait_s, before, desk.openai.limiter

    free_s, busy_s, before, after = virtual_time.run(scenario())

    assert (free_s, busy_s) == (0.0, pytest.approx(60 / 4.5))
    assert after.tokens == pytest.approx(before.tokens)


def test_the_status_shows_what_an_operator_needs():
    """Breakers by model and operation, limiter level, in flight, limit, error share, switches."""

    async def scenario():
        desk = Desk(GuardSettings(requests_per_minute=60, max_concurrency=100))
        await desk.admit()
        for outcome in (Outcome.IMAGE, Outcome.IMAGE, Outcome.IMAGE, Outcome.SERVER_ERROR):
            await desk.call(outcome)
        desk.guards.disable("openai", "maintenance", for_s=60.0)
        await asyncio.sleep(20)
        return desk.guards.status()

    openai, gemini = virtual_time.run(scenario())

    assert (openai.provider, openai.in_flight, openai.limit, openai.error_share) == ("openai", 1, 100, 0.25)
    assert (openai.enabled, openai.disabled_reason, openai.disabled_s) == (False, "maintenance", 40.0)
    assert (openai.limiter.burst, openai.limiter.tokens) == (pytest.approx(6), pytest.approx(6))
    assert [(b.key.model, b.key.operation, b.state) for b in openai.breakers] == [
        (MODEL, GENERATE, BreakerState.CLOSED)
    ]
    assert (gemini.enabled, gemini.limiter.burst, gemini.breakers, gemini.error_share) == (True, None, (), 0.0)


def test_a_fast_path_that_costs_next_to_nothing():
    """Admit and report without a wait are well below a millisecond of the processor's time."""

    async def scenario():
        desk = Desk(GuardSettings(requests_per_minute=1e9))
        begin = time.process_time()
        for _ in range(2000):
            await desk.call(Outcome.IMAGE)
        return (time.process_time() - begin) / 2000

    assert virtual_time.run(scenario()) < 0.001
