# ruff: noqa: N802, ARG002 - RPCs are named by the contract, their signature is gRPC's
"""UsageService: convert, call, convert."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import grpc

from pictor.v1 import usage_service_pb2 as service
from pictor.v1.usage_service_pb2_grpc import UsageServiceServicer
from pictord.auth.callers import require_operator
from pictord.domain.alert import Alert
from pictord.domain.budget import Budget, Unit, Window, span
from pictord.domain.caller import Caller
from pictord.domain.forecast import METHOD, Forecast
from pictord.domain.rating import Score
from pictord.domain.request import Workflow
from pictord.domain.usage import Group, Sums, UsageQuery, UsageRow, total
from pictord.jobs import budget_setting
from pictord.jobs.budgets import Budgets, percent
from pictord.jobs.planning import Routing
from pictord.jobs.served import ProviderFacts
from pictord.jobs.usage import SCORECARD_SPAN, forecasts, scores, whose
from pictord.rpc import enums
from pictord.rpc.budget_in import read_budget
from pictord.rpc.call import current_caller
from pictord.rpc.convert_in import Check, timestamp
from pictord.rpc.convert_out import duration_message, money_message
from pictord.rpc.page_token import PageTokens
from pictord.store.books import Counted
from pictord.store.ratings import Ratings

MOST_SUMS = 20
MOST_ROWS = 2_000
DEFAULT_PAGE = 50
MAX_PAGE = 200

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(frozen=True, slots=True)
class UsageParts:
    """What UsageService stands on: budgets, ratings, what is in force, the providers by name, the time in UTC."""

    budgets: Budgets
    ratings: Ratings
    routing: Callable[[], Routing]
    facts: Callable[[], Mapping[str, ProviderFacts]]
    now: Callable[[], datetime]


class UsageRpcs(UsageServiceServicer):
    """What was spent, what may be, and what a person should look at."""

    def __init__(self, parts: UsageParts, tokens: PageTokens) -> None:
        self._budgets = parts.budgets
        self._books = parts.budgets.books
        self._ratings = parts.ratings
        self._routing = parts.routing
        self._facts = parts.facts
        self._now = parts.now
        self._tokens = tokens

    async def SetBudget(self, request: service.SetBudgetRequest, context: Context) -> service.SetBudgetResponse:
        """See the contract."""
        caller = current_caller()
        require_operator(caller, "set budgets")
        check = Check()
        check.require(ok=request.HasField("budget"), field="budget", text="is missing")
        providers = {model.provider for model in self._routing().catalog.models.values()}
        budget = read_budget(request.budget, providers, check, "budget.")
        await budget_setting.put(self._budgets, budget, by=caller.name)
        return service.SetBudgetResponse(budget=await self._status(budget))

    async def ListBudgets(self, request: service.ListBudgetsRequest, context: Context) -> service.ListBudgetsResponse:
        """See the contract."""
        require_operator(current_caller(), "read budgets")
        await self._budgets.refresh()
        return service.ListBudgetsResponse(budgets=[await self._status(each) for each in self._budgets.in_force])

    async def DeleteBudget(
        self, request: service.DeleteBudgetRequest, context: Context
    ) -> service.DeleteBudgetResponse:
        """See the contract."""
        caller = current_caller()
        require_operator(caller, "delete budgets")
        await budget_setting.remove(self._budgets, request.budget_id, by=caller.name)
        return service.DeleteBudgetResponse()

    async def GetUsage(self, request: service.GetUsageRequest, context: Context) -> service.GetUsageResponse:
        """See the contract."""
        caller = current_caller()
        query = _query(request, caller, self._now())
        # One more than is shown tells whether there are more: of millions of groups nobody reads the rest.
        rows = await self._books.usage(replace(query, most=MOST_ROWS + 1))
        is_truncated = len(rows) > MOST_ROWS
        whole = await self._books.usage(replace(query, group_by=())) if is_truncated else rows
        return service.GetUsageResponse(
            rows=[_row_message(each) for each in rows[:MOST_ROWS]],
            truncated=is_truncated,
            total=_row_message(UsageRow((), total(whole))),
            forecasts=await self._forecasts() if caller.is_operator else (),
            forecast_method=METHOD,
        )

    async def GetScorecard(
        self, request: service.GetScorecardRequest, context: Context
    ) -> service.GetScorecardResponse:
        """See the contract."""
        check, now = Check(), self._now()
        since, until = _times(request, check, now - SCORECARD_SPAN, now)
        check.done()
        found = await scores(self._books, self._ratings, since, until, whose(request.caller, current_caller()))
        return service.GetScorecardResponse(scores=[_score_message(each) for each in found])

    async def ListAlerts(self, request: service.ListAlertsRequest, context: Context) -> service.ListAlertsResponse:
        """See the contract."""
        require_operator(current_caller(), "read alerts")
        check = Check()
        size = request.page_size or DEFAULT_PAGE
        check.require(ok=size > 0, field="page_size", text=f"{size} is negative; give 1 to {MAX_PAGE}")
        since = None
        if request.HasField("start_time"):
            since = check.value("start_time", lambda: timestamp(request.start_time))
        check.done()
        identity = _alerts_identity(request)
        before = self._tokens.read(request.page_token, identity)
        size = min(size, MAX_PAGE)
        # One more than asked tells whether there is a next page.
        found = await self._books.alerts(since=since, before=before, limit=size + 1)
        page = found[:size]
        return service.ListAlertsResponse(
            alerts=[_alert_message(each) for each in page],
            next_page_token=self._tokens.issue(page[-1].id, identity) if len(found) > size else "",
        )

    async def _status(self, budget: Budget) -> service.BudgetStatus:
        standing = await self._budgets.standing(budget, MOST_SUMS)
        status = service.BudgetStatus(
            budget=_budget_message(budget),
            from_configuration=standing.is_default,
            window=standing.window.name,
            sums=[_sum_message(budget, each) for each in standing.sums],
        )
        status.end_time.FromDatetime(standing.window.end)
        return status

    async def _forecasts(self) -> Sequence[service.Forecast]:
        facts = self._facts()
        found = await forecasts(self._books, facts, self._now())
        return [_forecast_message(name, facts[name].account, each) for name, each in found.items()]


def _query(request: service.GetUsageRequest, caller: Caller, now: datetime) -> UsageQuery:
    check = Check()
    groups: list[Group] = []
    for index, number in enumerate(request.group_by):
        group = check.enum(f"group_by[{index}]", enums.USAGE_GROUP, number)
        if number == service.USAGE_GROUP_UNSPECIFIED:
            check.fail(f"group_by[{index}]", "name a group")
        if group is not None and group in groups:
            check.fail(f"group_by[{index}]", f"{group.value} is named twice")
        if group is not None:
            groups.append(group)
    since, until = _times(request, check, span(Window.MONTH, now).start, now)
    check.done()
    query = UsageQuery(since, until, tuple(groups), unknown_only=request.unknown_only)
    return replace(query, caller=whose(request.caller, caller))


def _times(
    request: service.GetUsageRequest | service.GetScorecardRequest, check: Check, default: datetime, now: datetime
) -> tuple[datetime, datetime]:
    """From when, and until when; what is wrong with them is noted."""
    since: datetime | None = default
    until: datetime | None = now + timedelta(microseconds=1)
    if request.HasField("start_time"):
        since = check.value("start_time", lambda: timestamp(request.start_time))
    if request.HasField("end_time"):
        until = check.value("end_time", lambda: timestamp(request.end_time))
    if since is not None and until is not None and until <= since:
        check.fail("end_time", f"is not after the start, {since.isoformat()}")
    return since or now, until or now


def _alerts_identity(request: service.ListAlertsRequest) -> bytes:
    """What a page token belongs to: everything but the place and the size of the page."""
    query = service.ListAlertsRequest()
    query.CopyFrom(request)
    query.ClearField("page_token")
    query.ClearField("page_size")
    return b"alerts\n" + query.SerializeToString(deterministic=True)


# From the domain to the contract


def _budget_message(budget: Budget) -> service.Budget:
    message = service.Budget(
        id=budget.id,
        counted=enums.COUNTED.to_proto(budget.counted),
        key=budget.key,
        tier=enums.TIER.to_proto(budget.tier),
        window=enums.WINDOW.to_proto(budget.window),
        soft=not budget.is_hard,
        thresholds=budget.thresholds,
    )
    if budget.unit is Unit.USD:
        message.usd.CopyFrom(money_message(budget.amount))
    else:
        message.pictures = budget.amount
    return message


def _sum_message(budget: Budget, counted: Counted) -> service.BudgetSum:
    message = service.BudgetSum(key=counted.key, percent=percent(budget, counted.amount))
    if budget.unit is Unit.USD:
        message.usd.CopyFrom(money_message(counted.amount))
    else:
        message.pictures = counted.amount
    return message


def _row_message(row: UsageRow) -> service.UsageRow:
    sums: Sums = row.sums
    return service.UsageRow(
        keys=row.keys,
        cost=money_message(sums.nanos),
        reported_cost=money_message(sums.reported_nanos),
        estimated_cost=money_message(sums.estimated_nanos),
        unknown_cost=money_message(sums.unknown_nanos),
        attempts=sums.attempts,
        pictures=sums.pictures,
        reconciled_cost=money_message(sums.reconciled_nanos),
    )


def _score_message(score: Score) -> service.Score:
    sums, votes, latency = score.sums, score.votes, score.latency
    each = money_message(sums.nanos // sums.pictures) if sums.pictures else None
    return service.Score(
        workflow=enums.WORKFLOW.to_proto(Workflow(score.workflow) if score.workflow else None),
        model=score.model,
        wins=votes.wins,
        losses=votes.losses,
        thumbs_up=votes.thumbs_up,
        thumbs_down=votes.thumbs_down,
        attempts=sums.attempts,
        pictures=sums.pictures,
        cost=money_message(sums.nanos),
        cost_per_picture=each,
        latency_p50=duration_message(latency.p50_s) if latency else None,
        latency_p90=duration_message(latency.p90_s) if latency else None,
    )


def _forecast_message(provider: str, account: str, forecast: Forecast) -> service.Forecast:
    known = forecast.month_end_nanos is not None and forecast.mean_nanos is not None
    return service.Forecast(
        provider=provider,
        account=account,
        spent=money_message(forecast.spent_nanos),
        month_end=money_message(forecast.month_end_nanos or 0) if known else None,
        mean_per_day=money_message(forecast.mean_nanos or 0) if known else None,
        full_days=forecast.full_days,
    )


def _alert_message(alert: Alert) -> service.Alert:
    message = service.Alert(
        id=alert.id,
        kind=alert.kind,
        subject=alert.subject,
        text=alert.text,
        delivery=enums.DELIVERY.to_proto(alert.delivery),
    )
    message.create_time.FromDatetime(alert.create_time)
    return message
