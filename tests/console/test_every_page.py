"""Every page in every state, on a desktop and a phone, light and dark: axe-core finds nothing, and it fits.

With `PICTOR_SCREENSHOTS` set each look is also kept as a picture, for people to look at: `make screenshots`.
"""

import contextlib

import grpc
import pytest
from PIL import Image

from browsing import DESKTOP, ENTER, PHONE, SCHEMES, Browser
from gateway import GPT, Gateway
from pictor.v1.history_service_pb2 import ListGenerationsRequest
from pictor.v1.image_pb2 import TIER_PRO, Canvas
from pictor.v1.image_service_pb2 import GenerateRequest, RerollRequest
from pictord.auth.callers import hash_key
from pictord.domain.caller import Role
from pictord.sandbox import SandboxSettings
from pictord.settings import CallerTable
from served import Served, serving

KEY = "pictor_studio-key"
METADATA = (("x-api-key", KEY),)
PROMPTS = (
    ("Alpine hut, isometric", {"canvas": Canvas(ratio="21:9")}),
    ("An owl with round spectacles reading the evening paper", {}),
    ("Paper boats on a canal", {"canvas": Canvas(format="instagram/story")}),
    ("Unfit for anybody", {"tier": TIER_PRO}),
    ("Poster: SLOW MORNINGS, bold serif, two colours", {"canvas": Canvas(ratio="2:3")}),
    ("A bowl of lemons on blue linen, morning light from the left, painted in gouache", {"tier": TIER_PRO}),
    ("Lighthouse in a storm, woodcut", {"canvas": Canvas(ratio="16:9")}),
    ("Two teapots on a shelf", {"count": 2}),
    ("A red fox asleep in fresh snow at dusk, long lens, soft light", {"canvas": Canvas(format="instagram/portrait")}),
)
LONG = "A very long brief that goes on and on about the light, the linen and the lemons. " * 9 + "x" * 200


async def draw_some(running: Gateway) -> dict[str, str]:
    """Fill the wall: finished, failed, with a failover, and re-rolled; the ids by what they are."""
    faults = running.sandbox.faults
    faults.add("moderation_blocked", match={"prompt_contains": "Unfit"})
    faults.add("overloaded", provider="openai", times=1, match={"prompt_contains": "bowl of lemons"})
    faults.add("stall_mid_body", args={"after": "1"}, match={"prompt_contains": "slowly"})
    for prompt, options in PROMPTS:
        request = GenerateRequest(prompt=prompt, max_inline_bytes=0, **options)
        with contextlib.suppress(grpc.aio.AioRpcError):  # the unfit one
            await running.images.Generate(request, metadata=METADATA)
    found = await running.history.ListGenerations(ListGenerationsRequest(), metadata=METADATA)
    ids = {each.request.prompt.split()[0].lower(): each.id for each in found.generations}
    async for _ in running.images.Reroll(RerollRequest(generation_id=ids["lighthouse"], model=GPT), metadata=METADATA):
        pass
    request = GenerateRequest(prompt=LONG, labels={"campaign": "spring"}, max_inline_bytes=0)
    long = await running.images.Generate(request, metadata=METADATA)
    return ids | {"long": long.generation.id}


@pytest.fixture(scope="module")
def served():
    callers = (CallerTable("studio", (hash_key(KEY),), role=Role.OPERATOR),)
    with serving(sandbox=SandboxSettings(time_scale=0.02), time_scale=0.02, callers=callers) as running:
        running.ids = running.run(draw_some)
        yield running


@pytest.fixture(scope="module")
def signed_in(served, browser):
    browser.look_like(DESKTOP)
    browser.forget()
    browser.open(f"{served.url}/sign-in")
    browser.one("[name=key]").type(KEY + ENTER)
    browser.until(lambda: browser.all("nav"), "the way in")
    return browser


class Scene:
    """Leads a browser that is signed in to a page in one of its states."""

    def __init__(self, served: Served, browser: Browser, folder) -> None:
        self.served = served
        self.browser = browser
        self.folder = folder

    def open(self, path: str) -> None:
        self.browser.open(self.served.url + path)
        self.browser.until(self.browser.pictures_shown, "the pictures")

    def decision(self, name: str) -> None:
        self.open(f"/generations/{self.served.ids[name]}")

    def create(self, prompt: str, plan: str, tier: str = "Standard") -> None:
        self.open("/create")
        self.browser.one("#prompt").type(prompt)
        self.browser.one("#tier").type(tier)
        self.browser.until(lambda: plan in self.browser.read("#plan"), "the plan")

    def press(self, until: str) -> None:
        self.browser.one("#press").click()
        self.browser.until(lambda: self.browser.all(until), until)
        self.browser.until(self.browser.pictures_shown, "the pictures")


def sign_in_refused(scene):
    scene.browser.forget()
    scene.open("/sign-in")
    scene.browser.one("[name=key]").type("pictor_wrong" + ENTER)
    scene.browser.until(lambda: scene.browser.all(".problem"), "the problem")


def create_planned(scene):
    scene.create("A bowl of lemons on blue linen, morning light from the left", "GPT Image 2 at high", "Pro")
    scene.browser.one("#canvas-format").type("Portrait")
    scene.browser.until(lambda: "4:5" in scene.browser.read("#plan"), "the ratio")


def create_refused(scene):
    scene.create("A banner for the harbour festival", "Nano Banana 2")
    scene.browser.run("document.querySelectorAll('details')[1].open = true")
    scene.browser.one("#canvas-ratio").type("8:1")
    scene.browser.one("#model").type("GPT")
    scene.browser.until(lambda: "would be refused" in scene.browser.read("#plan"), "the refusal")
    scene.press("#press-problem .notice")


def create_problems(scene):
    scene.open("/create")
    scene.browser.one("#canvas-ratio").type("wide")
    scene.browser.until(lambda: scene.browser.read("#problem-canvas-ratio"), "the problem")
    scene.press("#press-problem .problem")


def create_drawing(scene):
    scene.create("A harbour that wakes up slowly", "GPT Image 2 at high", "Pro")
    scene.press(".is-preview")


def create_drawn(scene):
    scene.create("A kingfisher on a rusty crane, golden hour", "GPT Image 2 at high", "Pro")
    scene.press(".drawn")


def create_failed(scene):
    scene.create("Unfit, again", "GPT Image 2 at high", "Pro")
    scene.press(".drawn .notice")


def create_with_pictures(scene):
    fox, mask = scene.folder / "fox.png", scene.folder / "mask.png"
    Image.linear_gradient("L").resize((1024, 768)).save(fox)
    Image.new("RGBA", (1024, 768), (0, 0, 0, 0)).save(mask)
    scene.create("Make the sky stormy", "Nano Banana 2")
    scene.browser.run("document.querySelector('details').open = true")
    for name, file in (("references", fox), ("image", fox), ("mask", mask)):
        scene.browser.one(f"#{name}").type(str(file))
        scene.browser.until(lambda name=name: scene.browser.all(f"#added-{name} li"), "the picture")
    scene.browser.until(lambda: "GPT Image 2" in scene.browser.read("#plan"), "the plan")
    scene.browser.until(scene.browser.pictures_shown, "the pictures")


SCENES = {
    "history": lambda scene: scene.open("/history"),
    "history-empty": lambda scene: scene.open("/history?state=cancelled"),
    "nowhere": lambda scene: scene.open("/no-such-page"),
    "create": lambda scene: scene.create("A fox", "Nano Banana 2"),
    "create-planned": create_planned,
    "create-refused": create_refused,
    "create-problems": create_problems,
    "create-drawing": create_drawing,
    "create-drawn": create_drawn,
    "create-failed": create_failed,
    "create-pictures": create_with_pictures,
    "decision": lambda scene: scene.decision("lighthouse"),
    "decision-failover": lambda scene: scene.decision("a"),
    "decision-failed": lambda scene: scene.decision("unfit"),
    "decision-several": lambda scene: scene.decision("two"),
    "decision-long": lambda scene: scene.decision("long"),
    "sign-in": sign_in_refused,  # last, for it signs out
}


@pytest.mark.parametrize("name", SCENES)
def test_a_page_is_accessible_and_fits(served, signed_in, name, tmp_path):
    """axe-core finds nothing, nothing is wider than the screen, and nothing inline was blocked."""
    browser = signed_in
    browser.look_like(DESKTOP)
    browser.complaints()
    SCENES[name](Scene(served, browser, tmp_path))

    for screen in (DESKTOP, PHONE):
        for scheme in SCHEMES:
            browser.look_like(screen, scheme)
            browser.keep(f"{name}-{screen.name}-{scheme}")
            assert browser.violations() == []
            assert browser.overflow_px() == 0
    served.run(release)
    assert [each for each in browser.complaints() if not any(text in each for text in ON_PURPOSE)] == []


ON_PURPOSE = (
    "status of 401",
    "status of 404",
    "status of 422",
    "htmx:afterRequest",
    "htmx:sendAbort",
)
"""What htmx and Chromium write of answers that are refusals, and of a plan that a newer one has overtaken."""


async def release(running):
    running.sandbox.release_stalls()
