"""The console's pages, in the order of the navigation."""

from pictord.console.pages import create, decision, history, live, sign_in

PAGES = (create.PAGE, history.PAGE, decision.PAGE, live.PAGE, sign_in.PAGE)
