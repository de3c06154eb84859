"""Compare: what stands side by side, what is marked, one re-roll for one press, and who wins."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from browsing import DESKTOP, ENTER, PHONE, RIGHT, SCHEMES, SPACE, TAB
from comparing import a_lineage, draw, draw_again, some_ratings
from door import OPS, WEB, door
from gateway import GPT, NANO
from looking import look
from pictor.v1.history_service_pb2 import CompareGenerationsRequest, RateGenerationRequest, Thumb
from pictor.v1.image_pb2 import TIER_PRO
from pictor.v1.usage_service_pb2 import GetScorecardRequest
from pictord.auth.callers import hash_key
from pictord.catalog import catalog
from pictord.console.compared import rows, said, title
from pictord.console.line_up import Line, read_line, side_by_side
from pictord.console.pages.compare import engines, members, strip
from pictord.domain.caller import LOCAL, Caller, CallerPolicy, Role
from pictord.domain.comparison import ComparedField
from pictord.domain.generation import State
from pictord.domain.rating import Rated, Rating
from pictord.sandbox import SandboxSettings
from pictord.settings import CallerTable
from samples import generation
from served import serving

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
CALLERS = (CallerTable("web", (hash_key(WEB),)), CallerTable("ops", (hash_key(OPS),), role=Role.OPERATOR))
MODELS = catalog.load().models


# --- from the domain to what is shown


def test_a_line_is_a_lineage_a_set_or_different_ones():
    """In this order, and each id once: several pictures of one generation may have been picked."""
    assert read_line([("id", each) for each in ("a", "b", "a", "")]) == Line(ids=("a", "b"))
    assert read_line([("id", "a"), ("lineage_of", "l"), ("set_id", "s")]).url == "/compare?lineage_of=l"
    assert read_line([("set_id", "s"), ("lineage_of", "")]).url == "/compare?set_id=s"
    assert read_line([("lineage_of", "l"), ("show", "b"), ("show", "b")]) == Line(lineage_of="l", shown=("b",))
    assert read_line([("id", "a"), ("show", "b")]) == Line(ids=("a",))
    assert read_line([]).url == "/compare"


def test_a_reroll_stands_beside():
    """A lineage has it by itself; among picked ones it is added, and where there is no room its lineage is shown."""
    eight = Line(ids=tuple("abcdefgh"))

    assert Line(lineage_of="a").with_reroll("b", "new") == Line(lineage_of="a")
    chosen = Line(lineage_of="a", shown=tuple("abcdefgh"))
    assert chosen.with_reroll("b", "new").shown == (*"bcdefgh", "new")
    assert chosen.with_reroll("b", "h").shown == tuple("bcdefgh")
    assert Line(ids=("a", "b")).with_reroll("b", "new") == Line(ids=("a", "b", "new"))
    assert Line(ids=("a", "b")).with_reroll("b", "a") == Line(ids=("a", "b"))
    assert eight.with_reroll("b", "new") == Line(lineage_of="b")
    assert Line(set_id="s").with_reroll("b", "new") == Line(lineage_of="b")


def test_what_differs_is_apart_and_marked_against_the_first():
    """What people look for comes first; the least of cost and time is named."""
    fields = (
        ComparedField("state", ("succeeded", "succeeded")),
        ComparedField("decision.policy_version", ("p1", "p2")),
        ComparedField("request.prompt", ("a fox", "")),
        ComparedField("cost.amount_usd", ("0.2108", "0.0672")),
        ComparedField("images.model", (GPT, NANO)),
        ComparedField("timings.total_s", ("0.000", "12.300")),
    )

    differing, alike = rows(fields)

    assert [each.title for each in differing] == ["Model", "Policy version", "Cost", "Time", "Prompt"]
    assert [each.title for each in alike] == ["State"]
    cost = differing[2].cells
    assert [(each.text, each.is_odd, each.is_least) for each in cost] == [
        ("$0.2108", False, False),
        ("$0.0672", True, True),
    ]
    assert differing[4].cells[1].text == "none"
    assert [each.is_least for each in differing[3].cells] == [False, True]


@pytest.mark.parametrize(
    ("seconds", "in_all", "odd"),
    [
        (("0.034", "0.036"), "34 ms to 36 ms", None),
        (("12.300", "12.310"), "12 s", None),
        (("1.000", "1.499"), "1.0 s to 1.5 s", None),
        (("60.000", "64.000"), "60 s to 64 s", None),
        (("1.000", "1.500"), None, [False, True]),
        (("60.000", "67.000"), None, [False, True]),
        (("1.000", "1.400", "1.800"), None, [False, False, True]),
        (("0.034", ""), None, [False, True]),
    ],
)
def test_times_differ_if_a_person_would_notice(seconds, in_all, odd):
    """By half a second and a tenth; what is closer is said once, from the least to the most, and nothing is fastest."""
    field = ComparedField("timings.total_s", seconds)

    differing, alike = rows((field,))

    assert field.differs  # for programs
    assert [[each.is_odd for each in row.cells] for row in differing] == ([odd] if odd else [])
    assert [(row.in_all, row.is_about) for row in alike] == ([(in_all, True)] if in_all else [])
    assert [each for row in alike for each in row.cells if each.is_odd or each.is_least] == []


def test_money_differs_by_the_least_of_it():
    """Only times are judged by what people notice."""
    (cost,), alike = rows((ComparedField("cost.amount_usd", ("0.0672", "0.067201")),))

    assert ([each.is_odd for each in cost.cells], alike) == ([False, True], ())


@pytest.mark.parametrize(
    ("path", "called", "value", "shown"),
    [
        ("timings.queue_s", "Time: queue", "0.034", "34 ms"),
        ("request.max_cost_usd", "Max cost", "0.1", "$0.1"),
        ("labels.campaign_id", "Label: campaign_id", "x_1", "x_1"),
        ("images.size_bytes", "Bytes", "1204477", "1,204,477"),
        ("request.high_quality", "High quality", "true", "yes"),
        ("adaptations", "Adaptations", "quality_reduced (high)", "quality reduced (high)"),
        ("request.canvas.ratio", "Canvas ratio", "16:9", "16:9"),
    ],
)
def test_facts_are_called_as_people_would(path, called, value, shown):
    """A label keeps its very name."""
    assert (title(path), said(path, value)) == (called, shown)


def test_a_winner_was_picked_over_one_that_stands_here():
    """By the visitor; others are counted, and a verdict over somebody elsewhere says nothing here."""
    first, second = (generation(f"gen_{number}", state=State.SUCCEEDED) for number in (1, 2))
    mine = Rating("local", _rated(second), None, (_rated(first),), "", NOW)
    theirs = Rating("web", _rated(first), None, (_rated(second),), "", NOW)
    before = Rating("local", _rated(first), None, (_rated(second),), "", NOW - timedelta(hours=1))
    elsewhere = Rating("local", _rated(first), None, (_rated(generation("gen_3")),), "", NOW + timedelta(hours=1))

    one, two = members([(1, first), (2, second)], [mine, theirs, before, elsewhere], LOCAL, lambda each: each.id)

    assert (one.is_winner, one.others_picked, two.is_winner, two.others_picked) == (False, 1, True, 0)


def _rated(each):
    return Rated(each.id, each.caller, "", NANO, NOW)


TWELVE = [generation(f"gen_{number:02}") for number in range(1, 13)]


def numbers(line, family=TWELVE):
    return [number for number, _ in side_by_side(family, line)]


def test_of_a_large_lineage_the_newest_stand_side_by_side():
    """Of a set the first; what was chosen instead of them, in its order, as many as fit."""
    assert numbers(Line(lineage_of="gen_03")) == list(range(5, 13))
    assert numbers(Line(set_id="s")) == list(range(1, 9))
    assert numbers(Line(lineage_of="gen_03", shown=("gen_11", "gen_02", "gen_99"))) == [2, 11]
    assert numbers(Line(lineage_of="gen_03", shown=("gen_02",))) == list(range(5, 13))
    assert numbers(Line(lineage_of="gen_03", shown=tuple(each.id for each in TWELVE))) == list(range(5, 13))
    assert numbers(Line(lineage_of="gen_03", shown=("gen_11", "gen_02")), TWELVE[:8]) == list(range(1, 9))


def test_the_strip_puts_one_more_beside_or_takes_one_away():
    """For one more than fit the first steps back; two always stand there; a small family needs no strip."""

    def leads_to(line):
        found = strip(TWELVE, side_by_side(TWELVE, line), line, lambda each: each.id)
        shown = [[int(each) for each in re.findall(r"show=gen_(\d+)", choice.url)] for choice in found]
        return {choice.number: (choice.is_shown, shown[choice.number - 1]) for choice in found}

    newest, two = leads_to(Line(lineage_of="a")), leads_to(Line(lineage_of="a", shown=("gen_01", "gen_02")))

    assert newest[1] == (False, [6, 7, 8, 9, 10, 11, 12, 1])
    assert newest[12] == (True, [5, 6, 7, 8, 9, 10, 11])
    assert (two[1], two[2], two[3]) == ((True, []), (True, []), (False, [1, 2, 3]))
    small = TWELVE[:8]
    assert strip(small, side_by_side(small, Line(lineage_of="a")), Line(lineage_of="a"), lambda each: each.id) == ()


def test_only_engines_that_may_draw_are_offered():
    """Of configured providers, and of those what the caller is allowed."""
    bound = Caller("web", policy=CallerPolicy(models=frozenset({NANO})))

    assert list(engines(MODELS, LOCAL, {"openai", "gemini"})) == [GPT, NANO]
    assert list(engines(MODELS, LOCAL, {"openai"})) == [GPT]
    assert list(engines(MODELS, bound, {"openai", "gemini"})) == [NANO]


# --- the door


@pytest.mark.parametrize("count", [1, 9])
async def test_two_to_eight_stand_side_by_side(count):
    """Fewer or more are refused with what would work."""
    async with door() as console:
        ids = "&".join(f"id=gen_{number}" for number in range(count))
        page = await console.client.get(f"/compare?{ids}")

        assert page.status_code == 422
        assert f"Pick 2 to 8 pictures in History; these are {count}." in page.text


async def test_what_is_not_there_or_anothers_is_not_found():
    """Neither shown, nor re-rolled, nor rated."""
    async with door(callers=CALLERS) as console:
        other = await draw(console.gateway, "not yours", (("authorization", f"Bearer {OPS}"),))
        await console.sign_in(WEB)
        token = await console.token("/compare")
        for path in ("lineage_of=gen_0", f"lineage_of={other.id}", f"id={other.id}&id=gen_0", "set_id=set_0"):
            assert (await console.client.get(f"/compare?{path}")).status_code == 404
        for action, field in (("reroll", "generation_id"), ("winner", "winner")):
            form = {"form_token": token, field: other.id, "lineage_of": other.id}
            assert (await console.client.post(f"/compare/{action}", data=form)).status_code == 404


async def test_one_press_is_one_picture():
    """Pressed twice, the same one stands beside, and is paid once; the price that was shown bounds it."""
    async with door() as console:
        first, second = await a_lineage(console.gateway)
        before = len(console.gateway.sandbox.charges)
        offer = (await console.client.get(f"/compare/offer?lineage_of={first}&generation_id={second}")).text
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', offer))
        fields["model"] = re.search(r'<option value="([^"]+)" selected>', offer)[1]

        answers = [await console.client.post("/compare/reroll", data=fields) for _ in range(2)]
        for answer in answers:
            assert (answer.status_code, answer.headers["location"]) == (303, f"/compare?lineage_of={first}")
        family = await console.gateway.history.CompareGenerations(CompareGenerationsRequest(lineage_of=first))
        new = family.generations[-1]
        await console.gateway.app.jobs.running_ended()

        assert len(family.generations) == 3
        assert fields["model"] == GPT  # the other engine than that of the second
        assert new.lineage.reroll_of == second
        assert len(console.gateway.sandbox.charges) == before + 1
        assert console.gateway.sandbox.charges[-1].nanos <= int(fields["most_nanos"])


async def test_what_cannot_be_drawn_is_said_before_and_after():
    """An engine that is switched off has no price and no button; one that goes meanwhile is told at the form."""
    async with door() as console:
        first, _ = await a_lineage(console.gateway)
        page = await console.client.get(f"/compare/offer?lineage_of={first}&generation_id={first}")
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text)) | {"model": NANO}
        console.gateway.app.guards.disable("gemini", "talks")

        off = await console.client.get(f"/compare/offer?lineage_of={first}&generation_id={first}")
        late = await console.client.post("/compare/reroll", data=fields)

        assert "Draw beside" in page.text
        for answer in (off.text, late.text):
            assert "talks" in answer
            assert "Draw beside" not in answer
        assert late.status_code == 422
        assert "Side by side" in late.text


async def test_a_model_that_there_is_not_is_refused():
    """With the names of those that there are."""
    async with door() as console:
        first, _ = await a_lineage(console.gateway)
        answer = await console.client.get(f"/compare?lineage_of={first}&reroll={first}&model=dall-e")

        assert answer.status_code == 422
        assert GPT in answer.text


async def test_a_winner_counts_in_the_scorecard_and_keeps_what_was_said():
    """The pick is a rating over all others with a picture; an earlier thumb and text stay; the last pick counts."""
    async with door() as console:
        first, second = await a_lineage(console.gateway)
        third = (await draw_again(console.gateway, first)).id
        thumb = RateGenerationRequest(generation_id=second, thumb=Thumb.THUMB_UP, text="crisp")
        await console.gateway.history.RateGeneration(thumb)
        token = await console.token("/compare")
        for winner in (first, second):
            form = {"form_token": token, "lineage_of": first, "winner": winner}
            answer = await console.client.post("/compare/winner", data=form)
            assert answer.headers["location"] == f"/compare?lineage_of={first}"
        family = await console.gateway.history.CompareGenerations(CompareGenerationsRequest(lineage_of=first))
        said_of = {each.generation_id: each for each in family.ratings}
        scores = (await console.gateway.usage.GetScorecard(GetScorecardRequest())).scores
        page = (await console.client.get(f"/compare?lineage_of={first}")).text

        assert set(said_of[second].won_over_ids) == {first, third}
        assert (said_of[second].thumb, said_of[second].text) == (Thumb.THUMB_UP, "crisp")
        assert {each.model: (each.wins, each.losses) for each in scores} == {NANO: (2, 2), GPT: (1, 1)}
        assert re.findall(r'id="pick-(\w+)" type="submit" aria-pressed="true"', page) == [second]


async def test_a_winner_wins_over_those_that_were_seen_beside():
    """Not over the rest of a large lineage."""
    async with door() as console:
        first, second = await a_lineage(console.gateway)
        ids = [first, second, *[(await draw_again(console.gateway, first)).id for _ in range(8)]]
        page = (await console.client.get(f"/compare?lineage_of={first}")).text
        form = {"form_token": await console.token("/compare"), "lineage_of": first, "winner": ids[9]}
        await console.client.post("/compare/winner", data=form | {"show": [ids[0], ids[9], ids[4]]})
        family = await console.gateway.history.CompareGenerations(CompareGenerationsRequest(lineage_of=first))

        assert "8 of 10 side by side" in page
        assert page.count('id="choice-') == 10
        assert page.count('id="member-') == 8
        assert set(family.ratings[0].won_over_ids) == {ids[0], ids[4]}


async def test_a_post_without_the_token_draws_and_rates_nothing():
    """Another site's form."""
    async with door() as console:
        first, second = await a_lineage(console.gateway)
        for action, form in (("reroll", {"generation_id": first}), ("winner", {"winner": second})):
            answer = await console.client.post(f"/compare/{action}", data={"lineage_of": first, **form})
            assert answer.status_code == 403
        assert len(console.gateway.sandbox.charges) == 2


# --- in a browser


PLACES_WITHOUT_THE_LAST = """
const cells = [...document.querySelectorAll(".side-by-side tbody tr:first-child > *")];
const places = () => cells.slice(0, -1).map(cell => cell.getBoundingClientRect().x);
const whole = places();
cells.at(-1).remove();
return [whole, places()];
"""


@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=lambda screen: screen.name)
def test_a_row_that_is_still_arriving_stands_where_it_will(large, browser, screen):
    """A page comes in parts, and a part may end within a row."""
    browser.forget()
    browser.look_like(screen)
    browser.open(large)

    whole, arriving = browser.run(PLACES_WITHOUT_THE_LAST)

    assert arriving == whole


@pytest.fixture(scope="module")
def compared():
    """Where a lineage is shown."""
    with serving(sandbox=SandboxSettings(time_scale=0)) as running:
        running.run(some_ratings)
        first, _ = running.run(a_lineage)
        yield f"{running.url}/compare?lineage_of={first}", f"&reroll={first}"


@pytest.fixture(scope="module")
def large():
    """Where a lineage of twelve is shown."""
    with serving(sandbox=SandboxSettings(time_scale=0)) as running:
        first, _ = running.run(a_lineage)
        for number in range(10):
            running.run(lambda gateway, number=number: draw_again(gateway, first, (NANO, GPT)[number % 2]))
        yield f"{running.url}/compare?lineage_of={first}"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=lambda screen: screen.name)
def test_a_large_lineage_is_accessible_and_fits(large, browser, screen, scheme):
    """On a desktop nothing of it is out of sight."""
    browser.forget()
    look(browser, large, "compare-large", screen, scheme)
    if screen is DESKTOP:
        assert browser.run(HIDDEN_PX) == 0


HIDDEN_PX = "const box = document.querySelector('#comparison .scrolls'); return box.scrollWidth - box.clientWidth"


def test_what_stands_side_by_side_is_chosen_by_the_keyboard(large, browser):
    """The focus stays, and the address leads there again."""
    shown = "return [...document.querySelectorAll('.side-by-side thead th')].map(each => each.id)"
    browser.forget()
    browser.look_like(DESKTOP)
    browser.open(large)
    assert browser.run(shown) == [f"member-{number}" for number in range(5, 13)]
    browser.tab_to("#choice-2")
    browser.press(ENTER)
    browser.until(lambda: browser.run(shown)[0] == "member-2", "the second")

    assert browser.run(shown)[1:] == [f"member-{number}" for number in range(6, 13)]
    assert browser.focused_id() == "choice-2"
    browser.until(lambda: "show=" in browser.address(), "its address")
    browser.press(ENTER)
    browser.until(lambda: browser.run(shown)[0] == "member-6", "it is taken away")
    browser.until(lambda: browser.address().count("show=") == 7, "its address")
    browser.open(browser.address())
    assert browser.run(shown) == [f"member-{number}" for number in range(6, 13)]
    assert browser.complaints() == []


@pytest.mark.parametrize("region", ["#comparison .scrolls", "#scorecard .scrolls"])
def test_what_is_wider_than_a_phone_is_scrolled_by_the_keyboard(large, browser, region):
    """It has a name, and a shadow at the edge beyond which there is more, and nowhere else."""
    browser.forget()
    browser.look_like(PHONE)
    browser.open(large)
    browser.tab_to(region, 100)
    assert browser.focused().attribute("aria-label")
    assert browser.run(SHADED, region) == [False, True]

    browser.press(RIGHT)
    browser.until(lambda: browser.run(SHADED, region) == [True, True], "the middle")
    browser.run("const box = document.querySelector(arguments[0]); box.scrollLeft = box.scrollWidth", region)
    browser.until(lambda: browser.run(SHADED, region) == [True, False], "the end")


SHADED = """const box = document.querySelector(arguments[0]), most = box.scrollWidth - box.clientWidth;
    const covers = getComputedStyle(box).backgroundAttachment === "local, local, scroll, scroll";
    return [covers && box.scrollLeft > 0, covers && box.scrollLeft < most - 1];"""
"""Whether there is more to the left and to the right: the ground that covers a shadow is scrolled away there."""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=lambda screen: screen.name)
@pytest.mark.parametrize("what", ["compare", "compare-lineage", "compare-reroll"])
def test_it_is_accessible_and_fits(compared, browser, what, screen, scheme):
    """Nothing picked, a lineage, and with the offer of a re-roll."""
    lineage, offer = compared
    urls = {"compare": lineage.partition("?")[0], "compare-lineage": lineage, "compare-reroll": lineage + offer}
    browser.forget()
    look(browser, urls[what], what, screen, scheme)


def test_from_the_wall_to_the_winner_by_the_keyboard(browser):
    """Picked in History, compared, drawn again with its price before, watched, beside, and picked."""
    with serving(sandbox=SandboxSettings(time_scale=0.005)) as running:
        running.run(lambda gateway: draw(gateway, "a fox", tier=TIER_PRO))
        running.run(lambda gateway: draw(gateway, "an owl"))
        browser.look_like(DESKTOP)
        browser.forget()
        browser.open(f"{running.url}/history")
        browser.one(".tile:nth-of-type(2)")
        assert browser.run("return getComputedStyle(document.getElementById('picked')).display") == "none"
        for number in (1, 2):
            browser.tab_to(f".tile:nth-of-type({number}) .pick input")
            browser.press(SPACE)
        browser.tab_to("#picked button[type=submit]")
        browser.press(ENTER)
        browser.until(lambda: "/compare?id=" in browser.address(), "the comparison")

        browser.tab_to("#member-1 .again")
        browser.press(ENTER)
        browser.until(lambda: browser.all(".price-of"), "the price")
        assert browser.focused().attribute("name") == "model"
        assert "at most $" in browser.one(".price-of").text
        browser.press(TAB)
        browser.press(ENTER)
        browser.until(lambda: len(browser.all(".side-by-side thead th")) == 3, "a third beside")
        browser.until(lambda: not browser.all(".hung .stage"), "that it is drawn")
        browser.until(browser.pictures_shown, "the pictures")

        browser.tab_to("#member-3 .verdict button")
        picked = browser.focused().attribute("id")
        browser.press(ENTER)
        browser.until(lambda: browser.all(f"#{picked}[aria-pressed=true]"), "the winner")
        assert browser.focused().attribute("id") == picked
        assert "67 %" in browser.one("#scorecard").text
        assert browser.violations() == []
        assert browser.complaints() == []


def test_another_engine_has_another_price(compared, browser):
    """Choosing it shows it, with a request id of its own; the focus stays there."""
    browser.look_like(PHONE)
    browser.forget()
    browser.open("".join(compared))
    shown = "return document.querySelector('.price-of').textContent"
    price, press = browser.run(shown), browser.one("[name=request_id]").value
    browser.one("#offer-model").type("GPT")
    browser.until(lambda: browser.run(shown) != price, "another price")

    assert browser.one("[name=request_id]").value != press
    assert browser.focused().attribute("id") == "offer-model"
    assert browser.overflow_px() == 0
