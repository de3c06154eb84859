"""The console's pages, in the order of the navigation."""

from pictord.console.pages import create, decision, engines, history, live, sign_in

PAGES = (
    create.PAGE,
    history.PAGE,
    engines.PAGE,
    decision.PAGE,
    live.PAGE,
    sign_in.PAGE,
)
