"""The open loop, in virtual time: calls start when they are due, and what waited is seen.

The server here answers in 0.1 s, but stands still from the 10th to the 15th second of every run.
"""

import asyncio

import pytest

import virtual_time
from pictor_loadtest import mix
from pictor_loadtest.arrivals import Rate, Spacing
from pictor_loadtest.figures import metrics, timeline
from pictor_loadtest.generator import Generator
from pictor_loadtest.record import INTERRUPTED, NOT_SENT, Made, Spent
from pictor_loadtest.schedule import Load

MIX = mix.read("one", b"prompts = ['a fox']\n[shapes.plain]\nweight = 1")
MADE = Made("standard", "m", 1, ((0, "m", "image"),), 10, 0, Spent(0.0, 0.1, 0.0, 0.0), is_sandbox=True)
STALL_FROM_S, STALL_UNTIL_S, ANSWER_S = 10.0, 15.0, 0.1


def schedule(rate=10, duration_s=30.0, spacing=Spacing.EVEN):
    return Load(MIX, Rate(rate, rate), duration_s, spacing, seed=1, max_in_flight=1).schedule()


def driven(calls, *, max_in_flight, may=lambda _: "", fails_at=()):
    """The generator after a run against the server that stands still for five seconds."""

    async def run():
        began_at = asyncio.get_running_loop().time()

        async def send(record):
            now_s = asyncio.get_running_loop().time() - began_at
            stall = STALL_UNTIL_S - now_s if STALL_FROM_S <= now_s < STALL_UNTIL_S else 0.0
            await asyncio.sleep(stall + ANSWER_S)
            record.made = MADE
            if record.due.number in fails_at:
                record.reason = "PROVIDER_FAILED"

        generator = Generator(send, max_in_flight=max_in_flight, may=may)
        await generator.run(calls)
        return generator

    return virtual_time.run(run())


def test_every_call_is_sent_when_it_is_due():
    """Nobody waits for an answer: five seconds of silence change no sending time."""
    records = driven(schedule(), max_in_flight=1000).records

    assert len(records) == 300
    assert [record.sent_s for record in records] == pytest.approx([record.due.at_s for record in records])
    assert not any(record.was_held_back for record in records)


def test_a_stalled_server_is_seen_by_every_call_that_it_keeps_waiting():
    """Fifty of 300 calls fall into the stall and wait 2.5 s in the mean; a closed loop would have sent one of them."""
    found = metrics(driven(schedule(), max_in_flight=1000).records, 30.0)

    assert found["latency_p50"] == pytest.approx(0.1)
    assert found["latency_p90"] == pytest.approx(2.0, abs=0.15)
    assert found["latency_p99"] == pytest.approx(4.85, abs=0.15)
    assert found["latency_max"] == pytest.approx(5.05, abs=0.06)


def test_what_the_bound_in_flight_makes_wait_is_in_the_latencies_and_reported():
    """With one place it is a closed loop that sends one call into the stall: the latency tells, the call does not."""
    records = driven(schedule(rate=5), max_in_flight=1).records
    found = metrics(records, 30.0)

    assert len(records) == 150
    assert found["call_p99"] == pytest.approx(0.1)  # what coordinated omission would have reported
    assert found["latency_p90"] > 2.5
    assert found["delay_p90"] > 2.5
    assert 40 < sum(record.was_held_back for record in records) < 60
    assert max(timeline(records, 30.0)["waiting"]) > 15


def test_calls_that_wait_go_in_order():
    records = driven(schedule(), max_in_flight=1).records
    sent = [record.sent_s for record in records]

    assert sent == sorted(sent)


def test_there_are_never_more_in_flight_than_the_bound():
    records = driven(schedule(rate=40), max_in_flight=7).records
    changes = sorted([(r.sent_s, 1) for r in records] + [(r.ended_s, -1) for r in records])
    level, highest = 0, 0
    for _, change in changes:
        level += change
        highest = max(highest, level)

    assert highest == 7


def test_a_run_that_must_stop_sends_nothing_more_and_keeps_what_it_has():
    """Calls that wait for a place when the run stops are reported as never sent."""
    left = 20

    def may(_due):
        nonlocal left
        left -= 1
        return "enough" if left < 0 else ""

    generator = driven(schedule(rate=100), max_in_flight=5, may=may)
    sent = [record for record in generator.records if record.sent_s is not None]
    unsent = [record for record in generator.records if record.sent_s is None]

    assert generator.stopped_because == "enough"
    assert len(sent) == 20
    assert all(record.is_good for record in sent)
    assert unsent
    assert all(record.reason == NOT_SENT and not record.is_good for record in unsent)
    assert len(generator.records) < 100


def test_a_run_that_is_cut_off_calls_nothing_good_that_has_no_answer():
    """Calls on their way are `INTERRUPTED` and may have cost something; those that waited were never sent."""

    async def run():
        generator = Generator(lambda _: asyncio.sleep(1000), max_in_flight=3)
        running = asyncio.create_task(generator.run(schedule()))
        await asyncio.sleep(0.95)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return generator.records

    records = virtual_time.run(run())

    assert [record.reason for record in records] == [INTERRUPTED] * 3 + [NOT_SENT] * 6
    assert [record.may_have_cost for record in records] == [True] * 3 + [False] * 6
    assert not any(record.is_good for record in records)


def test_failures_count_as_errors_and_their_quickness_for_nothing():
    found = metrics(driven(schedule(), max_in_flight=1000, fails_at=range(0, 300, 3)).records, 30.0)

    assert found["errors"] == pytest.approx(1 / 3)
    assert found["throughput"] == pytest.approx(200 / 30.05, rel=0.01)


def test_poisson_calls_are_sent_when_they_are_due_too():
    records = driven(schedule(rate=50, spacing=Spacing.POISSON), max_in_flight=10_000).records

    assert all(record.sent_s == pytest.approx(record.due.at_s) for record in records)
