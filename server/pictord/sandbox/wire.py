"""How answers travel, and how they break on the way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pybase64

from pictord.sandbox.call import Call

PROXY_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>One moment</title></head><body>The service will be back soon.</body></html>"
)
NOT_A_PICTURE = b"Internal stream reset by peer, please consult the operator of this service.\n" * 8


@dataclass(frozen=True)
class Event:
    """One server-sent event and the real second, counted from the call's arrival, at which it is sent."""

    at_s: float
    data: bytes


async def send_body(call: Call, headers: Mapping[str, str], body: bytes, *, chunked: bool = False) -> None:
    """Send a whole answer with HTTP 200, with the call's wire faults."""
    if call.fault(["html_in_200"]):
        headers, body = {"content-type": "text/html; charset=UTF-8"}, PROXY_PAGE
    if call.fault(["truncated_json"]):
        body = body[: len(body) // 2]
    if await _lost_before(call):
        return
    await call.open(200, headers, length=None if chunked else len(body))
    half = memoryview(body)[: len(body) // 2]
    if await _lost_midway(call, half):
        return
    await call.write(memoryview(body)[len(half) :] if call.fault(["stall_mid_body"]) else body)
    await call.close()


async def send_events(
    call: Call, headers: Mapping[str, str], events: Sequence[Event], bill: Callable[[], object]
) -> None:
    """Send `events` at their times, with the call's wire faults.

    `bill` is called once, when the picture would be finished: before the last event, or before the answer breaks.
    """
    if call.fault(["reset_before_response", "stall"]):
        await call.wait_until(events[-1].at_s)
        bill()
        if await _lost_before(call):
            return
    await call.open(200, headers, length=None)
    breaking = call.fault(["reset_mid_body", "stall_mid_body"])
    break_at = min(int(breaking.number("after", 0)), len(events) - 1) if breaking else None
    for index, event in enumerate(events):
        await call.wait_until(event.at_s)
        last, data = index == len(events) - 1, event.data
        if (last or index == break_at) and call.charged is None:
            bill()
        if index == break_at:
            half = memoryview(data)[: len(data) // 2]
            if await _lost_midway(call, half):
                return
            data = data[len(half) :]
        elif last and call.fault(["truncated_json"]):
            data = data[: len(data) // 2]
        await call.write(data)
    await call.close()


async def _lost_before(call: Call) -> bool:
    """Apply the faults that come before the first byte; whether the connection is gone."""
    if call.fault(["reset_before_response"]):
        call.reset()
        return True
    if call.fault(["stall"]):
        await call.stall()
    return False


async def _lost_midway(call: Call, half: memoryview) -> bool:
    """Apply the faults that come after `half` of the body; whether the connection is gone."""
    if call.fault(["reset_mid_body"]):
        await call.write(half)
        call.reset()
        return True
    if call.fault(["stall_mid_body"]):
        await call.write(half)
        await call.stall()
    return False


def base64_picture(call: Call, data: bytes) -> str:
    """A picture in base64, spoilt if the call's faults say so."""
    if call.fault(["truncated_image"]):
        data = data[: len(data) // 2]
    if call.fault(["wrong_image_type"]):
        data = NOT_A_PICTURE
    text = pybase64.b64encode_as_string(data)
    if call.fault(["bad_base64"]):
        middle = len(text) // 2
        text = f"{text[:middle]}*#!{text[middle:]}"
    return text
