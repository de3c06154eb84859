"""Concurrency: cuts, growth, the share of fallbacks, and waiting in line. In virtual time."""

import asyncio
from collections.abc import Coroutine

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import virtual_time
from pictord.resilience.concurrency import Concurrency, ConcurrencySettings, NoSlot, Slot


def concurrency_of(ceiling: int) -> Concurrency:
    return Concurrency(ConcurrencySettings(ceiling), clock=virtual_time.now)


async def taken(concurrency: Concurrency, count: int, *, is_fallback: bool = False) -> list[Slot]:
    return [await concurrency.acquire(virtual_time.now(), is_fallback=is_fallback) for _ in range(count)]


def waiting(call: Coroutine[None, None, Slot]) -> "asyncio.Task[Slot]":
    return asyncio.ensure_future(call)


def test_by_default_512_calls_go_at_once():
    """Nothing is known against a provider at first, and 256 in flight is a goal."""

    async def scenario():
        concurrency = Concurrency(ConcurrencySettings(), clock=virtual_time.now)
        await taken(concurrency, 512)
        with pytest.raises(NoSlot):
            await concurrency.acquire(virtual_time.now())

    virtual_time.run(scenario())


@pytest.mark.parametrize(("before", "after"), [(100, 70), (10, 7), (3, 2), (2, 1), (1, 1)])
def test_a_cut_leaves_seven_tenths_and_never_less_than_one(before, after):
    """The provider said it is too much."""

    async def scenario():
        concurrency = concurrency_of(before)
        concurrency.shrink(30)
        return concurrency.limit

    assert virtual_time.run(scenario()) == after


def test_at_most_one_cut_per_call_time():
    """Twenty calls refused together are one piece of news; the next cut waits for the calls of the new limit."""

    async def scenario():
        concurrency, limits = concurrency_of(100), []
        for pause in (0, 0, 0, 29.9, 0.1, 0):
            await asyncio.sleep(pause)
            concurrency.shrink(30)
            limits.append(concurrency.limit)
        return limits

    assert virtual_time.run(scenario()) == [70, 70, 70, 70, 49, 49]


@pytest.mark.parametrize(
    ("in_flight", "completed", "limit"),
    [
        pytest.param(35, True, 71, id="half in use: grows by one"),
        pytest.param(34, True, 70, id="less than half in use: what would it be for"),
        pytest.param(70, False, 70, id="not completed: does not grow"),
    ],
)
def test_it_grows_with_completed_calls_while_it_is_used(in_flight, completed, limit):
    """One more for each call that came back well."""

    async def scenario():
        concurrency = concurrency_of(100)
        concurrency.shrink(30)
        slots = await taken(concurrency, in_flight)
        slots[0].release(completed=completed)
        return concurrency.limit

    assert virtual_time.run(scenario()) == limit


def test_it_grows_back_to_the_ceiling_and_no_further():
    """After the outage everything is as before."""

    async def scenario():
        concurrency = concurrency_of(10)
        concurrency.shrink(30)
        for _ in range(20):
            for slot in await taken(concurrency, concurrency.limit):
                slot.release(completed=True)
        return concurrency.limit

    assert virtual_time.run(scenario()) == 10


@pytest.mark.parametrize(("ceiling", "fallbacks"), [(100, 30), (10, 3), (4, 1), (3, 1), (1, 1)])
def test_fallbacks_hold_at_most_three_tenths_of_the_slots(ceiling, fallbacks):
    """The other engine's outage leaves room for this one's own callers; but at least one fallback may go."""

    async def scenario():
        concurrency = concurrency_of(ceiling)
        await taken(concurrency, fallbacks, is_fallback=True)
        with pytest.raises(NoSlot):
            await concurrency.acquire(virtual_time.now(), is_fallback=True)
        await taken(concurrency, ceiling - fallbacks)

    virtual_time.run(scenario())


def test_a_fallback_that_must_wait_holds_up_nobody():
    """Callers behind it who may go, go; it goes first when a fallback ends."""

    async def scenario():
        concurrency = concurrency_of(10)
        first, *_ = await taken(concurrency, 3, is_fallback=True)
        fallback = waiting(concurrency.acquire(is_fallback=True))
        await virtual_time.settle()
        await taken(concurrency, 7)
        own = waiting(concurrency.acquire())
        await virtual_time.settle()
        first.release()
        await virtual_time.settle()
        went = fallback.done(), own.done()
        own.cancel()
        return went

    assert virtual_time.run(scenario()) == (True, False)


def test_a_deadline_ends_the_wait():
    """Whoever gets no slot in time is told so, at that moment, and leaves the line."""

    async def scenario():
        concurrency, begin = concurrency_of(1), virtual_time.now()
        (slot,) = await taken(concurrency, 1)
        late = waiting(concurrency.acquire(begin + 5))
        patient = waiting(concurrency.acquire())
        with pytest.raises(NoSlot):
            await late
        assert (virtual_time.now() - begin, concurrency.waiting) == (5.0, 1)
        slot.release()
        await patient
        assert concurrency.in_flight == 1

    virtual_time.run(scenario())


def test_a_slot_is_released_once():
    """Two releases of one slot do not let two callers in."""

    async def scenario():
        concurrency = concurrency_of(2)
        slot, _ = await taken(concurrency, 2)
        slot.release()
        slot.release()
        return concurrency.in_flight

    assert virtual_time.run(scenario()) == 1


def test_a_cancelled_caller_whose_slot_was_on_its_way_loses_nothing():
    """Cancelled between the wake-up and his next step, he hands the slot on."""

    async def scenario():
        concurrency = concurrency_of(1)
        (slot,) = await taken(concurrency, 1)
        unlucky, next_one = waiting(concurrency.acquire()), waiting(concurrency.acquire())
        await virtual_time.settle()
        slot.release()
        unlucky.cancel()
        await next_one
        return concurrency.in_flight, concurrency.waiting

    assert virtual_time.run(scenario()) == (1, 0)


def test_the_wait_is_predicted_from_the_line():
    """With two slots and calls of ten seconds, a slot frees every five."""

    async def scenario():
        concurrency = concurrency_of(2)
        predicted = [concurrency.predict(is_fallback=False, call_time_s=10)]
        await taken(concurrency, 2)
        for _ in range(3):
            predicted.append(concurrency.predict(is_fallback=False, call_time_s=10))
            line = waiting(concurrency.acquire())
            await virtual_time.settle()
            assert not line.done()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        return predicted

    assert virtual_time.run(scenario()) == [0.0, 5.0, 10.0, 15.0]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.booleans(), st.sampled_from([None, 0.0, 5.0])),
        st.tuples(st.just("end"), st.integers(0, 50), st.booleans()),
        st.tuples(st.just("cancel"), st.integers(0, 50), st.none()),
        st.tuples(st.just("end and cancel"), st.integers(0, 50), st.none()),
        st.tuples(st.just("shrink"), st.none(), st.none()),
        st.tuples(st.just("pass"), st.none(), st.none()),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(ceiling=st.integers(1, 12), steps=STEPS)
def test_any_history_keeps_the_limit_the_share_and_the_order(ceiling, steps):
    """Nobody gets in over the limit or the share, each line is served in order, and in the end all is free again."""

    async def scenario():
        concurrency = concurrency_of(ceiling)
        admitted: list[tuple[int, bool]] = []
        running: list[Slot] = []
        line: list[asyncio.Task[None]] = []

        async def call(number, is_fallback, patience):
            deadline = None if patience is None else virtual_time.now() + patience
            try:
                slot = await concurrency.acquire(deadline, is_fallback=is_fallback)
            except NoSlot:
                return
            admitted.append((number, is_fallback))
            running.append(slot)

        limit_at_last_admission = ceiling
        for number, (kind, first, second) in enumerate(steps):
            before, limit = len(admitted), concurrency.limit
            if kind == "come":
                line.append(asyncio.create_task(call(number, first, second)))
            if kind in ("end", "end and cancel") and running:
                running.pop(first % len(running)).release(completed=bool(second))
            if kind in ("cancel", "end and cancel") and line:
                line[first % len(line)].cancel()
            if kind == "shrink":
                concurrency.shrink(1.0)
            await (asyncio.sleep(1) if kind == "pass" else virtual_time.settle())
            assert 1 <= concurrency.limit <= ceiling
            assert concurrency.in_flight == len(running)
            if len(admitted) > before:
                assert len(running) <= max(limit, concurrency.limit)
                limit_at_last_admission = max(limit, concurrency.limit)
            if any(is_fallback for _, is_fallback in admitted[before:]):
                held = sum(slot.is_fallback for slot in running)
                assert held <= max(1, int(0.3 * limit_at_last_admission))
            if concurrency.in_flight < concurrency.limit:
                assert concurrency.predict(is_fallback=False, call_time_s=1) == 0
        for own in (True, False):
            numbers = [number for number, is_fallback in admitted if is_fallback is own]
            assert numbers == sorted(numbers)
        while not all(task.done() for task in line):
            running.pop(0).release()
            await virtual_time.settle()
        for slot in running:
            slot.release()
        assert (concurrency.in_flight, concurrency.waiting) == (0, 0)

    virtual_time.run(scenario())
