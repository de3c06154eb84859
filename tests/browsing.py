"""One Chromium as a person sees it: screens and schemes, what is on the page, what it complains of."""

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from chromium import ELEMENT, Chromium

ROOT = Path(__file__).parents[1]
AXE = ROOT / "node_modules/axe-core/axe.min.js"


class Screen(NamedTuple):
    """A size of window in CSS pixels."""

    name: str
    width: int
    height: int
    is_phone: bool


DESKTOP, PHONE = Screen("desktop", 1440, 900, is_phone=False), Screen("phone", 390, 844, is_phone=True)
SCHEMES = ("light", "dark")


TAB, ENTER, SPACE, CONTROL, RIGHT = "\ue004", "\ue007", " ", "\ue009", "\ue014"
"""Keys, as the protocol writes them."""


class Element:
    """Something on the page."""

    def __init__(self, chromium: Chromium, reference: str) -> None:
        self._chromium = chromium
        self.reference = reference

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Element) and self.reference == other.reference

    __hash__ = None

    @property
    def text(self) -> str:
        """What is to be read there."""
        return self._chromium.ask(f"element/{self.reference}/text")

    @property
    def value(self) -> Any:
        """What is typed or chosen there."""
        return self._chromium.ask(f"element/{self.reference}/property/value")

    def attribute(self, name: str) -> str | None:
        """An attribute as it is written."""
        return self._chromium.ask(f"element/{self.reference}/attribute/{name}")

    def is_enabled(self) -> bool:
        """Whether it can be used."""
        return self._chromium.ask(f"element/{self.reference}/enabled")

    def click(self) -> None:
        """Press it with the mouse."""
        self._chromium.tell(f"element/{self.reference}/click")

    def type(self, text: str) -> None:
        """Type there; a file is chosen by its path."""
        self._chromium.tell(f"element/{self.reference}/value", text=text)

    def clear(self) -> None:
        """Empty it."""
        self._chromium.tell(f"element/{self.reference}/clear")


class Browser:
    """Wraps the driver; waits for what is asked for instead of sleeping."""

    def __init__(self, chromium: Chromium, screenshots: Path | None) -> None:
        self._chromium = chromium
        self._screenshots = screenshots

    def look_like(self, screen: Screen, scheme: str = "light") -> None:
        """Take a screen and a colour scheme; motion is reduced, so that pictures are the same every time."""
        self._chromium.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=screen.width,
            height=screen.height,
            deviceScaleFactor=1,
            mobile=screen.is_phone,
        )
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        self._chromium.devtools(
            "Emulation.setEmulatedMedia", features=[{"name": name, "value": each} for name, each in features.items()]
        )

    def open(self, url: str) -> None:
        """Go to an address."""
        self._chromium.tell("url", url=url)

    @contextmanager
    def other_tab(self) -> Iterator[None]:
        """Work in another tab, which is closed at the end."""
        first, other = self._chromium.ask("window"), self._chromium.tell("window/new", type="tab")
        self._chromium.tell("window", handle=other["handle"])
        try:
            yield
        finally:
            self._chromium.close_window()
            self._chromium.tell("window", handle=first)

    def cut_off(self, *, really: bool = True) -> None:
        """Take the network away, or give it back."""
        self._chromium.devtools("Network.enable")
        self._chromium.devtools(
            "Network.emulateNetworkConditions", offline=really, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )

    def address(self) -> str:
        """Where it is."""
        return self._chromium.ask("url")

    def forget(self) -> None:
        """Lose all cookies, and what was complained of."""
        self._chromium.devtools("Network.clearBrowserCookies")
        self.complaints()

    def all(self, selector: str) -> list[Element]:
        """What matches now."""
        found = self._chromium.tell("elements", using="css selector", value=selector)
        return [Element(self._chromium, each[ELEMENT]) for each in found]

    def one(self, selector: str, patience_s: float = 20.0) -> Element:
        """The one element that matches, as soon as it is there."""
        (found,) = self.until(lambda: self.all(selector), f"something at {selector}", patience_s)
        return found

    def until(self, look: Callable[[], Any], what: str, patience_s: float = 20.0) -> Any:
        """What `look` finds, as soon as that is something."""
        ends_at = time.monotonic() + patience_s
        while not (found := look()):
            assert time.monotonic() < ends_at, f"never came: {what}\n{self.text()}"
            time.sleep(0.02)
        return found

    def text(self) -> str:
        """All that is to be read."""
        return self.one("body").text

    def read(self, selector: str) -> str:
        """What is to be read at the first place that matches; nothing if there is none now."""
        return self.run("return document.querySelector(arguments[0])?.innerText.trim() ?? ''", selector)

    def read_all(self, selector: str) -> list[str]:
        """What is to be read at every place that matches, all at one moment."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map(each => each.innerText.trim())", selector
        )

    def shows(self, text: str) -> bool:
        """Whether something is to be read somewhere."""
        return text in self.text()

    def press(self, keys: str) -> None:
        """Press keys, wherever the focus is."""
        self.focused().type(keys)

    def focused(self) -> Element:
        """What has the focus."""
        return Element(self._chromium, self._chromium.ask("element/active")[ELEMENT])

    def focused_id(self) -> str:
        """The id of what has the focus; empty where nothing has."""
        return self.run("return document.activeElement?.id ?? ''")

    def tab_to(self, selector: str, most: int = 60) -> None:
        """Go there by the Tab key alone."""
        wanted = self.one(selector)
        for _ in range(most):
            self.press(TAB)
            if self.focused() == wanted:
                return
        raise AssertionError(f"{selector} is not reached by {most} Tabs")

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self._chromium.tell("execute/sync", script=script, args=arguments)

    def run_until_done(self, script: str) -> Any:
        """Run a script that calls its first argument with what it has found."""
        return self._chromium.tell("execute/async", script=script, args=[])

    def pictures_shown(self) -> bool:
        """Whether every picture in sight has been drawn."""
        return self.run("""return [...document.images].every(each => each.complete && each.naturalWidth > 0
            || each.getBoundingClientRect().top > innerHeight)""")

    def layout_shifts(self) -> list[str]:
        """What has jumped since the page was opened, by Chromium's own measure."""
        return self.run_until_done("""const done = arguments[0], found = [];
            const name = node => node && node.nodeType === 1 ? node.outerHTML.slice(0, 80) : String(node);
            new PerformanceObserver(list => { for (const each of list.getEntries())
                for (const source of each.sources) found.push(`${each.value}: ${name(source.node)}`); })
                .observe({type: "layout-shift", buffered: true});
            requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(found), 0)));""")

    def overflow_px(self) -> int:
        """By how much the page is wider than the screen."""
        return self.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def violations(self) -> list[str]:
        """What axe-core finds."""
        if not self.run("return 'axe' in window"):
            self.run(AXE.read_text("utf-8"))
        return self.run_until_done("""const done = arguments[0];
            axe.run(document, {resultTypes: ["violations"]}).then(result => done(result.violations.map(each =>
                `${each.id}: ${each.nodes.map(node => node.target + " " + node.failureSummary).join(" | ")}`)));""")

    def complaints(self) -> list[str]:
        """What the page has written to the browser's console since the last look: errors, blocked inline code."""
        return [each["message"] for each in self._chromium.tell("se/log", type="browser")]

    def keep(self, name: str) -> None:
        """Save a picture of the page as it is, if that is wanted: what is in sight, and if it is longer, all of it."""
        if self._screenshots is None:
            return
        self._screenshots.mkdir(parents=True, exist_ok=True)
        self.run_until_done(_DECODED)
        (self._screenshots / f"{name}.png").write_bytes(self._chromium.screenshot())
        if self.run("return document.documentElement.scrollHeight > innerHeight"):
            self.run(_AS_A_WHOLE)
            self.run_until_done(_DECODED)
            whole = self._chromium.devtools("Page.captureScreenshot", captureBeyondViewport=True)
            (self._screenshots / f"{name}-whole.png").write_bytes(base64.b64decode(whole["data"]))
            self.run(_AS_BEFORE)


_DECODED = """const done = arguments[0], is_due = each => each.loading !== "lazy" || each.complete;
    Promise.allSettled([...document.images].filter(is_due).map(each => each.decode())).then(() => done(true));"""
"""Pictures that are there may still not be painted."""

_AS_A_WHOLE = """scrollTo(0, 0);
    for (const each of document.images) each.loading = "eager";
    document.body.style.position = "relative";
    for (const each of document.querySelectorAll(".pages, .press")) each.style.position =
        {fixed: "absolute", sticky: "static"}[getComputedStyle(each).position] ?? "";"""
"""What sticks to the screen stands where the page has it."""

_AS_BEFORE = (
    """for (const each of [document.body, ...document.querySelectorAll(".pages, .press")]) each.style.position = "";"""
)
