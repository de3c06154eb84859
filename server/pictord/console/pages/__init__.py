"""The console's pages, in the order of the navigation."""

from pictord.console.pages import engines, history, sign_in

PAGES = (history.PAGE, engines.PAGE, sign_in.PAGE)
