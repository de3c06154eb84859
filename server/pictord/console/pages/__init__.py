"""The console's pages, in the order of the navigation."""

from pictord.console.pages import history, sign_in

PAGES = (history.PAGE, sign_in.PAGE)
