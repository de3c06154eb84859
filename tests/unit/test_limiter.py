"""The limiter by example: quota, order, deadline, cancel, refund, freeze. All in virtual time."""

import asyncio

import pytest

import virtual_time
from pictord.resilience.limiter import Limiter, LimiterPermit, LimiterSettings, TooLate


def limiter_of(quota: float | None) -> Limiter:
    """A limiter on the running loop's clock."""
    return Limiter(LimiterSettings(requests_per_minute=quota), clock=virtual_time.now)


async def starts_of(limiter: Limiter, count: int) -> list[float]:
    """When each of `count` callers who come now starts, in seconds from now, in their order."""
    begin = virtual_time.now()

    async def one() -> float:
        await limiter.admit()
        return virtual_time.now() - begin

    return list(await asyncio.gather(*(one() for _ in range(count))))


@pytest.mark.parametrize(
    ("requests", "images", "quota"),
    [(None, None, None), (60.0, None, 60.0), (None, 5.0, 5.0), (60.0, 5.0, 5.0), (5.0, 60.0, 5.0)],
)
def test_the_lower_of_two_quotas_counts(requests, images, quota):
    """One send is one request and one picture, so the lower quota decides."""
    assert LimiterSettings(requests, images).quota_per_minute == quota


def test_a_burst_of_10_percent_then_90_percent_of_the_quota():
    """60 per minute: six at once, then nine every ten seconds."""

    async def scenario():
        return await starts_of(limiter_of(60), 10)

    starts = virtual_time.run(scenario())

    # b = 6 and T = 1.11 s: the seventh needs one token more than there is.
    expected = [0.0] * 6 + [(n - 6) / 0.9 for n in (7, 8, 9, 10)]
    assert starts == pytest.approx(expected)


def test_a_tiny_quota_starts_one_by_one():
    """5 per minute (the lowest OpenAI tier): one at once, then one every 13.3 s, so that no minute sees a sixth."""

    async def scenario():
        return await starts_of(limiter_of(5), 6)

    assert virtual_time.run(scenario()) == pytest.approx([n * 60 / 4.5 for n in range(6)])


def test_without_a_quota_nobody_waits():
    """No bucket unless a quota is configured."""

    async def scenario():
        return await starts_of(limiter_of(None), 1000)

    assert set(virtual_time.run(scenario())) == {0.0}


def test_a_newcomer_does_not_overtake():
    """Whoever comes in the very moment a token is ready waits behind the line (aiolimiter lets him through)."""

    async def scenario():
        limiter, order = limiter_of(5), []

        async def caller(name):
            await limiter.admit()
            order.append(name)

        await caller("first")
        line = [asyncio.create_task(caller(number)) for number in range(3)]
        await virtual_time.settle()
        # The loop is a little late: the next token is ready, and the line does not know yet.
        asyncio.get_running_loop()._now += 60 / 4.5
        await caller("newcomer")
        await asyncio.gather(*line)
        return order

    assert virtual_time.run(scenario()) == ["first", 0, 1, 2, "newcomer"]


def test_too_late_is_said_at_once():
    """A caller whose predicted start is past his deadline is refused without waiting and without taking anything."""

    async def scenario():
        limiter = limiter_of(5)
        await limiter.admit()
        with pytest.raises(TooLate) as refusal:
            await limiter.admit(deadline=virtual_time.now() + 13)
        assert refusal.value.wait_s == pytest.approx(60 / 4.5)
        assert limiter.waiting == 0
        return await starts_of(limiter, 1)

    assert virtual_time.run(scenario()) == pytest.approx([60 / 4.5])


def test_a_freeze_refuses_those_whom_it_makes_late():
    """A freeze that moves a waiter's start past his deadline sends him away at once; patient ones stay in order."""

    async def scenario():
        limiter, begin, ends, waits = limiter_of(5), virtual_time.now(), [], []
        await limiter.admit()

        async def caller(name, deadline):
            try:
                await limiter.admit(deadline)
                ends.append((name, "started", virtual_time.now() - begin))
            except TooLate as late:
                ends.append((name, "refused", virtual_time.now() - begin))
                waits.append(late.wait_s)

        tasks = [
            asyncio.create_task(caller("hasty", begin + 20)),
            asyncio.create_task(caller("patient", None)),
            asyncio.create_task(caller("exact", begin + 60 + 60 / 4.5)),
        ]
        await asyncio.sleep(5)
        limiter.freeze(begin + 60)
        await asyncio.gather(*tasks)
        assert waits == [pytest.approx(55 + 2 * 60 / 4.5)]
        return ends

    assert virtual_time.run(scenario()) == [
        ("hasty", "refused", 5.0),
        ("patient", "started", 60.0),
        ("exact", "started", pytest.approx(60 + 60 / 4.5)),
    ]


def test_after_a_freeze_no_more_than_the_burst():
    """However long the freeze, the bucket is full at its end, not fuller (a first version let one more through)."""

    async def scenario():
        limiter = limiter_of(60)
        await starts_of(limiter, 12)
        line = asyncio.create_task(starts_of(limiter, 30))
        await asyncio.sleep(0.5)
        limiter.freeze(virtual_time.now() + 100)
        return await line

    starts = virtual_time.run(scenario())

    assert starts[0] == pytest.approx(100.5)
    assert sum(1 for start in starts if start < 100.6) == 6


def test_thawing_lets_the_line_go():
    """When the operator ends a freeze, waiters start without delay."""

    async def scenario():
        limiter = limiter_of(None)
        limiter.freeze(virtual_time.now() + 100)
        assert (limiter.predict(), limiter.frozen_s()) == (100.0, 100.0)
        line = asyncio.create_task(starts_of(limiter, 3))
        await asyncio.sleep(1)
        limiter.thaw()
        return await line

    assert virtual_time.run(scenario()) == [1.0, 1.0, 1.0]


def test_a_refund_goes_to_the_next_in_line():
    """A call that was never sent gives its place to whoever waits longest, at once."""

    async def scenario():
        limiter = limiter_of(5)
        permit = await limiter.admit()
        line = asyncio.create_task(starts_of(limiter, 2))
        await asyncio.sleep(1)
        permit.refund()
        return await line

    assert virtual_time.run(scenario()) == pytest.approx([1.0, 1.0 + 60 / 4.5])


def test_a_refund_that_is_too_late_is_worth_nothing():
    """Once another call has started in its stead, a refund must not let two start together."""

    async def scenario():
        limiter = limiter_of(5)
        early = await limiter.admit()
        await limiter.admit()
        early.refund()
        return await starts_of(limiter, 2)

    assert virtual_time.run(scenario()) == pytest.approx([60 / 4.5, 2 * 60 / 4.5])


def test_a_permit_is_refunded_once():
    """A second refund of the same permit changes nothing."""

    async def scenario():
        limiter = limiter_of(60)
        permits = [await limiter.admit() for _ in range(6)]
        permits[3].refund()
        permits[3].refund()
        return await starts_of(limiter, 2)

    assert virtual_time.run(scenario()) == pytest.approx([0.0, 1 / 0.9])


def test_a_whole_burst_can_be_refunded():
    """Six calls that failed to connect leave the bucket as full as before, in whatever order they fail."""

    async def scenario():
        limiter = limiter_of(60)
        permits = [await limiter.admit() for _ in range(6)]
        for which in (4, 0, 1, 2, 3, 5):
            permits[which].refund()
        return await starts_of(limiter, 6)

    assert virtual_time.run(scenario()) == [0.0] * 6


def test_a_cancelled_caller_whose_permit_was_on_its_way_loses_nothing():
    """Cancelled between the wake-up and his next step, he hands his place on."""

    async def scenario():
        limiter = limiter_of(5)
        permit = await limiter.admit()
        unlucky = asyncio.create_task(limiter.admit())
        next_one = asyncio.create_task(limiter.admit())
        await virtual_time.settle()
        begin = virtual_time.now()
        permit.refund()  # wakes the unlucky one ...
        unlucky.cancel()  # ... who is cancelled before he runs
        assert isinstance(await next_one, LimiterPermit)
        assert unlucky.cancelled()
        return virtual_time.now() - begin

    assert virtual_time.run(scenario()) == 0.0


def test_a_hundred_thousand_cancelled_waiters_leave_nothing_behind():
    """They keep no place in line and no timer, and the one who stays starts when he was told."""

    async def scenario():
        limiter, loop = limiter_of(5), asyncio.get_running_loop()
        await limiter.admit()
        begin = virtual_time.now()
        survivor = asyncio.create_task(limiter.admit())
        for _ in range(10):
            crowd = [asyncio.create_task(limiter.admit()) for _ in range(10_000)]
            await asyncio.sleep(0)
            assert limiter.waiting == 10_001
            for task in crowd:
                task.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert limiter.waiting == 1
            assert len(loop._scheduled) == 1
        await survivor
        return virtual_time.now() - begin

    assert virtual_time.run(scenario()) == pytest.approx(60 / 4.5)


def test_when_the_loop_is_late_nobody_starts_past_his_deadline():
    """A loop that was busy past a waiter's deadline refuses him instead of spending a token on him."""

    async def scenario():
        limiter, begin = limiter_of(5), virtual_time.now()
        await limiter.admit()
        waiter = asyncio.create_task(limiter.admit(deadline=begin + 14))
        await asyncio.sleep(13)
        asyncio.get_running_loop()._now += 2  # something blocked the loop
        with pytest.raises(TooLate):
            await waiter
        return limiter.bucket.tokens(virtual_time.now())

    assert virtual_time.run(scenario()) == pytest.approx(1.0)
