"""Who may come in by HTTP, and where to: the RPCs, or the site beside them."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

RPCS = "/pictor.v1."
"""What the paths of all RPCs begin with."""

_NOT_INSTALLED = "this gateway speaks gRPC only: RPCs over HTTP need pip install 'pictord[connect]'"


class HttpDoor:
    """Sends requests for RPCs to `rpcs` once that is set, and all others to the site.

    A browser says from which page's origin it calls. One that is not listed is refused, so that no page on the internet
    can spend money at a gateway on its reader's machine, not even by a name that leads there (DNS rebinding). Listed
    ones get CORS headers. Whoever names no origin is no page: curl, servers, our own clients.

    Args:
        site: what else is served here.
        origins: `https://host` or `https://host:port`, of pages that may call; none by default.
    """

    def __init__(self, site: ASGIApp, origins: Sequence[str]) -> None:
        self.rpcs: ASGIApp | None = None
        self._site = site
        self._origins = frozenset(origins)
        self._rpcs = CORSMiddleware(
            self._answered,
            allow_origins=origins,
            allow_methods=["POST"],
            allow_headers=["*"],
            expose_headers=["*"],
            max_age=7200,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(RPCS):
            await self._site(scope, receive, send)
            return
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        if origin is not None and origin.decode("latin-1") not in self._origins:
            text = f"pages of {origin.decode('latin-1')} may not call; see http_origins (PICTOR_HTTP_ORIGINS)"
            await sentence(403, text)(scope, receive, send)
            return
        await self._rpcs(scope, receive, send)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.rpcs or sentence(501, _NOT_INSTALLED))(scope, receive, send)


def sentence(status: int, text: str) -> PlainTextResponse:
    """An answer for people."""
    return PlainTextResponse(text + "\n", status, {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
