"""A set whose gateway is killed and comes back with its memory: the client's own resuming, over real processes."""

import asyncio
from collections import Counter

import pictor
from cable import cable
from gateway import NANO
from mortal import nursery
from pictord.sandbox import SandboxSettings, run

ITEMS = {f"slide-{number}": f"a fox on slide {number}" for number in range(1, 7)}


async def test_a_set_outlives_a_gateway_that_was_killed(tmp_path):
    """Some of it was drawn and some was at the engine; each item ends once, and nothing is sent twice."""
    back = asyncio.Event()

    async def sleep(_):
        await back.wait()

    async def draw(client):
        steps = client.generate_set("a fox", ITEMS, resolution="512", model=NANO, preview_count=0)
        return [step async for step in steps]

    with nursery() as born:
        async with run(SandboxSettings(time_scale=0)) as engines:
            engines.faults.add("stall", times=3)
            async with (
                born.gateway(engines, tmp_path) as first,
                cable(first.address) as line,
                pictor.Client(line.address, sleep=sleep) as client,
            ):
                drawing = asyncio.create_task(draw(client))
                await engines.wait_for_stalls(3)
                await engines.wait_for_charges(3)
                first.kill()
                await first.dead()
                async with born.gateway(engines, tmp_path) as second:
                    line.plug(second.address)
                    line.cut()
                    back.set()
                    steps = await drawing
                engines.release_stalls()

    ends = [
        (step.item_key, step.reason if isinstance(step, pictor.SetItemFailed) else "")
        for step in steps
        if isinstance(step, pictor.SetItemFailed)
        or (isinstance(step, pictor.SetStep) and isinstance(step.event, pictor.Image))
    ]
    assert sorted(item for item, _ in ends) == sorted(ITEMS)
    assert {reason for _, reason in ends} <= {"", "SHUTTING_DOWN"}
    sent = Counter(request.prompt for request in engines.requests)  # one may have been about to be sent, and never was
    assert set(sent.values()) == {1}
    assert {ITEMS[item] for item, reason in ends if not reason} <= set(sent)
    summary = steps[-1].raw.summary
    assert summary.succeeded_count + summary.failed_count == len(ITEMS)
    assert summary.cost.amount.nanos >= sum(charge.nanos for charge in engines.charges if charge.billed)
