"""What every page of the console must be on every screen and in every scheme."""

from browsing import Browser, Screen

OF_CHROMIUM = "Failed to load resource: the server responded with a status of 422"
"""What Chromium itself writes of every answer that refuses a form; no page can keep it from that."""


def look(browser: Browser, url: str, name: str, screen: Screen, scheme: str) -> None:
    """Open a page and look at it: axe-core finds nothing, nothing is too wide, jumps, or was blocked."""
    browser.look_like(screen, scheme)
    browser.complaints()
    browser.open(url)
    browser.until(browser.pictures_shown, "the pictures")
    shifts = browser.layout_shifts()  # before a picture of the whole page is taken, which makes the screen longer
    browser.keep(f"{name}-{screen.name}-{scheme}")
    assert browser.violations() == []
    assert browser.overflow_px() == 0
    assert shifts == [], "\n".join(shifts)
    assert browser.complaints() == []


def sign_in(browser: Browser, url: str, key: str) -> None:
    """Paste a key, as somebody who has just come."""
    browser.forget()
    browser.open(f"{url}/sign-in")
    browser.one("input[name=key]").type(key)
    browser.one("main button[type=submit]").click()
    browser.one("main h1")
    browser.until(lambda: "/sign-in" not in browser.address(), "the page behind the sign-in")
