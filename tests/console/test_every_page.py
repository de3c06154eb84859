"""Every page on a desktop and a phone, light and dark: nothing for axe-core to find, nothing wider than the screen."""

import pytest

from browsing import DESKTOP, PHONE, SCHEMES
from pictor.v1.image_pb2 import TIER_PRO, Canvas
from pictor.v1.image_service_pb2 import GenerateRequest
from pictord.sandbox import SandboxSettings
from served import serving

PROMPTS = (
    ("A red fox asleep in fresh snow at dusk, long lens, soft light", {"canvas": Canvas(format="instagram/portrait")}),
    ("Lighthouse in a storm, woodcut", {"canvas": Canvas(ratio="16:9")}),
    ("A bowl of lemons on blue linen, morning light from the left, painted in gouache", {"tier": TIER_PRO}),
    ("Poster: SLOW MORNINGS, bold serif, two colours", {"canvas": Canvas(ratio="2:3")}),
    ("Paper boats on a canal", {"canvas": Canvas(format="instagram/story")}),
    ("An owl with round spectacles reading the evening paper", {"canvas": Canvas(ratio="1:1")}),
    ("Alpine hut, isometric", {"canvas": Canvas(ratio="21:9")}),
)


async def draw_some(running):
    """What hangs on the wall."""
    for prompt, options in PROMPTS:
        await running.images.Generate(GenerateRequest(prompt=prompt, max_inline_bytes=0, **options))


@pytest.fixture(scope="module")
def served():
    with serving(sandbox=SandboxSettings(time_scale=0)) as running:
        running.run(draw_some)
        yield running


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=lambda screen: screen.name)
@pytest.mark.parametrize("path", ["/history", "/history?state=cancelled", "/no-such-page"])
def test_a_page_is_accessible_and_fits(served, browser, path, screen, scheme):
    """axe-core finds nothing, nothing is wider than the screen, nothing jumps, and nothing inline was blocked."""
    browser.look_like(screen, scheme)
    browser.forget()
    browser.open(served.url + path)
    browser.until(browser.pictures_shown, "the pictures")

    browser.keep(f"{path.strip('/').replace('?', '-').replace('=', '-')}-{screen.name}-{scheme}")
    assert browser.violations() == []
    assert browser.overflow_px() == 0
    assert browser.layout_shifts() == []
    assert [each for each in browser.complaints() if "404" not in each] == []
