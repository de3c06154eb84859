"""The sandbox's own HTTP calls, under /sandbox: faults, journals, reset.

| call | does |
|---|---|
| GET /sandbox/healthz | `{"sandbox": true, "status": "ok"}` and how many calls came |
| GET, POST, DELETE /sandbox/faults | list the rules, add one (see `faults.py`), clear them all |
| POST /sandbox/script | `{"faults": [...]}`: add rules whose `from_s` and `until_s` count from now |
| GET /sandbox/charges | the charge log and its sum in nano-USD |
| GET /sandbox/requests | the log of requests |
| POST /sandbox/release | let stalled calls go on |
| POST /sandbox/reset | forget everything |
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from pictord.sandbox.faults import UnknownFault
from pictord.sandbox.sandbox import Sandbox

RULE_FIELDS = {"kind", "provider", "args", "times", "match", "probability", "from_s", "until_s"}


def add_routes(router: web.UrlDispatcher, sandbox: Sandbox) -> None:
    """Put the admin calls on `router`."""
    calls = _Admin(sandbox)
    router.add_get("/sandbox/healthz", calls.health)
    router.add_get("/sandbox/faults", calls.list_faults)
    router.add_post("/sandbox/faults", _checked(calls.add_fault))
    router.add_delete("/sandbox/faults", calls.clear_faults)
    router.add_post("/sandbox/script", _checked(calls.start_script))
    router.add_get("/sandbox/charges", calls.charges)
    router.add_get("/sandbox/requests", calls.requests)
    router.add_post("/sandbox/release", calls.release)
    router.add_post("/sandbox/reset", calls.reset)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _checked(handler: Handler) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (UnknownFault, ValueError, TypeError, AttributeError) as problem:
            return web.json_response({"error": str(problem)}, status=400)

    return answer


class _Admin:
    """One method for each call."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def health(self, _request: web.Request) -> web.Response:
        counts = {"requests": len(self._sandbox.requests), "charges": len(self._sandbox.charges)}
        return web.json_response({"sandbox": True, "status": "ok", **counts})

    async def list_faults(self, _request: web.Request) -> web.Response:
        return web.json_response({"faults": [rule.as_json() for rule in self._sandbox.faults.rules]})

    async def add_fault(self, request: web.Request) -> web.Response:
        rule = self._sandbox.faults.add(**_rule(await request.json()))
        return web.json_response(rule.as_json(), status=201)

    async def clear_faults(self, _request: web.Request) -> web.Response:
        self._sandbox.faults.clear()
        return web.json_response({})

    async def start_script(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._sandbox.faults.start_script([_rule(rule) for rule in body["faults"]])
        return web.json_response({"faults": len(self._sandbox.faults.rules)}, status=201)

    async def charges(self, _request: web.Request) -> web.Response:
        log = [charge.as_json() for charge in self._sandbox.charges]
        return web.json_response({"charges": log, "nanos": sum(charge["nanos"] for charge in log)})

    async def requests(self, _request: web.Request) -> web.Response:
        return web.json_response({"requests": [record.as_json() for record in self._sandbox.requests]})

    async def release(self, _request: web.Request) -> web.Response:
        return web.json_response({"released": self._sandbox.release_stalls()})

    async def reset(self, _request: web.Request) -> web.Response:
        self._sandbox.reset()
        return web.json_response({})


def _rule(body: dict[str, Any]) -> dict[str, Any]:
    if odd := set(body) - RULE_FIELDS:
        raise UnknownFault(f"a fault has no {', '.join(sorted(odd))}: it has {', '.join(sorted(RULE_FIELDS))}")
    if "kind" not in body:
        raise UnknownFault("a fault needs a kind")
    return body
