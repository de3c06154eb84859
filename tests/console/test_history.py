"""The wall: what hangs there, the filters, more as one scrolls, and who sees whose."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

import samples
from browsing import DESKTOP
from pictor.v1.image_pb2 import TIER_PRO
from pictor.v1.image_service_pb2 import GenerateRequest
from pictord.assets.thumbnails import SIDE_PX
from pictord.catalog import catalog
from pictord.console.pages.history import PAGE_SIZE, hung, query, wanted
from pictord.domain.caller import Caller, Role
from pictord.domain.generation import Output, State
from pictord.domain.money import Cost
from pictord.domain.reason import Reason
from pictord.domain.request import Tier
from pictord.sandbox import SandboxSettings
from pictord.store.base import ListFilter
from served import serving

MODELS = catalog.load().models
NOW = samples.NOON + timedelta(minutes=5)
WEB, OPS = Caller("web"), Caller("ops", Role.OPERATOR)


def tiles(generation):
    return list(hung(generation, MODELS, lambda image: f"/images/{image.id}", NOW))


# --- what hangs there


def test_a_picture_hangs_with_its_label():
    """Engine, model, version, what it cost and when; one tile for each output, each with its own cost."""
    image = samples.image(output_index=1)
    attempts = (
        samples.finished(samples.attempt("att_1", output_index=1), 50),
        samples.finished(samples.attempt("att_2", output_index=1), 7),
        samples.finished(samples.attempt("att_3"), 900),
    )
    generation = samples.generation(
        state=State.SUCCEEDED,
        outputs=(Output(0, State.FAILED, reason=Reason.NO_IMAGE), Output(1, State.SUCCEEDED, image)),
        attempts=attempts,
    )

    none, tile = tiles(generation)

    assert (tile.engine, tile.provider, tile.model) == ("GPT Image 2", "openai", "gpt-image-2")
    assert (tile.version, tile.cost.nanos, tile.age) == (image.served_version, 57, "5 min ago")
    assert (tile.url, tile.note) == (f"/images/{image.id}", "")
    assert (none.image, none.note, none.cost.nanos) == (None, "No image", 900)


def test_what_is_drawn_and_what_failed_hang_there_too():
    """A place without a picture says why."""
    (running,) = tiles(samples.generation(state=State.RUNNING))
    (failed,) = tiles(samples.generation(state=State.FAILED, reason=Reason.PROVIDER_FAILED, outputs=(Output(0),)))

    assert (running.note, running.is_running) == ("Is being drawn", True)
    assert (failed.note, failed.is_running, failed.cost) == ("Provider failed", False, Cost())


def test_a_model_that_the_catalog_has_lost_is_called_by_its_id():
    """Old pictures outlive their models."""
    image = replace(samples.image(), model="gpt-image-1")
    (tile,) = tiles(samples.generation(state=State.SUCCEEDED, outputs=(Output(0, State.SUCCEEDED, image),)))

    assert (tile.engine, tile.provider) == ("gpt-image-1", "")


# --- filters


def test_the_filters_ask_the_store():
    """Each choice is one condition; the time counts back from now."""
    asked = {"model": "gpt-image-2", "state": "failed", "tier": "pro", "workflow": "ad", "since": "week"}
    found = query(wanted(asked, WEB, MODELS), "gen_9", WEB, NOW)

    assert found == ListFilter(
        caller="web",
        model="gpt-image-2",
        state=State.FAILED,
        tier=Tier.PRO,
        workflow=found.workflow,
        since=NOW - timedelta(days=7),
        before="gen_9",
        limit=PAGE_SIZE,
    )
    assert found.workflow == "ad"


def test_what_is_no_choice_is_not_chosen():
    """A changed address filters nothing, and cannot name another caller."""
    asked = {"model": "dall-e-2", "state": "x", "tier": "", "since": "aeon", "caller": "ops", "label": "x"}

    assert query(wanted(asked, WEB, MODELS), None, WEB, NOW) == ListFilter(caller="web", limit=PAGE_SIZE)


@pytest.mark.parametrize(("asked", "whose"), [({}, None), ({"caller": "ops"}, "ops"), ({"caller": "web"}, "web")])
def test_who_may_read_others_sees_everybody_or_one(asked, whose):
    """Operators begin with everybody."""
    assert query(wanted(asked, OPS, MODELS), None, OPS, NOW).caller == whose


# --- in a browser


@pytest.fixture(scope="module")
def served():
    async def draw(running):
        requests = [GenerateRequest(prompt=f"picture {number}", max_inline_bytes=0) for number in range(PAGE_SIZE + 6)]
        requests[3].tier = TIER_PRO
        running.sandbox.faults.add("moderation_blocked", match={"prompt_contains": "unfit"})
        for request in requests:
            await running.images.Generate(request)
        await asyncio.gather(
            *[running.images.Generate(GenerateRequest(prompt="unfit", tier=TIER_PRO))], return_exceptions=True
        )

    with serving(sandbox=SandboxSettings(time_scale=0)) as running:
        running.run(draw)
        yield running


@pytest.fixture
def wall(served, browser):
    browser.look_like(DESKTOP)
    browser.forget()
    browser.open(f"{served.url}/history")
    browser.until(browser.pictures_shown, "the pictures")
    return browser


def test_more_hangs_there_as_one_scrolls_and_nothing_jumps(wall):
    """The next rows come by themselves, each once, without moving what is in sight."""
    assert len(wall.all(".tile")) == PAGE_SIZE
    wall.run("document.querySelector('.more').scrollIntoView()")
    wall.until(lambda: len(wall.all(".tile")) == PAGE_SIZE + 7, "the rest")
    wall.until(wall.pictures_shown, "the pictures")

    titles = [each.text for each in wall.all(".label-title")]
    assert titles == ["unfit", *[f"picture {number}" for number in reversed(range(PAGE_SIZE + 6))]]
    assert not wall.all(".more")
    assert wall.layout_shifts() == []
    assert wall.complaints() == []


def test_small_pictures_hang_there(wall):
    """No larger than they are shown, and whole where one looks at one of them."""
    assert max(wall.run(SIDES)) == SIDE_PX
    wall.one(".tile:nth-child(2) .mat").click()
    wall.until(lambda: wall.shows("Why this engine"), "the decision")
    wall.until(wall.pictures_shown, "the picture")

    assert wall.run(SIDES)[0] == 1024


SIDES = "return [...document.images].map(each => Math.max(each.naturalWidth, each.naturalHeight))"


def test_filters_change_the_wall_and_the_address(wall):
    """At once; the address leads to the same wall again."""
    wall.one("[name=tier]").type("Pro")
    wall.until(lambda: len(wall.all(".tile")) == 2, "two tiles")
    wall.one("[name=state]").type("Failed")
    wall.until(lambda: wall.read_all(".tile .label-title") == ["unfit"], "the failed one alone")

    assert wall.read(".no-picture") == "Content policy"
    wall.until(lambda: "state=failed" in wall.address(), "its address")
    assert "tier=pro" in wall.address()
    wall.open(wall.address())
    assert len(wall.all(".tile")) == 1
    assert wall.one("[name=state]").value == "failed"


def test_a_tile_leads_to_its_decision(wall):
    """By keyboard as by mouse."""
    wall.one(".tile:nth-child(2) .mat").click()
    wall.until(lambda: wall.shows("Why this engine"), "the decision")

    assert wall.read(".title") == f"picture {PAGE_SIZE + 5}"


COUNT = "#picked-count"


def test_picked_pictures_are_counted_as_they_are_ticked(wall):
    """Aloud, beside how many can be compared; what is no longer on the wall is not picked."""
    assert wall.one(COUNT).attribute("role") == "status"
    assert wall.read(COUNT) == ""
    assert wall.run(SHOWN) is False
    for number, told in ((3, "1 picked"), (2, "2 picked"), (4, "3 picked")):
        wall.run(TICK, number)
        assert wall.read(COUNT) == told
    assert wall.read(".picking .fine").startswith("of 2 to 8")
    assert wall.run(SHOWN) is True
    wall.run(TICK, 2)
    assert wall.read(COUNT) == "2 picked"
    assert wall.violations() == []

    wall.one("#picked button[type=reset]").click()
    wall.until(lambda: wall.read(COUNT) == "", "that none is picked")
    wall.run(TICK, 4)
    wall.one("[name=tier]").type("Pro")
    wall.until(lambda: len(wall.all(".tile")) == 2, "two tiles")
    wall.until(lambda: wall.read(COUNT) == "", "that what was picked is gone")
    assert wall.complaints() == []


TICK = "document.querySelector(`.tile:nth-child(${arguments[0]}) .pick input`).click()"
SHOWN = "return document.getElementById('picked').checkVisibility()"
