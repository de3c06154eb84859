"""Spend: the bars and their figures, budgets, forecast, alerts and unknown costs; each sees what is its own."""

import csv
import html
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from browsing import DESKTOP, ENTER, PHONE, SCHEMES, TAB
from door import OPS, WEB, door
from gateway import GPT, NANO
from ledger_scene import CALLERS, NOON, STUDIO, Clock, busy, key, lose_calls, set_budgets
from looking import OF_CHROMIUM, look, sign_in
from pictor.v1.image_pb2 import TIER_PRO
from pictor.v1.image_service_pb2 import GenerateRequest
from pictor.v1.usage_service_pb2 import Budget as BudgetMessage
from pictor.v1.usage_service_pb2 import GetUsageRequest, ListBudgetsRequest
from pictord.app import Outside
from pictord.catalog import catalog
from pictord.console import budget_cards, budget_form, spend_chart, spend_csv
from pictord.console.pages import spend
from pictord.domain.budget import EACH, Budget, Counted, Span, Unit, Window
from pictord.domain.caller import LOCAL, Caller
from pictord.domain.request import Tier
from pictord.domain.usage import Sums, UsageRow
from pictord.jobs.budgets import Standing
from pictord.sandbox import SandboxSettings
from pictord.store.books import Counted as Sum
from served import serving

MODELS = catalog.load().models
STUDIO_CALLER = Caller("studio")
NOVEMBER = Span("2026-11", datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
BUDGET = Budget("b", Counted.CALLER, EACH, Unit.USD, Window.MONTH, 10_000_000_000)


def row(day, key, nanos):
    return UsageRow((day, key), Sums(reported_nanos=nanos))


# --- from the domain to what is shown


def test_what_is_no_option_counts_as_not_said():
    """The month so far, by engine; nobody but an operator asks by caller."""
    for params in ({}, {"period": "year", "by": "weather"}, {"period": "", "by": ""}):
        wanted = spend_chart.asked(params, LOCAL, NOON)
        assert (wanted.period, wanted.by, len(wanted.days)) == ("month", "engine", 28)
    assert spend_chart.asked({"by": "caller"}, LOCAL, NOON).by == "caller"
    assert spend_chart.asked({"by": "caller"}, STUDIO_CALLER, NOON).by == "engine"


def test_thirty_days_end_today():
    """Over the month's end, in UTC."""
    days = spend_chart.asked({"period": "30d"}, LOCAL, datetime(2026, 3, 1, 0, 30, tzinfo=UTC)).days

    assert (len(days), days[0].isoformat(), days[-1].isoformat()) == (30, "2026-01-31", "2026-03-01")


def test_bars_are_by_day_and_the_largest_is_first():
    """A day without spending is an empty bar, and no line of the table."""
    wanted = spend_chart.asked({}, LOCAL, datetime(2026, 11, 3, 9, tzinfo=UTC))
    usage = [row("2026-11-01", GPT, 5), row("2026-11-03", GPT, 7), row("2026-11-01", NANO, 20)]

    chart = spend_chart.chart(usage, wanted, MODELS)

    assert [(each.name, each.pigment, each.nanos) for each in chart.series] == [
        ("Nano Banana 2", "gemini", (20, 0, 0)),
        ("GPT Image 2", "openai", (5, 0, 7)),
    ]
    assert [(day.day, nanos, total) for day, nanos, total in chart.rows] == [(3, (0, 7), 7), (1, (20, 5), 25)]
    assert chart.data["days"] == ["1 Nov", "2 Nov", "3 Nov"]


def test_what_comes_after_the_largest_is_shown_together():
    """As many colours as can be told apart, and not a cent is left out."""
    wanted = spend_chart.asked({"by": "caller"}, LOCAL, datetime(2026, 11, 1, 9, tzinfo=UTC))
    usage = [row("2026-11-01", f"c{number}", 100 - number) for number in range(12)]

    chart = spend_chart.chart(usage, wanted, MODELS)

    assert [each.name for each in chart.series] == [*(f"c{number}" for number in range(7)), "others"]
    assert sum(each.total_nanos for each in chart.series) == sum(each.sums.nanos for each in usage)


def test_nothing_spent_has_no_bars():
    """And no rows either."""
    chart = spend_chart.chart([], spend_chart.asked({}, LOCAL, NOON), MODELS)

    assert (chart.series, list(chart.rows)) == ((), [])


@pytest.mark.parametrize(
    ("amount", "held", "shown", "text"),
    [
        (2_500_000_000, 500_000_000, (20.0, 5.0, "good"), "$2.00 used, $0.50 held"),
        (8_000_000_000, 0, (80.0, 0.0, "warn"), "$8.00 used"),
        (10_000_000_000, 10_000_000_000, (0.0, 100.0, "bad"), "$0.00 used, $10.00 held"),
        (30_000_000_000, 1_000_000_000, (90.0, 10.0, "bad"), "$29.00 used, $1.00 held"),
    ],
)
def test_a_bar_shows_what_is_used_and_what_is_held(amount, held, shown, text):
    """Apart, and never longer than the budget, whatever it says."""
    card = budget_cards.card(Standing(BUDGET, NOVEMBER, [Sum("studio", amount, held)], is_default=False), NOON)

    (bar,) = card.bars
    assert ((bar.used, bar.held, bar.tone), bar.text) == (shown, text)
    assert bar.percent == amount / 100_000_000
    assert (card.whose, card.amount, card.ends) == ("each caller", "$10.00", "begins anew in 2 days")


def test_a_caller_sees_its_own_part_of_what_is_for_callers():
    """Of a budget for each its own; nothing of another's, of all or of a provider's."""
    own = replace(BUDGET, key="studio")

    assert budget_cards.visible(BUDGET, STUDIO_CALLER) == own
    assert budget_cards.visible(own, STUDIO_CALLER) == own
    for hidden in (replace(BUDGET, key="web"), replace(BUDGET, counted=Counted.GLOBAL, key="")):
        assert budget_cards.visible(hidden, STUDIO_CALLER) is None
        assert budget_cards.visible(hidden, LOCAL) == hidden


def test_the_month_of_all_counts_who_has_no_history_as_it_is():
    """Without any forecast there is none."""
    known = spend.ForecastRow("A", "a", "", 5, 1, 9, 7)
    new = spend.ForecastRow("B", "b", "", 3, None, None, 0)

    assert spend.whole_month([known, new]) == 12
    assert spend.whole_month([new]) is None


def test_the_spreadsheet_is_exact_and_runs_nothing():
    """To the nano-dollar; a name that looks like a formula is text."""
    text = spend_csv.spreadsheet([row("2026-11-01", "=cmd", 67_200_001)], ("day", "caller"))

    (line,) = csv.DictReader(io.StringIO(text))
    assert (line["caller"], line["cost_usd"], line["unknown_usd"]) == ("'=cmd", "0.067200001", "0")


# --- the door


async def test_each_sees_its_own_money():
    """A caller neither another's sums, names, generations nor alerts; an operator all of it."""
    async with door(callers=CALLERS) as console:
        for who, tier in ((STUDIO, TIER_PRO), (WEB, 0)):
            request = GenerateRequest(prompt="mine", tier=tier, max_inline_bytes=0)
            await console.gateway.images.Generate(request, metadata=key(who))
        await lose_calls(console.gateway, 1)
        await console.gateway.app.alerts.look()
        await set_budgets(console.gateway)
        pages = {}
        for who in (WEB, STUDIO, OPS):
            await console.sign_in(who)
            pages[who] = (await console.client.get("/spend?by=caller")).text

        assert "Nano Banana 2" in pages[WEB]
        assert "studio" not in pages[WEB]
        assert "gen_" not in pages[WEB]
        assert "daily" not in pages[WEB]
        assert "Alerts" not in pages[WEB] + pages[STUDIO]
        assert "gen_" in pages[STUDIO]
        assert "an operator settles it" in pages[STUDIO]
        assert "pictord reconcile" not in pages[STUDIO]
        assert "pictord reconcile --provider openai costs.json --apply" in pages[OPS]
        assert "Unknown cost" in pages[OPS]
        for name in ("studio", "web", "daily", "openai-month"):
            assert name in pages[OPS]


async def test_the_figures_are_what_was_charged():
    """Page, spreadsheet and RPC say the same, and the engines' own account agrees."""
    async with door(callers=CALLERS) as console:
        for who in (WEB, STUDIO, STUDIO):
            await console.gateway.images.Generate(GenerateRequest(prompt="sum", max_inline_bytes=0), metadata=key(who))
        await console.sign_in(OPS)
        answer = await console.client.get("/spend.csv?by=caller")
        lines = list(csv.DictReader(io.StringIO(answer.text)))
        usage = await console.gateway.usage.GetUsage(GetUsageRequest(), metadata=key(OPS))
        await console.sign_in(WEB)
        own = list(csv.DictReader(io.StringIO((await console.client.get("/spend.csv?by=caller")).text)))

        assert answer.headers["content-type"].startswith("text/csv")
        assert "pictor-spend-caller-" in answer.headers["content-disposition"]
        assert {line["caller"]: line["pictures"] for line in lines} == {"web": "1", "studio": "2"}
        charged = Decimal(console.gateway.charged_nanos()) / 10**9
        assert sum(Decimal(line["cost_usd"]) for line in lines) == charged
        assert Decimal(usage.total.cost.nanos) / 10**9 + usage.total.cost.units == charged
        assert [(line["model"], line["pictures"]) for line in own] == [(NANO, "1")]


async def test_older_alerts_come_page_by_page():
    """Each once, for operators alone."""
    clock = Clock()
    async with door(callers=CALLERS, outside=Outside(now=clock)) as console:
        for hour in range(8):
            clock.time = NOON + timedelta(hours=hour)
            console.gateway.app.alerts.alarmed("overrun", "openai", f"in hour {hour}")
        await console.gateway.app.alerts.look()
        await console.sign_in(WEB)
        assert (await console.client.get("/spend/alerts")).status_code == 403
        await console.sign_in(OPS)
        first = (await console.client.get("/spend")).text
        more = first.split('href="/spend/alerts?before=')[1].split('"')[0]
        second = (await console.client.get(f"/spend/alerts?before={more}")).text

        assert [hour for hour in range(8) if f"hour {hour}" in first] == [2, 3, 4, 5, 6, 7]
        assert [hour for hour in range(8) if f"hour {hour}" in second] == [0, 1]
        assert "Older" not in second


async def test_of_nothing_it_says_so():
    """No bars, no budgets, no forecast, and no error."""
    async with door() as console:
        page = await console.client.get("/spend?period=nonsense")

        assert page.status_code == 200
        for text in ("Nothing was spent", "No budget is in force", "not enough history", "Nothing has alarmed"):
            assert text in page.text


# --- budgets are set


STUDIO_250 = {"id": "studio-month", "counted": "caller", "key": "studio", "amount": "250", "unit": "usd"} | {
    "window": "month",
    "tier": "",
    "soft": "",
    "thresholds": "",
}


async def post(console, form, to="/spend/budgets"):
    return await console.client.post(to, data={"form_token": await console.token("/spend"), **form})


async def listed(console):
    return (await console.gateway.usage.ListBudgets(ListBudgetsRequest(), metadata=key(OPS))).budgets


async def test_a_budget_is_set_changed_and_removed():
    """As by the RPC, which says the same of it; its name stays."""
    async with door(callers=CALLERS) as console:
        await console.sign_in(OPS)
        answer = await post(console, STUDIO_250)
        (new,) = await listed(console)
        page = (await console.client.get("/spend?change=studio-month")).text
        changed = {"change": "studio-month", "id": "other", "amount": "7", "unit": "pictures", "window": "day"}
        await post(console, STUDIO_250 | changed | {"soft": "yes", "thresholds": "90, 10"})
        (after,) = await listed(console)
        gone = await post(console, {"id": "studio-month"}, "/spend/budgets/remove")

        assert (answer.status_code, answer.headers["location"]) == (303, "/spend#budgets")
        assert (new.budget.id, new.budget.key, new.budget.usd.units) == ("studio-month", "studio", 250)
        assert (list(new.budget.thresholds), new.budget.soft) == ([50, 80, 100], False)
        assert 'value="250"' in page
        assert 'name="change" value="studio-month"' in page
        assert (after.budget.id, after.budget.pictures, after.budget.soft) == ("studio-month", 7, True)
        assert (after.budget.window, list(after.budget.thresholds)) == (BudgetMessage.WINDOW_DAY, [10, 90])
        assert gone.status_code == 303
        assert not await listed(console)


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"id": "Big Budget"}, "id", "Needs 1 to 64 lower-case letters"),
        ({"key": ""}, "key", "Is empty; name one caller"),
        ({"counted": "global"}, "key", "Leave it empty"),
        ({"counted": "provider", "key": "acme"}, "key", "there are gemini, openai"),
        ({"counted": "tier", "key": "pro", "tier": "pro"}, "tier", "Leave it unset"),
        ({"counted": "weather"}, "counted", "Say whose requests count"),
        ({"tier": "gold"}, "tier", "Choose one of the tiers"),
        ({"window": ""}, "window", "Say whether it counts by day or by month"),
        ({"amount": "0"}, "amount", "Is nothing; give more than that"),
        ({"amount": "-5"}, "amount", "Is nothing; give more than that"),
        ({"amount": "much"}, "amount", "Give an amount in dollars"),
        ({"amount": "1e999999"}, "amount", "Give an amount in dollars"),
        ({"amount": "99999999999"}, "amount", "Give an amount in dollars"),
        ({"amount": "2.5", "unit": "pictures"}, "amount", "a whole number"),
        ({"amount": "0", "unit": "pictures"}, "amount", "0; give more than 0"),
        ({"unit": "EUR"}, "amount", "Say what may be spent"),
        ({"thresholds": "50, 0"}, "thresholds", "0 is not a percent from 1 to 100"),
        ({"thresholds": "half"}, "thresholds", "Whole percents"),
        ({"thresholds": "1 2 3 4 5 6 7 8 9 10 11"}, "thresholds", "At most 10"),
    ],
)
async def test_what_is_wrong_with_a_budget_is_told_at_its_field(wrong, field, says):
    """Nothing is set, and everything that was typed is still there."""
    async with door() as console:
        form = STUDIO_250 | {"thresholds": "33"} | wrong
        answer = await post(console, form)
        page = answer.text
        told = re.search(rf'id="problem-budget-{field}">([^<]*)<', page)[1]

        assert (answer.status_code, says in html.unescape(told)) == (422, True), told
        assert f'problem-budget-{field}" aria-invalid="true" autofocus' in page
        for name in ("id", "key", "amount", "thresholds"):
            assert f'id="budget-{name}"' in page
            assert f'value="{form[name]}"' in page
        assert console.gateway.app.budgets.in_force == ()


async def test_a_new_budget_does_not_replace_another_one():
    """Who means that one changes it."""
    async with door() as console:
        await post(console, STUDIO_250)
        again = await post(console, STUDIO_250 | {"amount": "1"})

        assert again.status_code == 422
        assert "change that one" in again.text
        (budget,) = console.gateway.app.budgets.in_force
        assert budget.amount == 250 * 10**9


async def test_the_configurations_cap_is_stood_in_for():
    """It can be changed, and not removed; without the budget of its id it is in force again."""
    async with door(real=True) as console:
        before = (await console.client.get("/spend?change=daily-cap")).text
        refused = await post(console, {"id": "daily-cap"}, "/spend/budgets/remove")
        form = {**STUDIO_250, "change": "daily-cap", "counted": "global", "key": "", "window": "day", "amount": "7.5"}
        await post(console, form)
        (budget,) = console.gateway.app.budgets.in_force
        page = (await console.client.get("/spend")).text
        await post(console, {"id": "daily-cap"}, "/spend/budgets/remove")

        assert "Remove…" not in before
        assert (refused.status_code, "PICTOR_DAILY_CAP_USD" in refused.text) == (404, True)
        assert budget.amount == 7_500_000_000
        assert "Remove…" in page
        assert console.gateway.app.budgets.in_force == (console.gateway.app.budgets.default,)


async def test_a_budget_that_is_set_too_low_alerts_at_once():
    """The page says so at its next visit; nobody has to draw before."""
    async with door(callers=CALLERS) as console:
        await console.gateway.images.Generate(GenerateRequest(prompt="a fox"), metadata=key(STUDIO))
        await console.sign_in(OPS)
        assert "Nothing has alarmed" in (await console.client.get("/spend")).text
        await post(console, STUDIO_250 | {"unit": "pictures", "amount": "1", "thresholds": "100"})
        await console.gateway.app.alerts.look()

        page = html.unescape((await console.client.get("/spend")).text)
        assert page.count("Budget 'studio-month' has reached 100 %") == 1


async def test_only_operators_set_budgets():
    """No form for a caller, and no way around it; nor without the token of a form."""
    async with door(callers=CALLERS) as console:
        await console.sign_in(WEB)
        pages = [(await console.client.get(path)).text for path in ("/spend", "/spend?new", "/spend/budgets?new")]
        answers = [
            await post(console, STUDIO_250),
            await post(console, {"id": "studio-month"}, "/spend/budgets/remove"),
            await console.client.post("/spend/budgets", data=STUDIO_250),
        ]

        assert not any("budget-form" in page or "Set a budget" in page for page in pages)
        assert [answer.status_code for answer in answers] == [403, 403, 403]
        assert not await listed(console)


@pytest.mark.parametrize(
    "budget",
    [
        BUDGET,
        replace(BUDGET, counted=Counted.GLOBAL, key="", amount=123_456_789, window=Window.DAY, is_hard=False),
        replace(BUDGET, counted=Counted.PROVIDER, key="openai", unit=Unit.PICTURES, amount=9, thresholds=(5, 95)),
        replace(BUDGET, counted=Counted.END_USER, tier=Tier.FREE),
    ],
)
def test_a_budget_is_written_as_it_is_read(budget):
    """Changing nothing changes nothing, to the nano-dollar."""
    assert budget_form.read(budget_form.written(budget), {"openai"}) == budget


# --- in a browser


@pytest.fixture(scope="module")
def served():
    clock = Clock()
    outside = Outside(now=clock)
    with serving(sandbox=SandboxSettings(time_scale=0), callers=CALLERS, outside=outside) as running:
        busy(running, clock, 3)
        yield running


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=lambda screen: screen.name)
def test_it_is_accessible_and_fits(served, browser, screen, scheme):
    """With bars, budgets, alerts and lost calls."""
    sign_in(browser, served.url, OPS)
    look(browser, f"{served.url}/spend", "spend", screen, scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=lambda screen: screen.name)
@pytest.mark.parametrize("what", ["new", "change=studio"])
def test_the_form_of_a_budget_is_accessible_and_fits(served, browser, what, screen, scheme):
    """In its place."""
    sign_in(browser, served.url, OPS)
    look(browser, f"{served.url}/spend?{what}", f"spend-{what.partition('=')[0]}", screen, scheme)


@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=lambda screen: screen.name)
def test_a_budget_is_set_and_removed_by_the_keyboard(browser, screen):
    """What is wrong is where one goes on, what was typed stays, and what came of it is read out."""
    with serving(sandbox=SandboxSettings(time_scale=0)) as running:
        browser.forget()
        browser.look_like(screen)
        browser.open(f"{running.url}/spend")
        browser.tab_to("#budgets .card-head a")
        browser.press(ENTER)
        browser.until(lambda: browser.focused_id() == "budget-id", "the form")
        browser.press("ads-month" + TAB + TAB + TAB + "40.50" + ENTER)
        browser.until(lambda: browser.read("#problem-budget-key"), "what is wrong")

        assert browser.focused_id() == "budget-key"
        assert (browser.one("#budget-id").value, browser.one("#budget-amount").value) == ("ads-month", "40.50")
        assert browser.violations() == []
        browser.keep(f"spend-wrong-{screen.name}-light")
        browser.press("ads" + ENTER)
        browser.until(lambda: browser.read("#budgets .said"), "what came of it")

        assert browser.read("#budgets .said") == "ads-month: $40.50 a month for caller ads, from now on."
        assert browser.run("return document.activeElement.className") == "said"
        assert [each.amount for each in running.gateway.app.budgets.in_force] == [40_500_000_000]
        browser.tab_to(".budget-acts summary")
        browser.press(ENTER)
        browser.tab_to(".budget-acts .danger", 2)
        browser.keep(f"spend-remove-{screen.name}-light")
        browser.press(ENTER)
        browser.until(lambda: browser.read("#budgets .said") == "ads-month is removed.", "that it is gone")

        assert running.gateway.app.budgets.in_force == ()
        assert browser.violations() == []
        assert browser.overflow_px() == 0
        assert [each for each in browser.complaints() if OF_CHROMIUM not in each] == []


BARS = """const chart = Chart.getChart("spend-chart");
    return chart.data.datasets.map(({label, data, backgroundColor}) => [label, data, backgroundColor]);"""


def test_the_bars_show_the_figures_of_the_table(served, browser):
    """Drawn, in the scheme's colours, which change with it; the table opens by the keyboard."""
    sign_in(browser, served.url, OPS)
    browser.look_like(DESKTOP)
    browser.open(f"{served.url}/spend?period=30d")
    bars = browser.until(lambda: browser.run(BARS), "the bars")
    given = json.loads(browser.one("#spend-chart").attribute("data-chart"))

    assert [(name, data) for name, data, _ in bars] == [(each["name"], each["usd"]) for each in given["series"]]
    browser.look_like(DESKTOP, "dark")
    browser.until(lambda: [each[2] for each in browser.run(BARS)] != [each[2] for each in bars], "other colours")

    browser.tab_to(".fold-table summary")
    browser.press(ENTER)
    totals = [each.text for each in browser.all(".fold-table tfoot td")]
    assert totals[:-1] == [f"${sum(each['usd']):.4f}" for each in given["series"]]
    assert browser.violations() == []


def test_a_choice_keeps_the_other_one(served, browser):
    """By caller, then the last thirty days: still by caller, and so is the spreadsheet."""
    sign_in(browser, served.url, OPS)
    browser.look_like(PHONE)
    browser.open(f"{served.url}/spend")
    browser.run("document.querySelector('.segments[aria-label=By] a:last-child').click()")
    browser.until(lambda: "by=caller" in browser.address(), "by caller")
    browser.run("document.querySelector('.segments[aria-label=Period] a:last-child').click()")
    browser.until(lambda: "period=30d" in browser.address(), "thirty days")

    assert "by=caller" in browser.address()
    assert browser.one(".csv").attribute("href") == "/spend.csv?period=30d&by=caller"
    assert browser.overflow_px() == 0
