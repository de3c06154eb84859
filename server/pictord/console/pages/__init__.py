"""The console's pages, in the order of the navigation."""

from pictord.console.pages import compare, create, decision, engines, history, live, sign_in, spend

PAGES = (
    create.PAGE,
    history.PAGE,
    compare.PAGE,
    spend.PAGE,
    engines.PAGE,
    decision.PAGE,
    live.PAGE,
    sign_in.PAGE,
)
