"""Engines: what is shown of a provider, how it follows what happens, and its switch."""

from dataclasses import replace
from datetime import UTC, date, datetime
from math import inf

import grpc
import pytest

from browsing import DESKTOP, ENTER, PHONE, SCHEMES, TAB
from door import OPS, WEB, door
from gateway import GPT, NANO
from looking import OF_CHROMIUM, look, sign_in
from pictor.v1.catalog_service_pb2 import PROVIDER_STATE_DISABLED, ListProvidersRequest
from pictor.v1.image_pb2 import TIER_PRO
from pictor.v1.image_service_pb2 import GenerateRequest
from pictord.auth.callers import hash_key
from pictord.catalog import catalog
from pictord.console.pages.engines import Tone, live, prices, versions
from pictord.domain.caller import Role
from pictord.domain.request import Operation
from pictord.domain.usage import Sums, UsageRow
from pictord.jobs.served import ProviderFacts
from pictord.resilience.breaker import BreakerKey, BreakerState, WindowCounts
from pictord.resilience.status import BreakerStatus, LimiterStatus, ProviderStatus
from pictord.sandbox import SandboxSettings
from pictord.settings import CallerTable
from served import serving

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
FACTS = ProviderFacts("acme", "https://api.example", "default", per_minute=60)
CALLERS = (CallerTable("web", (hash_key(WEB),)), CallerTable("ops", (hash_key(OPS),), role=Role.OPERATOR))
BROKEN = (("authorization", f"Bearer {OPS}"), ("x-sandbox-fault", "openai:server_error"))
FINE = BROKEN[:1]


async def draw(running, prompt="a red fox", **options):
    await running.images.Generate(GenerateRequest(prompt=prompt, max_inline_bytes=0, **options), metadata=FINE)


async def break_openai(running):
    """Five failures in a row open the breaker."""
    for number in range(5):
        with pytest.raises(grpc.aio.AioRpcError):
            await running.images.Generate(GenerateRequest(prompt=f"broken {number}", model=GPT), metadata=BROKEN)


async def providers(running):
    answer = await running.catalog.ListProviders(ListProvidersRequest(), metadata=FINE)
    return {each.name: each for each in answer.providers}


# --- from the domain to what is shown


def status(**more):
    breaker = BreakerStatus(
        BreakerKey("openai", GPT, Operation.GENERATE), BreakerState.CLOSED, 0.0, WindowCounts(8, 2, 1)
    )
    idle = LimiterStatus(burst=11.0, tokens=4.7, frozen_s=0.0, wait_s=0.0)
    known = ProviderStatus(
        provider="openai", disabled_reason=None, disabled_s=0.0, key_refused=False, unfunded_s=0.0, tripped_models={},
        breakers=(breaker,), limiter=idle, in_flight=3, limit=16, waiting=0, error_share=0.25,
    )  # fmt: skip
    return replace(known, **more)


def breaker(state, open_s=0.0):
    return (BreakerStatus(BreakerKey("openai", GPT, Operation.EDIT), state, open_s, WindowCounts(20, 18, 0)),)


OWN = [catalog.load().models[GPT]]
FROZEN = LimiterStatus(burst=None, tokens=None, frozen_s=20.0, wait_s=20.0)


@pytest.mark.parametrize(
    ("more", "state", "tone", "says"),
    [
        ({}, "in service", Tone.GOOD, "Nothing keeps"),
        ({"disabled_reason": "talks", "disabled_s": inf}, "disabled", Tone.BAD, "talks (until somebody enables it)"),
        ({"disabled_reason": "talks", "disabled_s": 900.0}, "disabled", Tone.BAD, "(until 12:15 UTC on 28 November)"),
        ({"key_refused": True}, "key refused", Tone.BAD, "refuses our key"),
        ({"unfunded_s": 840.0}, "unfunded", Tone.BAD, "out of credit. Tried again in 14 min"),
        ({"tripped_models": {GPT: 60.0}}, "model refused", Tone.BAD, GPT),
        ({"breakers": breaker(BreakerState.OPEN, 30.0)}, "breaker open", Tone.BAD, "the other engine serves"),
        ({"breakers": breaker(BreakerState.HALF_OPEN)}, "recovering", Tone.WARN, "Single calls"),
        ({"limiter": FROZEN}, "frozen", Tone.WARN, "asked us to wait"),
        ({"disabled_reason": "talks", "disabled_s": inf, "key_refused": True}, "disabled", Tone.BAD, "talks"),
    ],
)  # fmt: skip
def test_the_gravest_obstacle_is_the_state(more, state, tone, says):
    """One word, and what follows from it."""
    shown = live("openai", OWN, FACTS, status(**more), NOW)

    assert (shown.state, shown.tone) == (state, tone)
    assert says in shown.text


def test_numbers_are_said_with_what_they_are_of():
    """In flight of the limit, errors of the calls in the breakers' windows, tokens of the burst."""
    shown = live("openai", OWN, FACTS, status(), NOW)

    assert (shown.in_flight, shown.full, shown.waiting) == (
        "3 of 16",
        19,
        "calls that may run at once; nobody waits",
    )
    assert (shown.errors, shown.error_text) == ("25 %", "of the last 8 calls in 10 min")
    assert shown.counted == "Each counts its last 20 calls, none older than 10 min; so do the errors above."
    assert (shown.rate, shown.rate_text) == ("4 of 11", "may start at once; no wait; the quota is 60 a minute")
    edits, draws = shown.breakers
    assert (edits.operation, edits.calls) == ("edit", "no call in 10 min")
    assert (draws.operation, draws.calls) == ("generate", "8 calls: 2 failed, 1 slow")
    assert draws.cells == ("failed",) * 2 + ("slow",) + ("ok",) * 5 + ("none",) * 12


@pytest.mark.parametrize(
    ("state", "calls", "says"),
    [
        (BreakerState.CLOSED, 0, "no call in 10 min"),
        (BreakerState.OPEN, 0, "no call counts yet"),
        (BreakerState.CLOSED, 1, "of 1 call in 10 min"),
    ],
)
def test_errors_say_of_which_calls_they_are(state, calls, says):
    """A breaker that opens begins to count anew: that is not as if nobody had called."""
    known = BreakerStatus(BreakerKey("openai", GPT, Operation.EDIT), state, 0.0, WindowCounts(calls, 0, 0))

    assert live("openai", OWN, FACTS, status(breakers=(known,)), NOW).error_text == says


def test_an_open_breaker_says_when_it_probes():
    """And once that is over, that it is due."""
    counting = live("openai", OWN, FACTS, status(breakers=breaker(BreakerState.OPEN, 24.2)), NOW)
    due = live("openai", OWN, FACTS, status(breakers=breaker(BreakerState.OPEN)), NOW)

    assert (counting.breakers[0].state, counting.breakers[0].text) == ("open", "probes in 25 s")
    assert counting.breakers[0].calls == "20 calls: 18 failed"
    assert due.breakers[0].text == "due for a probe"


def test_a_provider_without_credentials_is_off():
    """Whether a guard waits for it or not."""
    for known in (None, status()):
        shown = live("openai", OWN, None, known, NOW)
        assert (shown.state, shown.tone) == ("not configured", Tone.OFF)


def test_prices_name_their_day_and_source():
    """The one in force, with what a picture comes to; a former one is gone, a coming one is announced."""
    model = catalog.load().models[GPT]
    old, new = model.price, replace(model.price, image_out=60_000_000_000)
    model = replace(model, prices={date(2026, 1, 1): replace(old), date(2026, 4, 21): old, date(2027, 1, 1): new})

    now, later = prices(model, NOW.date())

    assert (now.since, now.is_to_come, later.since, later.is_to_come) == ("2026-04-21", False, "2027-01-01", True)
    assert dict(now.kinds)["Picture out"] == 30_000_000_000
    assert now.source == old.source
    assert now.read == "2026-11-22"
    assert [quality for quality, _ in now.samples] == ["low", "medium", "high"]
    assert dict(now.samples)["high"] == pytest.approx(211_000_000, rel=0.01)
    assert dict(later.samples)["high"] == pytest.approx(422_000_000, rel=0.01)


def test_versions_are_those_that_answered():
    """With their days and calls, the newest first; another provider's are not this one's."""
    rows = [
        UsageRow((GPT, "gpt-image-2-2026-04-21", "2026-11-20"), Sums(attempts=2)),
        UsageRow((GPT, "gpt-image-2-2026-04-21", "2026-11-24"), Sums(attempts=3)),
        UsageRow((GPT, "gpt-image-2-2026-11-25", "2026-11-25"), Sums(attempts=1)),
        UsageRow((GPT, "", "2026-11-25"), Sums(attempts=7)),
        UsageRow((NANO, NANO, "2026-11-25"), Sums(attempts=1)),
    ]

    newest, former = versions(rows, [GPT])

    assert (newest.version, newest.days, newest.calls, newest.is_newest) == (
        "gpt-image-2-2026-11-25", "2026-11-25", 1, True,
    )  # fmt: skip
    assert (former.days, former.calls, former.is_newest) == ("2026-11-20 to 2026-11-24", 5, False)


# --- the door


async def test_everybody_may_look_and_only_operators_switch():
    """A caller sees the state and no switch, and cannot reach it either."""
    async with door(callers=CALLERS) as console:
        await console.sign_in(WEB)
        page = await console.client.get("/engines")
        token = await console.token("/engines")
        for action in ("disable", "enable"):
            form = {"form_token": token, "reason": "mine"}
            refused = await console.client.post(f"/engines/openai/{action}", data=form)
            assert refused.status_code == 403
            assert "Only operators may switch providers" in refused.text
        known = await providers(console.gateway)

        assert "In service" in page.text
        assert "Disable" not in page.text
        assert known["openai"].state != PROVIDER_STATE_DISABLED


async def test_a_switch_needs_the_token():
    """Another site's form switches nothing."""
    async with door() as console:
        answer = await console.client.post("/engines/openai/disable", data={"reason": "mischief"})

        assert answer.status_code == 403
        assert console.gateway.app.guards.status()[0].disabled_reason is None


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"reason": "  "}, "Say why, in 1 to 200 characters."),
        ({"reason": "x" * 201}, "Say why, in 1 to 200 characters."),
        ({"reason": "ok", "duration": "12"}, "Choose for how long."),
    ],
)
async def test_a_wrong_form_keeps_what_was_typed(form, says):
    """As a page and as a part; nothing is switched."""
    async with door() as console:
        token = await console.token("/engines")
        for headers in ({}, {"HX-Request": "true"}):
            answer = await console.client.post(
                "/engines/openai/disable", data={"form_token": token} | form, headers=headers
            )
            assert answer.status_code == 422
            assert says in answer.text
            assert f'value="{form["reason"]}"' in answer.text
            assert '<details class="switch-off" open>' in answer.text
        assert console.gateway.app.guards.status()[0].disabled_reason is None


async def test_a_provider_that_there_is_not_is_not_found():
    """Neither switched off nor on."""
    async with door() as console:
        token = await console.token("/engines")
        for action in ("disable", "enable"):
            form = {"form_token": token, "reason": "ok"}
            answer = await console.client.post(f"/engines/acme/{action}", data=form)
            assert answer.status_code == 404
            assert "acme" in answer.text


async def test_nothing_new_is_no_answer():
    """A second look at the same is 204, and whatever changes is sent."""
    async with door() as console:
        first = await console.client.get("/engines/live")
        seen = first.text.split("seen=")[1].split('"')[0]
        second = await console.client.get(f"/engines/live?seen={seen}")
        console.gateway.app.guards.disable("gemini", "talks")
        third = await console.client.get(f"/engines/live?seen={seen}")

        assert (first.status_code, second.status_code, third.status_code) == (200, 204, 200)
        assert 'id="live-gemini" data-tone="bad" data-disabled hx-swap-oob="true"' in third.text
        assert "talks" in third.text


# --- in a browser


@pytest.fixture(scope="module")
def served():
    with serving(sandbox=SandboxSettings(time_scale=0), callers=CALLERS) as running:
        running.run(lambda gateway: draw(gateway, "a fox", tier=TIER_PRO))
        running.run(draw)
        running.run(break_openai)
        yield running


@pytest.fixture
def fresh():
    with serving(sandbox=SandboxSettings(time_scale=0)) as running:
        yield running


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=lambda screen: screen.name)
def test_it_is_accessible_and_fits(served, browser, screen, scheme):
    """With an open breaker and its switches."""
    sign_in(browser, served.url, OPS)
    look(browser, f"{served.url}/engines", "engines", screen, scheme)
    assert browser.all("#live-openai:not([data-tone=good])")


def test_it_follows_what_happens_and_leaves_the_focus(fresh, browser):
    """What is typed meanwhile stays, and so does the place where it is typed."""
    browser.look_like(DESKTOP)
    browser.open(f"{fresh.url}/engines")
    browser.one("#engine-openai .switch-off summary").click()
    reason = browser.one("#engine-openai [name=reason]")
    reason.type("half a sen")
    by_opening = browser.layout_shifts()

    fresh.run(break_openai)
    browser.until(lambda: browser.all("#live-openai[data-tone=bad]"), "the open breaker")

    assert browser.focused() == reason
    browser.press("tence")
    assert reason.value == "half a sentence"
    assert browser.layout_shifts() == by_opening


def test_a_gateway_that_is_away_is_said_once_and_forgotten(fresh, browser):
    """Nobody takes old figures for live ones; a look clears what a look has said, and nothing else."""
    browser.look_like(DESKTOP)
    browser.open(f"{fresh.url}/engines")
    browser.one("#engines-watch")
    try:
        browser.cut_off()
        browser.until(lambda: browser.shows("The gateway does not answer"), "that it is away")
        assert len(browser.all("#notice p")) == 1
    finally:
        browser.cut_off(really=False)
    browser.until(lambda: not browser.all("#notice p"), "that it is back")
    browser.complaints()

    browser.run("htmx.ajax('POST', '/engines/nobody/enable', {source: document.body})")
    browser.until(lambda: browser.shows("nobody"), "what is wrong")
    fresh.run(break_openai)
    browser.until(lambda: browser.all("#live-openai[data-tone=bad]"), "a look")
    assert browser.shows("nobody")


def test_a_refusal_that_has_no_place_of_its_own_is_a_notice(fresh, browser):
    """It stays until something works, and is no error in the browser's log: 422 is an answer like others."""
    browser.look_like(DESKTOP)
    browser.open(f"{fresh.url}/history")
    browser.complaints()
    browser.run("htmx.ajax('POST', '/compare/winner', {source: document.body})")
    browser.until(lambda: browser.shows("2 to 8 different"), "what is wrong")
    assert [each for each in browser.complaints() if OF_CHROMIUM not in each] == []

    browser.run("htmx.ajax('GET', '/history', {source: document.body, target: '#wall'})")
    browser.until(lambda: not browser.all("#notice p"), "that something works")


def test_an_engine_is_switched_by_the_keyboard(fresh, browser):
    """Off with a reason that others see, on again, and each time the focus stays beside."""
    browser.look_like(DESKTOP)
    browser.complaints()
    browser.open(f"{fresh.url}/engines")
    browser.tab_to("#engine-gemini .switch-off summary")
    browser.press(ENTER)
    browser.press(TAB)
    browser.press("quota talks" + ENTER)
    browser.until(lambda: browser.shows("gemini is disabled: quota talks"), "that it is disabled")

    known = fresh.run(providers)["gemini"]
    assert (known.state, known.reason) == (PROVIDER_STATE_DISABLED, "quota talks")
    assert browser.focused().text == "gemini is disabled: quota talks"
    assert browser.violations() == []

    browser.tab_to("#engine-gemini .switch-on summary")
    browser.press(ENTER)
    browser.press(TAB)
    browser.press(ENTER)
    browser.until(lambda: browser.shows("gemini is enabled"), "that it is enabled")
    assert fresh.run(providers)["gemini"].state != PROVIDER_STATE_DISABLED
    assert browser.complaints() == []


def test_what_is_wrong_is_said_at_its_place(fresh, browser):
    """The browser refuses an empty reason; blanks are refused by us, and what was typed stays."""
    browser.look_like(PHONE)
    browser.open(f"{fresh.url}/engines")
    browser.complaints()
    browser.one("#engine-openai .switch-off summary").click()
    browser.one("#engine-openai [name=reason]").type("   " + ENTER)
    browser.until(lambda: browser.shows("Say why"), "what is wrong")

    assert browser.focused().attribute("name") == "reason"
    assert browser.focused().value == "   "
    assert browser.violations() == []
    assert [each for each in browser.complaints() if OF_CHROMIUM not in each] == []
