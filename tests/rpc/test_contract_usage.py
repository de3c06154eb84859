"""UsageService through the door: budgets, usage and forecasts, and who may see them."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gateway import GPT, NANO, Gateway, Refusal, gateway, refusal
from pictor.v1 import image_pb2 as image
from pictor.v1 import usage_service_pb2 as usage
from pictor.v1.image_service_pb2 import GenerateRequest
from pictord.app import Outside
from pictord.auth.callers import hash_key
from pictord.domain.usage import Group
from pictord.rpc import usage_service
from pictord.settings import CallerTable

Budget = usage.Budget
KEYS = {name: f"pictor_{name}" for name in ("studio", "shop", "platform")}
STUDIO, SHOP, OPERATOR = ([("authorization", f"Bearer {key}")] for key in KEYS.values())
CALLERS = (
    CallerTable("studio", (hash_key(KEYS["studio"]),)),
    CallerTable("shop", (hash_key(KEYS["shop"]),)),
    CallerTable("platform", (hash_key(KEYS["platform"]),), role="operator"),
)


@dataclass
class Calendar:
    """The gateway's clock."""

    now: datetime = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
async def pictor(calendar) -> AsyncIterator[Gateway]:
    async with gateway(callers=CALLERS, outside=Outside(now=calendar)) as running:
        yield running


def monthly(**changes) -> Budget:
    """Ten dollars a month for studio."""
    fields = {
        "id": "studio",
        "counted": Budget.COUNTED_CALLER,
        "key": "studio",
        "usd": image.Money(units=10),
        "window": Budget.WINDOW_MONTH,
    }
    return Budget(**{name: value for name, value in (fields | changes).items() if value is not None})


async def set_budget(pictor: Gateway, budget: Budget, who=OPERATOR) -> usage.BudgetStatus:
    return (await pictor.usage.SetBudget(usage.SetBudgetRequest(budget=budget), metadata=who)).budget


async def listed(pictor: Gateway) -> dict[str, usage.BudgetStatus]:
    answer = await pictor.usage.ListBudgets(usage.ListBudgetsRequest(), metadata=OPERATOR)
    return {each.budget.id: each for each in answer.budgets}


async def used(pictor: Gateway, *group_by: int, who=OPERATOR, **fields) -> usage.GetUsageResponse:
    return await pictor.usage.GetUsage(usage.GetUsageRequest(group_by=group_by, **fields), metadata=who)


async def draw(pictor: Gateway, who=STUDIO, **fields) -> int:
    """Draw one picture, and say what it cost in nano-USD."""
    answer = await pictor.images.Generate(GenerateRequest(**({"prompt": "a fox"} | fields)), metadata=who)
    return nanos(answer.generation.cost.amount)


async def refused(call) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


def nanos(money: image.Money) -> int:
    return money.units * 10**9 + money.nanos


def at(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


# Budgets


async def test_a_budget_that_is_set_is_in_force_and_shows_what_is_counted(pictor):
    """What was spent before counts; window, end and percent are told; thresholds have their defaults."""
    cost = await draw(pictor)

    told = await set_budget(pictor, monthly())

    assert told == (await listed(pictor))["studio"]
    assert (told.budget.thresholds, told.window) == ([50, 80, 100], "2026-11")
    assert told.end_time.ToDatetime(UTC) == datetime(2026, 12, 1, tzinfo=UTC)
    assert [(each.key, nanos(each.usd)) for each in told.sums] == [("studio", cost)]
    assert told.sums[0].percent == pytest.approx(cost / 10**8)
    assert not told.from_configuration


async def test_a_budget_in_pictures_for_each_end_user_refuses_the_second(pictor):
    """And lists those with the most, by the hash that usage shows too."""
    one = monthly(id="free", counted=Budget.COUNTED_END_USER, key="*", tier=image.TIER_FREE, usd=None, pictures=1)
    await set_budget(pictor, one)
    await draw(pictor, tier=image.TIER_FREE, end_user="ann")

    told = await refused(draw(pictor, tier=image.TIER_FREE, end_user="ann"))
    (row,) = (await used(pictor, usage.USAGE_GROUP_END_USER)).rows

    assert (told.code, told.reason, told.metadata["budget"]) == ("RESOURCE_EXHAUSTED", "BUDGET_EXHAUSTED", "free")
    assert [(each.key, each.pictures, each.percent) for each in (await listed(pictor))["free"].sums] == [
        (row.keys[0], 1, 100.0)
    ]
    assert re.fullmatch("[0-9a-f]{64}", row.keys[0])


async def test_a_deleted_budget_bounds_nobody(pictor):
    """And cannot be deleted twice."""
    await set_budget(pictor, monthly(usd=image.Money(nanos=1)))
    assert (await refused(draw(pictor))).reason == "BUDGET_EXHAUSTED"

    await pictor.usage.DeleteBudget(usage.DeleteBudgetRequest(budget_id="studio"), metadata=OPERATOR)

    assert await draw(pictor)
    again = pictor.usage.DeleteBudget(usage.DeleteBudgetRequest(budget_id="studio"), metadata=OPERATOR)
    assert (await refused(again)).reason == "NOT_FOUND"


async def test_the_daily_cap_is_listed_as_the_configurations_and_can_be_replaced():
    """Deleting the budget that stood in for it brings it back; it cannot be deleted itself."""
    async with gateway(real=True, callers=CALLERS, daily_cap_nanos=3 * 10**9) as pictor:
        assert (await listed(pictor))["daily-cap"].from_configuration

        await set_budget(pictor, monthly(id="daily-cap", counted=Budget.COUNTED_GLOBAL, key=""))
        assert not (await listed(pictor))["daily-cap"].from_configuration
        delete = usage.DeleteBudgetRequest(budget_id="daily-cap")
        await pictor.usage.DeleteBudget(delete, metadata=OPERATOR)

        assert (await listed(pictor))["daily-cap"].budget.usd.units == 3
        told = await refused(pictor.usage.DeleteBudget(delete, metadata=OPERATOR))
        assert (told.code, "PICTOR_DAILY_CAP_USD" in told.text) == ("NOT_FOUND", True)


async def test_budgets_survive_a_restart(tmp_path):
    """They lie in the database, with what was spent under them."""
    async with gateway(callers=CALLERS, data_dir=tmp_path) as pictor:
        await set_budget(pictor, monthly(tier=image.TIER_PRO, soft=True, thresholds=[90, 10, 90]))
        cost = await draw(pictor, tier=image.TIER_PRO)
        before = await listed(pictor)
    async with gateway(callers=CALLERS, data_dir=tmp_path) as pictor:
        after = await listed(pictor)

    assert before == after
    assert (after["studio"].budget.thresholds, nanos(after["studio"].sums[0].usd)) == ([10, 90], cost)


BAD_BUDGETS = [
    ({"id": ""}, "budget.id"),
    ({"id": "Big Budget"}, "budget.id"),
    ({"counted": None}, "budget.counted"),
    ({"counted": 99}, "budget.counted"),
    ({"window": None}, "budget.window"),
    ({"window": 99}, "budget.window"),
    ({"key": ""}, "budget.key"),
    ({"key": "a\nb"}, "budget.key"),
    ({"counted": Budget.COUNTED_GLOBAL}, "budget.key"),
    ({"counted": Budget.COUNTED_TIER}, "budget.key"),
    ({"counted": Budget.COUNTED_PROVIDER}, "budget.key"),
    ({"counted": Budget.COUNTED_END_USER}, "budget.key"),
    ({"counted": Budget.COUNTED_TIER, "key": "pro", "tier": image.TIER_PRO}, "budget.tier"),
    ({"tier": 99}, "budget.tier"),
    ({"usd": None}, "budget.amount"),
    ({"usd": image.Money()}, "budget.usd"),
    ({"usd": image.Money(units=-1)}, "budget.usd"),
    ({"usd": image.Money(units=1, currency_code="EUR")}, "budget.usd"),
    ({"usd": None, "pictures": 0}, "budget.pictures"),
    ({"usd": None, "pictures": -5}, "budget.pictures"),
    ({"thresholds": [50, 0]}, "budget.thresholds[1]"),
    ({"thresholds": [101]}, "budget.thresholds[0]"),
    ({"thresholds": range(1, 12)}, "budget.thresholds"),
]


@pytest.mark.parametrize(("changes", "field"), BAD_BUDGETS)
async def test_a_budget_that_makes_no_sense_is_refused_by_field(pictor, changes, field):
    """Nothing is set."""
    told = await refused(set_budget(pictor, monthly(**changes)))

    assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", "INVALID_FIELD", (field,))
    assert await listed(pictor) == {}


async def test_a_missing_budget_is_refused(pictor):
    """With all that it needs."""
    told = await refused(pictor.usage.SetBudget(usage.SetBudgetRequest(), metadata=OPERATOR))

    assert told.fields[0] == "budget"


@pytest.mark.parametrize("method", ["SetBudget", "ListBudgets", "DeleteBudget", "ListAlerts"])
async def test_budgets_and_alerts_belong_to_operators(pictor, method):
    """Everybody else is told so, whatever is asked."""
    told = await refused(getattr(pictor.usage, method)(getattr(usage, f"{method}Request")(), metadata=STUDIO))

    assert (told.code, told.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")


# Usage


async def test_usage_equals_the_invoice(pictor):
    """Whatever it is grouped by, it sums up to what the engines charged."""
    await draw(pictor)
    await draw(pictor, SHOP, tier=image.TIER_PRO, workflow=image.WORKFLOW_HERO)

    for group in usage.UsageGroup.values()[1:]:
        answer = await used(pictor, group)
        assert sum(nanos(row.cost) for row in answer.rows) == nanos(answer.total.cost) == pictor.charged_nanos()
        assert (answer.total.pictures, answer.total.attempts, answer.truncated) == (2, 2, False)
    assert nanos(answer.total.reported_cost) == nanos(answer.total.cost)


async def test_of_many_groups_the_dearest_are_shown_and_all_are_in_the_total(pictor, monkeypatch):
    """The books are never asked for more groups than are shown: there may be millions."""
    monkeypatch.setattr(usage_service, "MOST_ROWS", 1)
    asked, books = [], pictor.app.store.books

    async def note(query, ask=books.usage):
        asked.append((query.group_by, query.most))
        return await ask(query)

    monkeypatch.setattr(books, "usage", note)
    await draw(pictor)
    await draw(pictor, SHOP, tier=image.TIER_PRO)

    answer = await used(pictor, usage.USAGE_GROUP_GENERATION)

    (dear,) = answer.rows
    assert nanos(dear.cost) > nanos(answer.total.cost) / 2
    assert answer.truncated
    assert nanos(answer.total.cost) == pictor.charged_nanos()
    assert ((Group.GENERATION,), 2) in asked


async def test_usage_is_grouped_in_the_order_of_the_question(pictor):
    """The most expensive group comes first."""
    cheap = await draw(pictor)
    dear = await draw(pictor, SHOP, tier=image.TIER_PRO)

    answer = await used(pictor, usage.USAGE_GROUP_MODEL, usage.USAGE_GROUP_CALLER, usage.USAGE_GROUP_DAY)

    assert [(list(row.keys), nanos(row.cost)) for row in answer.rows] == [
        ([GPT, "shop", "2026-11-22"], dear),
        ([NANO, "studio", "2026-11-22"], cheap),
    ]


async def test_others_read_their_own_usage_only(pictor):
    """Without forecasts, which are about everybody."""
    own = await draw(pictor)
    await draw(pictor, SHOP)

    answer = await used(pictor, usage.USAGE_GROUP_CALLER, who=STUDIO)
    assert ([row.keys[0] for row in answer.rows], nanos(answer.total.cost)) == (["studio"], own)
    assert list(answer.forecasts) == []
    assert (await used(pictor, caller="studio", who=STUDIO)).total == answer.total
    told = await refused(used(pictor, caller="shop", who=STUDIO))
    assert (told.code, told.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
    assert (await used(pictor, caller="shop")).total.pictures == 1


async def test_usage_lies_between_two_times_by_default_this_month(pictor, calendar):
    """What was drawn last month is there when it is asked for."""
    await draw(pictor)
    november = calendar.now
    calendar.now += timedelta(days=20)
    await draw(pictor)

    assert (await used(pictor)).total.pictures == 1
    assert (await used(pictor, start_time=at(november))).total.pictures == 2
    assert (await used(pictor, start_time=at(november), end_time=at(calendar.now))).total.pictures == 1


async def test_an_unknown_cost_is_told_apart_and_stays_listed(pictor):
    """An answer that was lost counts at the estimate, by generation."""
    cut = [*STUDIO, ("x-sandbox-fault", "gemini:reset_before_response,openai:reset_before_response")]
    with pytest.raises(grpc.aio.AioRpcError):
        await pictor.images.Generate(GenerateRequest(prompt="a fox", model=NANO), metadata=cut)

    answer = await used(pictor, usage.USAGE_GROUP_GENERATION, unknown_only=True)

    assert answer.rows[0].keys[0].startswith("gen_")
    assert nanos(answer.total.unknown_cost) == nanos(answer.total.cost) > 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"group_by": [99]}, "group_by[0]"),
        ({"group_by": [usage.USAGE_GROUP_DAY, 0]}, "group_by[1]"),
        ({"group_by": [usage.USAGE_GROUP_DAY, usage.USAGE_GROUP_DAY]}, "group_by[1]"),
        ({"start_time": Timestamp(seconds=2**62)}, "start_time"),
        ({"start_time": Timestamp(seconds=5), "end_time": Timestamp(seconds=5)}, "end_time"),
        ({"end_time": Timestamp(seconds=5)}, "end_time"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused_by_field(pictor, fields, field):
    """An unknown or repeated group, no point in time, an end that is not after the start."""
    told = await refused(pictor.usage.GetUsage(usage.GetUsageRequest(**fields), metadata=OPERATOR))

    assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", "INVALID_FIELD", (field,))


async def test_the_forecast_comes_once_there_is_a_full_day(pictor, calendar):
    """Of every configured account, with its method; on the first day there is none."""
    cost = await draw(pictor)
    (gemini,) = [each for each in (await used(pictor)).forecasts if each.provider == "gemini"]
    assert (nanos(gemini.spent), gemini.full_days, gemini.HasField("month_end")) == (cost, 0, False)

    calendar.now += timedelta(days=1)
    answer = await used(pictor)
    forecast = {each.provider: each for each in answer.forecasts}

    assert set(forecast) == {"openai", "gemini"}
    assert (forecast["gemini"].account, forecast["gemini"].full_days) == ("sandbox", 1)
    # On 23 November at noon seven and a half days are left.
    assert nanos(forecast["gemini"].month_end) == cost + cost * 15 // 2
    assert not forecast["openai"].HasField("month_end")
    assert "mean of the last 7 full UTC days" in answer.forecast_method


@pytest.mark.parametrize(
    ("fields", "reason"), [({"page_size": -1}, "INVALID_FIELD"), ({"page_token": "bm90IG91cnM="}, "PAGE_TOKEN_INVALID")]
)
async def test_a_page_of_alerts_that_makes_no_sense_is_refused(pictor, fields, reason):
    """A negative size, a token that is not ours."""
    told = await refused(pictor.usage.ListAlerts(usage.ListAlertsRequest(**fields), metadata=OPERATOR))

    assert (told.code, told.reason) == ("INVALID_ARGUMENT", reason)
