"""The console as one ASGI application: who may come in, what every answer carries, and how a failure looks.

Every page is served under a content policy that allows nothing but our own files: no inline script or style, no other
host, no frame. Without keys whoever reaches the loopback interface is an operator; a page elsewhere in the same browser
must not become one by a name that resolves to 127.0.0.1, so only this machine's own names are answered then.
"""

import json
import logging
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pictord.assets.links import PATH
from pictord.auth.callers import is_loopback
from pictord.console.page import Ground, Page, PageRoute, Visit
from pictord.console.session import COOKIE, Session
from pictord.console.status import status_of
from pictord.console.templates import STATIC
from pictord.errors import GatewayError

logger = logging.getLogger(__name__)

MOST_BODY_BYTES = 21 * 1024 * 1024
"""One picture of the size that callers may send, and the form around it."""

FORM_TOKEN = "form_token"  # noqa: S105 - a field's name
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}


def with_images(console: ASGIApp, images: ASGIApp) -> ASGIApp:
    """Both sites of the HTTP listener: pictures by their signed links, and the console everywhere else."""

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        await (images if path.startswith(PATH) else console)(scope, receive, send)

    return site


def console_site(ground: Ground, pages: Sequence[Page]) -> Starlette:
    """The application.

    Args:
        ground: what the pages stand on.
        pages: all of them; the first that has an icon is the front page.
    """
    front = next(page for page in pages if page.icon)
    doors = [_Door(ground, tuple(pages), page, each) for page in pages for each in page.routes]
    anybody = _Door(ground, tuple(pages), None, PageRoute("", _nowhere, is_open=True))

    async def to_front(_request: Request) -> Response:
        return RedirectResponse(front.path, 303)

    async def static(request: Request) -> Response:
        # Of `static/`, what is listed there and nothing else: the path never becomes a file's name.
        file = _STATIC_FILES.get(request.path_params["name"])
        return await anybody.failure(request, 404) if file is None else FileResponse(file, headers=_FOR_EVER)

    async def failed(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return await anybody.failure(request, status)

    routes = [
        Route("/", to_front),
        Route("/static/{name:path}", static),
        *[Route(door.route.path, door.answer, methods=[door.route.method]) for door in doors],
    ]
    site = Starlette(
        routes=routes,
        exception_handlers={HTTPException: failed, 500: failed},
        middleware=[Middleware(_Guarded, is_local_only=not ground.sessions.needs_key and not ground.sandbox)],
    )
    site.router.redirect_slashes = False  # the way would lead to whatever host the request names
    return site


_STATIC_FILES = {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*") if path.is_file()}


class _Door:
    """One route of a page: lets in who may, and answers what the page answers, or how it failed."""

    def __init__(self, ground: Ground, pages: tuple[Page, ...], page: Page | None, route: PageRoute) -> None:
        self.route = route
        self._ground = ground
        self._pages = pages
        self._page = page

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        sessions = self._ground.sessions
        known = sessions.read(request.cookies.get(COOKIE, ""))
        session = known or sessions.fresh()
        try:
            response = await self._let_in(self._visit(request, session))
        finally:
            await request.close()  # with the files that a form has brought
        if known is None and "set-cookie" not in response.headers:
            sessions.remember(response, session)
        return response

    async def failure(self, request: Request, status: int) -> Response:
        """The page for a failure that no page has answered itself."""
        session = self._ground.sessions.read(request.cookies.get(COOKIE, "")) or self._ground.sessions.fresh()
        title, text = _FAILURES.get(status, _FAILURES[500])
        return _failed(self._visit(request, session), status, title, text)

    def _visit(self, request: Request, session: Session) -> Visit:
        caller = session.caller
        shown = tuple(
            page
            for page in self._pages
            if page.icon and caller is not None and (caller.is_operator or not page.for_operators)
        )
        return Visit(request, self._ground, session, shown, self._page)

    async def _let_in(self, visit: Visit) -> Response:
        if visit.session.caller is None and not self.route.is_open:
            return _to_sign_in(visit)
        if visit.request.method == "POST" and not await self._is_ours(visit):
            return _renewed(visit)
        if self._page is not None and self._page.for_operators and not visit.caller.is_operator:
            return _failed(visit, 403, "For operators", f"Only operators may open {self._page.title}.")
        try:
            return await self.route.handler(visit)
        except GatewayError as error:
            return _failed(visit, status_of(error), _TITLES.get(status_of(error), "Not possible"), error.text)

    async def _is_ours(self, visit: Visit) -> bool:
        token = visit.request.headers.get("x-form-token")
        if token is None:
            token = (await visit.texts()).get(FORM_TOKEN, [""])[0]
        return self._ground.sessions.is_form_token(visit.session, token)


_TITLES = {403: "Not allowed", 404: "Not here", 503: "Not now"}
_FAILURES = {
    400: ("Not taken", "The form could not be read."),
    404: ("Not here", "There is no such page."),
    405: ("Not here", "This address does not take that."),
    413: ("Too large", "At most 20 MiB can be sent at once."),
    500: ("Something broke", "The gateway failed; the operators find this in their log."),
}


async def _nowhere(visit: Visit) -> Response:
    return _failed(visit, 404, *_FAILURES[404])


def _failed(visit: Visit, status: int, title: str, text: str) -> Response:
    """As a page, or where htmx asked, as a notice that leaves the page and what was typed as they are."""
    if visit.is_partial:
        response = visit.part("notice.html", status=status, title=title, text=text, is_signed_out=status == 401)
        response.headers["HX-Retarget"], response.headers["HX-Reswap"] = "#notice", "innerHTML"
        return response
    return visit.page(
        "failure.html", status=status, title=title, text=text, code=f"{status} {HTTPStatus(status).phrase}"
    )


def _renewed(visit: Visit) -> Response:
    """Refuse a POST that brings no token of this session, or that of an earlier one.

    The page behind it learns the new token, and needs nothing but a second press. Nobody else can read this answer.
    """
    response = _failed(
        visit, 403, "Not taken yet", "Your session is a new one. Press again: what you typed is still here."
    )
    response.headers["HX-Trigger"] = json.dumps({"renewed": visit.ground.sessions.form_token(visit.session)})
    return response


def _to_sign_in(visit: Visit) -> Response:
    if visit.is_partial:
        text = "Sign in in another tab, then go on here: what you typed stays."
        return _failed(visit, 401, "You are signed out", text)
    if visit.request.method != "GET":
        return RedirectResponse("/sign-in", 303)
    url = visit.request.url
    back = quote(f"{url.path}?{url.query}" if url.query else url.path, safe="")
    return RedirectResponse(f"/sign-in?next={back}", 303)


class _Guarded:
    """Adds the headers that every answer carries, refuses foreign names and bodies that are too large."""

    def __init__(self, app: ASGIApp, *, is_local_only: bool) -> None:
        self._app = app
        self._is_local_only = is_local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        if self._is_local_only and not is_loopback(request.url.hostname or ""):
            text = "without callers the console answers only as localhost or 127.0.0.1\n"
            await PlainTextResponse(text, 421)(scope, receive, with_headers)
            return
        await self._app(scope, _bounded(receive), with_headers)


def _bounded(receive: Receive) -> Receive:
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MOST_BODY_BYTES:
            raise HTTPException(413)
        return message

    return bounded
