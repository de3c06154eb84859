"""What a page of the console is, and what a page gets when it is visited.

A page is one module under `pages/`: its handlers, its view model as pure functions, and a template of the same name.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pictord.assets.links import LinkSigner
from pictord.catalog.model import Model
from pictord.console.images import SMALL
from pictord.console.session import LIFETIME, Session, Sessions
from pictord.domain.caller import Caller
from pictord.domain.generation import Image
from pictord.jobs.history import History
from pictord.jobs.served import Served


@dataclass(frozen=True, slots=True)
class Ground:
    """What all pages stand on: the application, and the console's own parts."""

    served: Served
    history: History
    sessions: Sessions
    signer: LinkSigner
    templates: Environment
    sandbox: bool

    def picture_url(self, image: Image) -> str:
        """Where this very listener serves a picture, for as long as a page may stay open."""
        return self.signer.sign(image.id, LIFETIME)[0]

    def small_url(self, image: Image) -> str:
        """The same for where many hang together."""
        return f"{self.picture_url(image)}&size={SMALL}"

    @property
    def models(self) -> Mapping[str, Model]:
        """The catalog's models by id."""
        return self.served.routing().catalog.models


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is signed in (or on a page that is open to all)."""

    request: Request
    ground: Ground
    session: Session
    pages: tuple["Page", ...]
    """Those that this visitor may open, in the order of the navigation."""
    here: "Page | None" = None

    @property
    def caller(self) -> Caller:
        """Who visits; on pages that are open to all it may be nobody."""
        assert self.session.caller is not None  # noqa: S101 - the site lets nobody else in
        return self.session.caller

    @property
    def is_partial(self) -> bool:
        """Whether htmx asks for a fragment, not the browser for a page."""
        headers = self.request.headers
        return headers.get("hx-request") == "true" and headers.get("hx-history-restore-request") != "true"

    async def texts(self) -> dict[str, list[str]]:
        """The form's fields that are text, each with its values."""
        return texts(await self.request.form())

    def page(self, template: str, *, status: int = 200, **view: Any) -> Response:
        """A whole page; the template extends `base.html`. `{{ focus }}` marks where one goes on."""
        frame = {
            "visitor": self.session.caller,
            "needs_key": self.ground.sessions.needs_key,
            "navigation": self.pages,
            "here": self.here,
            "sandbox": self.ground.sandbox,
            "focus": "autofocus",
        }
        return self._answer(template, status, frame | view)

    def part(self, template: str, *, status: int = 200, **view: Any) -> Response:
        """A fragment of a page."""
        return self._answer(template, status, {"focus": "data-focus"} | view)

    def text(self, template: str, **view: Any) -> str:
        """A fragment as text, for a stream."""
        return self.ground.templates.get_template(template).render(self._with_token(view))

    def _answer(self, template: str, status: int, view: Mapping[str, Any]) -> Response:
        text = self.ground.templates.get_template(template).render(self._with_token(view))
        return HTMLResponse(text, status, {"Cache-Control": "no-store", "Vary": "HX-Request"})

    def _with_token(self, view: Mapping[str, Any]) -> dict[str, Any]:
        return {"form_token": self.ground.sessions.form_token(self.session), **view}


Handler = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class PageRoute:
    """A handler at a path; Starlette's path parameters are taken."""

    path: str
    handler: Handler
    method: str = "GET"
    is_open: bool = False
    """Whether it may be visited before signing in."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its routes, and its entry of the navigation (none without an icon of `static/icons.svg`)."""

    title: str
    path: str
    routes: tuple[PageRoute, ...]
    icon: str | None = None
    for_operators: bool = False


def texts(form: FormData) -> dict[str, list[str]]:
    """The fields of a form that are text, each with its values."""
    found: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            found.setdefault(name, []).append(value)
    return found
