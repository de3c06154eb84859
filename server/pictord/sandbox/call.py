"""One HTTP call from its arrival to its last byte.

A call outlives its client, as at the real providers: the handler only waits for it. When the client goes away,
`client_gone` is set, the picture is still made, and the charge is still written.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from pictord.sandbox import faults as faultbook
from pictord.sandbox.chance import Chance
from pictord.sandbox.drawing import Encoding, Scene, picture
from pictord.sandbox.fault import Fault, Refusal
from pictord.sandbox.journal import Charge, RequestRecord
from pictord.sandbox.tables import Model
from pictord.sandbox.usage import Usage

if TYPE_CHECKING:
    from pictord.sandbox.sandbox import Sandbox

HANG_UP = 0  # the status of a refusal that says nothing and breaks the connection


class Call:
    """What a provider knows about a call while it serves it."""

    def __init__(self, sandbox: "Sandbox", request: web.Request, record: RequestRecord, request_id: str) -> None:
        self.sandbox = sandbox
        self.request = request
        self.record = record
        self.request_id = request_id
        self.client_gone = asyncio.Event()
        self.freed = asyncio.Event()
        """Set when a stall ends: the client is gone or an admin released it."""
        self.faults: list[Fault] = []
        self.latency_s: float | None = None
        """What the call itself asks for instead of the simulated latency."""
        self.chance = Chance(sandbox.settings.seed, record.provider, "", 0)
        self.started = asyncio.get_running_loop().time()
        self.charged: Charge | None = None
        self._response: web.StreamResponse | None = None

    def accept(self) -> None:
        """Enter the call into the journal, count its prompt, and find out which faults hit it.

        Raises:
            UnknownFault: a header asks for something that does not exist.
        """
        record = self.record
        self.chance = self.sandbox.occurrences.next(record.provider, record.prompt)
        self.sandbox.requests.append(record)
        headers = self.request.headers
        self.latency_s = faultbook.latency_from_headers(headers.getall("x-sandbox-latency-ms", []), record.provider)
        self.faults = faultbook.from_headers(headers.getall("x-sandbox-fault", []), record.provider)
        if not self.faults:
            rule = self.sandbox.faults.take(self.chance, model=record.model, operation=record.operation)
            self.faults = [rule] if rule else []
        record.faults = [str(fault) for fault in self.faults]

    def fault(self, kinds: Sequence[str]) -> Fault | None:
        """The first fault of this call that is one of `kinds`."""
        return next((fault for fault in self.faults if fault.kind in kinds), None)

    def seconds(self, simulated: float) -> float:
        """How long `simulated` seconds really are, unless the call says its own latency."""
        return simulated * self.sandbox.settings.time_scale if self.latency_s is None else self.latency_s

    async def wait_until(self, seconds: float) -> None:
        """Wait until `seconds` of real time have passed since the call arrived."""
        left = self.started + seconds - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)

    async def draw(self, scene: Scene, encoding: Encoding) -> bytes:
        """The picture of `scene`, made in a worker thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.sandbox.easel, picture, scene, encoding)

    def is_billed(self) -> bool:
        """Whether the faults of this call leave it billed."""
        kinds = faultbook.KINDS[self.record.provider]
        return all(fault.flag("billed", default=kinds[fault.kind].billed) for fault in self.faults)

    def charge(self, model: Model | None, usage: Usage, why: str) -> Charge:
        """Write the call into the charge log; `usage` of nothing bills nothing."""
        billed = usage.total > 0
        self.charged = Charge(
            id=f"chg_{len(self.sandbox.charges) + 1:06d}",
            provider=self.record.provider,
            model=self.record.model if model is None else model.id,
            operation=self.record.operation,
            request_id=self.request_id,
            request_number=self.record.number,
            usage=usage,
            nanos=usage.nanos(model) if model else 0,
            billed=billed,
            why=why,
            time=self.sandbox.now(),
            client_disconnected=self.client_gone.is_set(),
        )
        self.sandbox.charges.append(self.charged)
        return self.charged

    async def fail(self, refusals: Mapping[str, Callable[[Fault, str], Refusal]], model: Model, usage: Usage) -> None:
        """Raise the error answer that the call's faults ask for, charged with `usage` if they say so.

        Raises:
            Refusal: made by the fault's own row of `refusals`, after its wait.
        """
        fault = self.fault(["refuse", *refusals])
        if fault is None:
            return
        after_s = self.seconds(faultbook.KINDS[self.record.provider][fault.kind].after_s)
        await self.wait_until(fault.number("after_ms", after_s * 1000) / 1000)
        if self.is_billed():
            self.charge(model, usage, f"generated, but answered {fault.kind}")
        raise refusals.get(fault.kind, _hang_up)(fault, self.record.model)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with an error; if the call was not charged yet, write that it costs nothing."""
        if self.charged is None:
            self.charge(None, Usage(), refusal.why)
        if refusal.status == HANG_UP:
            self.reset()
            return
        kind = "text/html" if isinstance(refusal.body, str) else "application/json"
        body = refusal.body if isinstance(refusal.body, str) else self.sandbox.as_json(refusal.body)
        headers = refusal.headers | {"content-type": f"{kind}; charset=UTF-8"}
        await self.open(refusal.status, headers, length=len(body.encode()))
        await self.write(body.encode())
        await self.close()

    async def open(self, status: int, headers: Mapping[str, str], *, length: int | None) -> None:
        """Send the response's head; a length of None sends chunks."""
        response = web.StreamResponse(status=status, headers=self.sandbox.standing_headers(self) | dict(headers))
        response.content_length = length
        if length is None:
            response.enable_chunked_encoding()
        self.record.status = status
        self._response = response
        try:
            await response.prepare(self.request)
        except ConnectionError:
            self.lost()

    async def write(self, data: bytes | memoryview) -> None:
        """Send a part of the body; nothing happens once the client is gone."""
        if self._response is None or self.client_gone.is_set():
            return
        try:
            await self._response.write(data)
        except ConnectionError:
            self.lost()

    async def close(self) -> None:
        """End the body."""
        if self._response is None or self.client_gone.is_set():
            return
        try:
            await self._response.write_eof()
        except ConnectionError:
            self.lost()

    def lost(self) -> None:
        """Note that nobody listens any more."""
        self.client_gone.set()
        self.freed.set()
        if self.charged is not None:
            self.charged.client_disconnected = True

    async def stall(self) -> None:
        """Say nothing until the client goes or stalls are released."""
        self.freed.clear()
        if self.client_gone.is_set():
            return
        self.sandbox.stalled.add(self)
        self.sandbox.stalls.append(self.record)
        try:
            await self.freed.wait()
        finally:
            self.sandbox.stalled.discard(self)

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        transport = self.request.transport
        if transport is None:
            return
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    @property
    def response(self) -> web.StreamResponse:
        """What aiohttp is told that was answered."""
        return self._response or web.Response(status=500)


def _hang_up(_fault: Fault, _model: str) -> Refusal:
    return Refusal(HANG_UP, "")
