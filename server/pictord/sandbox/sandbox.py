"""Everything the two simulated providers share: journals, faults, quotas, and the state of running calls."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from pictord.sandbox.call import Call
from pictord.sandbox.chance import Occurrences
from pictord.sandbox.faults import FaultBook
from pictord.sandbox.journal import Charge, Journal, RequestRecord
from pictord.sandbox.quotas import Quotas
from pictord.sandbox.settings import SandboxSettings
from pictord.sandbox.tables import Model, served

SECRET_HEADERS = {"authorization", "x-goog-api-key", "api-key", "cookie", "proxy-authorization"}


class Sandbox:
    """Both providers in one process; `run` puts it on the network."""

    def __init__(
        self,
        settings: SandboxSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.more_models = settings.models
        """May be replaced at any time."""
        self.now = now
        self.charges: Journal[Charge] = Journal()
        self.requests: Journal[RequestRecord] = Journal()
        self.stalls: Journal[RequestRecord] = Journal()
        """Every stall that began."""
        self.stalled: set[Call] = set()
        self.faults = FaultBook(clock)
        self.faults.start_script(settings.script)
        self.occurrences = Occurrences(settings.seed)
        self.quotas = Quotas(settings.quotas, clock)
        self.easel = ThreadPoolExecutor(max_workers=2, thread_name_prefix="sandbox-easel")
        self.address = ""
        self._numbers = 0
        self._running: set[asyncio.Task[None]] = set()

    @property
    def openai_base_url(self) -> str:
        """What `OPENAI_BASE_URL` has to be."""
        return f"{self.address}/v1"

    @property
    def gemini_base_url(self) -> str:
        """What `GEMINI_BASE_URL` has to be, for the Developer API and for Vertex."""
        return self.address

    def models(self, provider: str) -> Mapping[str, Model]:
        """What `provider` serves, by each name it answers to."""
        return served(provider, self.more_models)

    async def wait_for_requests(self, count: int) -> None:
        """Return once `count` requests have arrived since the start or the last reset."""
        await self.requests.reach(count)

    async def wait_for_charges(self, count: int) -> None:
        """Return once `count` calls are in the charge log."""
        await self.charges.reach(count)

    async def wait_for_stalls(self, count: int) -> None:
        """Return once `count` calls have begun to stall."""
        await self.stalls.reach(count)

    def release_stalls(self) -> int:
        """Let every stalled call go on; how many there were."""
        waiting = len(self.stalled)
        for call in self.stalled:
            call.freed.set()
        return waiting

    def reset(self) -> None:
        """Forget requests, charges, faults, quotas and occurrences; stalled calls go on."""
        self.release_stalls()
        for journal in (self.charges, self.requests, self.stalls):
            journal.clear()
        self.faults.clear()
        self.occurrences.clear()
        self.quotas.clear()
        self._numbers = 0

    def receive(self, request: web.Request, provider: str, operation: str, key: str) -> Call:
        """Begin a call that has just arrived."""
        self._numbers += 1
        record = RequestRecord(
            number=self._numbers,
            time=self.now(),
            provider=provider,
            operation=operation,
            path=request.path,
            headers={
                name.lower(): text for name, text in request.headers.items() if name.lower() not in SECRET_HEADERS
            },
            account=hashlib.sha256(key.encode()).hexdigest()[:12] if key else "",
            params={},
        )
        digest = hashlib.sha256(f"{self.settings.seed}|{self._numbers}".encode()).hexdigest()
        return Call(self, request, record, f"req_{digest[:32]}" if provider == "openai" else digest[:23])

    async def serve(self, call: Call, work: Callable[[Call], Any]) -> web.StreamResponse:
        """Run `work` to its end even if the client goes away meanwhile."""
        task: asyncio.Task[None] = asyncio.create_task(work(call))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            call.lost()
            raise
        return call.response

    def standing_headers(self, call: Call) -> dict[str, str]:
        """The headers that every answer of a provider carries."""
        if call.record.provider == "openai":
            milliseconds = (asyncio.get_running_loop().time() - call.started) * 1000
            return {"x-request-id": call.request_id, "openai-processing-ms": f"{milliseconds:.0f}"}
        return {"vary": "Origin, X-Origin, Referer"}

    def as_json(self, body: Mapping[str, Any]) -> str:
        """A JSON body as compact text."""
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"))

    async def settle(self) -> None:
        """Return once no call is running."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def stop(self) -> None:
        """Drop every running call."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self.easel.shutdown(wait=True, cancel_futures=True)
