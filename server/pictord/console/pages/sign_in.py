"""Signing in by pasting an API key, and out again."""

from starlette.responses import RedirectResponse, Response

from pictord.console.page import Page, PageRoute, Visit


async def ask(visit: Visit) -> Response:
    """Ask for a key; whoever needs none, or has given it, is sent on."""
    back = way_back(visit.request.query_params.get("next", ""))
    if visit.session.caller is not None:
        return RedirectResponse(back, 303)
    return visit.page("sign_in.html", back=back, problem="")


async def take(visit: Visit) -> Response:
    """Open a session for whoever has the key."""
    form = await visit.texts()
    back = way_back(form.get("next", [""])[0])
    session = visit.ground.sessions.sign_in(form.get("key", [""])[0])
    if session is None:
        problem = "No caller has this key. Paste it whole, beginning with pictor_."
        return visit.page("sign_in.html", status=401, back=back, problem=problem)
    response = RedirectResponse(back, 303)
    visit.ground.sessions.remember(response, session)
    return response


async def leave(visit: Visit) -> Response:
    """End the session."""
    response = RedirectResponse("/sign-in", 303)
    visit.ground.sessions.remember(response, visit.ground.sessions.fresh())
    return response


def way_back(path: str) -> str:
    """Where to go after signing in: a path of this site, never another one."""
    is_ours = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if is_ours else "/"


PAGE = Page(
    "Sign in",
    "/sign-in",
    (
        PageRoute("/sign-in", ask, is_open=True),
        PageRoute("/sign-in", take, "POST", is_open=True),
        PageRoute("/sign-out", leave, "POST", is_open=True),
    ),
)
