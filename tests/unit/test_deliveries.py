"""How long a server that stops waits for those who are still being sent something; in virtual time."""

import asyncio

import virtual_time
from pictord.rpc.deliveries import STALLED_S, Deliveries

DOWNLOAD = "pictor.v1.HistoryService/DownloadImage"


class Context:
    """One RPC."""

    def add_done_callback(self, callback) -> None:
        self.end = lambda: callback(self)


async def waited(deliveries: Deliveries, timeout_s: float) -> float:
    began = virtual_time.now()
    await deliveries.ended(timeout_s)
    return virtual_time.now() - began


def test_readers_who_get_on_are_waited_for_to_their_end():
    """A slow one, too: each message begins the patience anew."""

    async def scenario() -> float:
        deliveries, context = Deliveries(), Context()
        deliveries.enter(context, DOWNLOAD)

        async def read() -> None:
            for _ in range(10):
                await asyncio.sleep(STALLED_S - 1)
                deliveries.taken()
            context.end()

        reading = asyncio.create_task(read())
        seconds = await waited(deliveries, 600.0)
        await reading
        return seconds

    assert virtual_time.run(scenario()) == 10 * (STALLED_S - 1)


def test_a_reader_who_takes_nothing_is_not_waited_for(caplog):
    """It would hold up the end for as long as the longest call may take."""

    async def scenario() -> float:
        deliveries = Deliveries()
        deliveries.enter(Context(), DOWNLOAD)
        return await waited(deliveries, 600.0)

    assert virtual_time.run(scenario()) == STALLED_S
    assert "1 calls are still being read" in caplog.text


def test_the_drains_end_is_the_end_for_everybody():
    """However steadily somebody reads."""

    async def scenario() -> float:
        deliveries = Deliveries()
        deliveries.enter(Context(), DOWNLOAD)

        async def read() -> None:
            while True:
                await asyncio.sleep(1.0)
                deliveries.taken()

        reading = asyncio.create_task(read())
        seconds = await waited(deliveries, 100.0)
        reading.cancel()
        return seconds

    assert virtual_time.run(scenario()) == 100.0


def test_nobody_waits_for_lookups():
    """They are over in no time, and health is watched for ever."""

    async def scenario() -> float:
        deliveries = Deliveries()
        deliveries.enter(Context(), "grpc.health.v1.Health/Watch")
        return await waited(deliveries, 100.0)

    assert virtual_time.run(scenario()) == 0
