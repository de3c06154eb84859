"""Create in a browser: the plan before the press, previews while it runs, one payment a press, nothing typed lost."""

import io
import re

import pytest
from PIL import Image

from browsing import CONTROL, DESKTOP, ENTER, PHONE, SPACE
from door import door
from pictor.v1.image_pb2 import TIER_PRO
from pictor.v1.image_service_pb2 import GenerateRequest, PlanRequest
from pictord.auth.callers import hash_key
from pictord.domain.money import format_usd
from pictord.sandbox import SandboxSettings
from pictord.settings import CallerTable
from served import serving

KEY = "pictor_web-key"


@pytest.fixture(scope="module")
def served():
    with serving(sandbox=SandboxSettings(time_scale=0.02), time_scale=0.02) as running:
        yield running


@pytest.fixture
def create(served, browser):
    """The page, fresh, on a desktop; the sandbox has forgotten what it charged."""
    served.run(forget)
    browser.look_like(DESKTOP)
    browser.forget()
    browser.open(f"{served.url}/create")
    browser.until(lambda: browser.all("#plan h2"), "the plan")
    return browser


async def forget(running):
    running.sandbox.faults.clear()
    running.sandbox.reset()


def charges(served):
    async def look(running):
        return [each for each in running.sandbox.charges if each.billed]

    return served.run(look)


def fault(served, kind, **rule):
    async def add(running):
        running.sandbox.faults.add(kind, **rule)

    served.run(add)


def planned(browser, text):
    browser.until(lambda: text in browser.read("#plan"), f"a plan with {text}")


def drawn(browser):
    browser.until(lambda: browser.all(".drawn"), "the end", 30)
    browser.until(browser.pictures_shown, "the picture")


# --- before the press


def test_the_plan_and_its_price_stand_there_before_the_press(served, create):
    """They are those of the Plan RPC, and change with the form."""

    async def worst(running):
        request = GenerateRequest(prompt="a red fox", tier=TIER_PRO, preview_count=2)
        answer = await running.images.Plan(PlanRequest(generate=request))
        return answer.worst_case_cost.nanos, answer.expected_cost.nanos

    create.one("#prompt").type("a red fox")
    planned(create, "Nano Banana 2")
    create.one("#tier").type("Pro")
    planned(create, "GPT Image 2 at high quality")

    most, expected = served.run(worst)
    assert f"about {format_usd(expected)}, at most {format_usd(most)}" in create.read("#plan")
    assert format_usd(expected) in create.read("#price")
    assert create.read("#plan").count("Nano Banana 2") == 1  # otherwise
    assert charges(served) == []


def test_the_canvas_has_the_shape_that_will_be_drawn(create):
    """A portrait stands upright before anything is paid."""
    create.one("#canvas-format").type("Portrait")
    planned(create, "4:5")

    width, height = (int(create.one("#blank svg").attribute(name)) for name in ("width", "height"))
    assert width / height == pytest.approx(4 / 5, rel=0.02)


def test_a_request_that_nobody_may_serve_says_so_before_the_press(create):
    """With what would help, as the RPCs say it."""
    create.one("#prompt").type("a banner")
    create.one("#canvas-ratio").type("8:1")
    create.run("document.querySelectorAll('details')[1].open = true")
    create.one("#model").type("GPT")

    planned(create, "This would be refused")
    assert "8:1" in create.read("#plan")


# --- the press


def test_previews_come_while_it_is_drawn_and_the_picture_last(served, create):
    """Accepted, drawing with the expected time, previews, picture with its engine and cost: one charge."""
    fault(served, "stall_mid_body", args={"after": "1"}, match={"prompt_contains": "fox asleep"})
    create.one("#prompt").type("a red fox asleep")
    create.one("#tier").type("Pro")
    planned(create, "GPT Image 2")
    create.one("#press").click()

    create.until(lambda: create.all(".is-preview"), "a preview")
    assert "GPT Image 2 is drawing" in create.read(".progress")
    assert create.one(".progress").attribute("role") == "status"
    assert create.all(".clock progress[aria-label]")
    served.run(lambda running: running.sandbox.wait_for_stalls(1))
    served.run(release)
    drawn(create)

    (charge,) = charges(served)
    label = create.read(".drawn .label")
    assert "a red fox asleep" in label
    assert "GPT Image 2" in label
    assert format_usd(charge.nanos) in label
    assert not create.all("[sse-connect]")
    assert create.one("#prompt").value == "a red fox asleep"
    assert create.complaints() == []


def test_the_keyboard_alone_draws_a_picture(served, create):
    """Every control is reached by Tab, with a focus that is seen; the press keeps the focus."""
    create.run("document.querySelector('.skip').focus()")
    create.press(ENTER)
    create.tab_to("#prompt")
    create.press("a red fox by keyboard")
    create.tab_to("#press")
    assert create.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    create.press(SPACE)
    drawn(create)

    assert len(charges(served)) == 1
    assert create.focused() == create.one("#press")


def test_enter_in_a_field_is_no_press(served, create):
    """Whoever confirms a ratio has not bought a picture; Ctrl+Enter in the prompt has."""
    create.one("#prompt").type("by enter")
    create.one("#canvas-ratio").type("4:3" + ENTER)
    planned(create, "4:3")
    assert not create.all("#run *")
    create.one("#prompt").type(CONTROL + ENTER)
    drawn(create)
    assert len(charges(served)) == 1


def test_a_double_press_pays_once(served, create):
    """Two submissions at once, past everything that the page does against it, are one picture."""
    create.one("#prompt").type("pressed twice")
    planned(create, "Nano Banana 2")
    create.run(
        """const form = document.querySelector("#create"), token = JSON.parse(document.body.getAttribute("hx-headers"));
        const press = () => fetch("/create", {method: "POST", body: new URLSearchParams(new FormData(form)),
            headers: {...token, "HX-Request": "true"}}).then(answer => answer.text());
        window.pressed = Promise.all([press(), press(), press()]);
        form.requestSubmit(); form.requestSubmit();"""
    )
    drawn(create)
    answers = create.run("return window.pressed")

    ids = {re.search(r"/generations/(gen_\w+)", each)[1] for each in answers}
    assert len(ids) == 1
    assert len(charges(served)) == 1


def test_a_new_press_after_the_end_is_a_new_picture(served, create):
    """The request id changes with the end of the drawing, and only then."""
    create.one("#prompt").type("again and again")
    before = create.one("[name=request_id]").value
    create.one("#press").click()
    drawn(create)
    assert create.one("[name=request_id]").value != before
    create.one("#press").click()
    create.until(lambda: len(charges(served)) == 2, "a second picture")
    drawn(create)


def test_a_page_that_is_left_and_opened_again_shows_the_same(served, create):
    """The address names the generation: what was typed and what is drawn are there again."""
    fault(served, "stall", match={"prompt_contains": "left alone"})
    create.one("#prompt").type("left alone")
    create.one("#tier").type("Pro")
    create.one("#press").click()
    served.run(lambda running: running.sandbox.wait_for_stalls(1))
    create.open(create.address())

    create.until(lambda: "is drawing" in create.text(), "the drawing, again")
    assert create.one("#prompt").value == "left alone"
    assert create.one("#tier").value == "pro"
    assert create.one("#press").attribute("aria-disabled") == "true"
    served.run(release)
    drawn(create)
    assert len(charges(served)) == 1


def test_what_was_sent_runs_to_its_end_although_it_is_stopped(served, create):
    """And the page says so."""
    fault(served, "stall", match={"prompt_contains": "stop me"})
    create.one("#prompt").type("stop me")
    create.one("#press").click()
    served.run(lambda running: running.sandbox.wait_for_stalls(1))
    create.one("#press-box button[hx-post]").click()

    create.until(lambda: create.shows("It has been sent, so it runs to its end and is kept."), "the answer")
    served.run(release)
    drawn(create)


async def release(running):
    running.sandbox.release_stalls()


def test_several_pictures_are_drawn_side_by_side(served, create):
    """Each has its place, and the price is for all of them."""
    create.one("#prompt").type("four of a kind")
    create.run("document.querySelectorAll('details')[1].open = true")
    create.one("#count").type("3")
    planned(create, "$0.20")
    create.one("#press").click()
    drawn(create)

    assert len(create.all(".drawn .stage img")) == 3
    assert len(charges(served)) == 3


# --- what goes wrong


def test_problems_stand_at_their_fields_and_nothing_typed_is_lost(served, create):
    """All of them at once, said to everybody, the first in focus; and nothing was sent."""
    create.one("#canvas-ratio").type("wide")
    create.run("document.querySelectorAll('details')[1].open = true")
    create.one("#max-cost").type("ten cents")
    create.one("#press").click()
    create.until(lambda: create.read("#problem-canvas-ratio"), "the problem of the ratio")

    assert create.read("#problem-max-cost") == "An amount in US dollars, such as 0.10"
    assert create.one("#canvas-ratio").attribute("aria-invalid") == "true"
    create.until(lambda: create.focused() == create.one("#canvas-ratio"), "the focus at the first problem")
    assert create.one("#canvas-ratio").value == "wide"
    assert create.one("#max-cost").value == "ten cents"
    assert charges(served) == []

    create.one("#canvas-ratio").clear()
    create.one("#max-cost").clear()
    create.one("#press").click()
    create.until(lambda: create.read("#problem-prompt") == "Must not be empty", "the problem of the prompt")
    assert create.read("#problem-canvas-ratio") == ""


def test_a_refusal_of_the_engine_is_told_and_can_be_mended(served, create):
    """The reason, that nothing was spent, what was typed, and a new press."""
    fault(served, "moderation_blocked", provider="openai", times=1)
    create.one("#prompt").type("something unfit")
    create.one("#tier").type("Pro")
    create.one("#press").click()
    drawn(create)

    assert "Content policy" in create.read(".drawn .notice")
    assert "Nothing was spent" in create.read(".drawn .label")
    assert create.one("#prompt").value == "something unfit"
    create.one("#press").click()
    create.until(lambda: create.all(".drawn .stage img"), "the picture after all")


def test_a_failover_is_seen_as_it_happens(served, create):
    """The other engine draws, and the label says which."""
    fault(served, "overloaded", provider="openai", times=1)
    create.one("#prompt").type("over to you")
    create.one("#tier").type("Pro")
    create.one("#press").click()
    drawn(create)

    assert "Nano Banana 2" in create.read(".drawn .label")
    assert "Not at the best quality" in create.read(".drawn .label")


def test_a_spent_limit_of_ones_own_is_told_before_and_at_the_press(served, create):
    """`max_cost` is held to the worst case."""
    create.one("#prompt").type("cheap")
    create.run("document.querySelectorAll('details')[1].open = true")
    create.one("#max-cost").type("0.001")
    planned(create, "This would be refused")
    create.one("#press").click()
    create.until(lambda: create.all("#press-problem .notice"), "the refusal")

    assert "0.001" in create.read("#press-problem")
    assert create.one("#max-cost").value == "0.001"
    assert charges(served) == []


def test_who_is_signed_out_meanwhile_keeps_what_was_typed(browser):
    """The notice says how to go on; after signing in elsewhere the same press works."""
    callers = (CallerTable("web", (hash_key(KEY),)),)
    with serving(callers=callers, sandbox=SandboxSettings(time_scale=0)) as served:
        browser.look_like(DESKTOP)
        browser.forget()
        browser.open(f"{served.url}/create")
        browser.one("[name=key]").type(KEY + ENTER)
        browser.until(lambda: browser.all("#plan h2"), "the plan")
        browser.one("#prompt").type("a long and careful prompt")
        planned(browser, "Nano Banana 2")
        browser.forget()
        browser.one("#press").click()

        browser.until(lambda: "You are signed out" in browser.read("#notice"), "the notice")
        with browser.other_tab():
            browser.open(f"{served.url}/sign-in")
            browser.one("[name=key]").type(KEY + ENTER)
            browser.until(lambda: browser.all("nav"), "the way in")
        browser.one("#press").click()
        browser.until(lambda: "Press again" in browser.read("#notice"), "the new session")
        assert browser.one("#prompt").value == "a long and careful prompt"
        assert charges(served) == []
        browser.one("#press").click()
        drawn(browser)
        assert len(charges(served)) == 1
        assert browser.read("#notice") == ""


# --- pictures


def test_pictures_are_taken_in_at_once_and_make_an_edit(served, create, tmp_path):
    """A reference, a picture to change and its mask: shown, priced, sent; one can be let go of."""
    fox, mask = tmp_path / "fox.png", tmp_path / "mask.png"
    Image.new("RGB", (1024, 1024), "teal").save(fox)
    Image.new("RGBA", (1024, 1024), (0, 0, 0, 0)).save(mask)
    create.run("document.querySelector('details').open = true")
    create.one("#prompt").type("make the sky stormy")

    create.one("#references").type(f"{fox}\n{mask}")
    create.until(lambda: len(create.all("#added-references li")) == 2, "the references")
    create.all("#added-references [data-remove]")[1].click()
    create.one("#image").type(str(fox))
    create.until(lambda: create.all("#added-image li"), "the picture")
    planned(create, "edit: a picture is changed")
    create.one("#mask").type(str(mask))
    create.until(lambda: create.all("#added-mask li"), "the mask")
    planned(create, "GPT Image 2")  # the only one that keeps what a mask protects
    create.until(create.pictures_shown, "the pictures")
    create.one("#press").click()
    drawn(create)

    (charge,) = charges(served)
    assert charge.model == "gpt-image-2"
    assert len(create.all("#added-references li")) == 1
    create.open(create.address())
    create.until(lambda: create.all("#added-mask li"), "the pictures, again")
    assert len(create.all("#added-references li")) == len(create.all("#added-image li")) == 1


async def test_a_plan_needs_no_bytes_of_the_pictures(tmp_path):
    """It follows every key; a press reads them, and tells at the field that one is gone."""
    async with door(data_dir=tmp_path) as console:
        token = {"X-Form-Token": await console.token("/create")}
        ids = {}
        for name, size in (("references", (1024, 768)), ("image", (640, 480))):
            data = io.BytesIO()
            Image.new("RGB", size).save(data, "PNG")
            files = {"file": ("fox.png", data.getvalue())}
            added = await console.client.post(f"/create/pictures/{name}", files=files, headers=token)
            ids[name] = re.search(r'value="(img_\w+)"', added.text)[1]
        for file in (tmp_path / "images").glob("*/*"):
            file.unlink()
        form = {"prompt": "a fox", "tier": "standard", **ids}
        plan = await console.client.post("/create/plan", data=form, headers=token)
        press = await console.client.post("/create", data=form, headers=token)

        assert ("about $" in plan.text, "changed" in plan.text) == (True, True)
        assert press.status_code == 422
        assert press.text.count("dropped just now, removed by hand") == 2
        assert len(console.gateway.sandbox.charges) == 0


def test_a_file_that_is_no_picture_is_told_at_its_field(create, tmp_path):
    """By its name; what was there before stays."""
    fox, text = tmp_path / "fox.png", tmp_path / "notes.txt"
    Image.new("RGB", (64, 64)).save(fox)
    text.write_text("not a picture")
    create.run("document.querySelector('details').open = true")
    create.one("#image").type(str(fox))
    create.until(lambda: create.all("#added-image li"), "the picture")
    create.one("#image").type(str(text))

    create.until(lambda: "notes.txt" in create.read("#upload-image"), "the problem")
    planned(create, "edit: a picture is changed")
    assert "notes.txt" in create.read("#upload-image")  # the plan that followed has not taken it away
    assert len(create.all("#added-image li")) == 1
    assert create.one("#image").attribute("aria-invalid") == "true"


# --- on a phone


def test_on_a_phone_a_press_leads_to_the_picture(create):
    """The bar with price and button is always in sight, and the drawing comes into it."""
    create.look_like(PHONE)
    create.one("#prompt").type("on a phone")
    planned(create, "Nano Banana 2")
    assert create.run("return document.querySelector('#press').getBoundingClientRect().bottom <= innerHeight")
    create.one("#press").click()
    drawn(create)

    top = create.run("return document.querySelector('.easel').getBoundingClientRect().top")
    assert 0 <= top < 200
