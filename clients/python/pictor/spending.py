"""The calls about money, and what was had for it."""

from collections.abc import Sequence
from datetime import datetime

from pictor import enums
from pictor.calls import Calls
from pictor.messages import timestamp
from pictor.v1 import usage_service_pb2 as messages


class Spending:
    """What UsageService offers."""

    _calls: Calls

    async def usage(
        self,
        *group_by: str | messages.UsageGroup.ValueType,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        caller: str = "",
        unknown_only: bool = False,
    ) -> messages.GetUsageResponse:
        """What was spent, grouped by e.g. `provider`, `day`; this month unless told otherwise.

        Raises:
            PictorError: Another caller's usage, or an end that is not after the start.
            ValueError: There is no such group.
        """
        message = messages.GetUsageRequest(
            group_by=[
                messages.UsageGroup.ValueType(enums.number(messages.UsageGroup.DESCRIPTOR, each)) for each in group_by
            ],
            start_time=None if start_time is None else timestamp(start_time),
            end_time=None if end_time is None else timestamp(end_time),
            caller=caller,
            unknown_only=unknown_only,
        )
        return await self._calls.ask(self._calls.usage.GetUsage, message)

    async def budgets(self) -> Sequence[messages.BudgetStatus]:
        """The budgets in force, with what is counted under them now.

        Raises:
            PictorError: You are no operator.
        """
        message = messages.ListBudgetsRequest()
        return (await self._calls.ask(self._calls.usage.ListBudgets, message)).budgets

    async def set_budget(self, budget: messages.Budget) -> messages.BudgetStatus:
        """Set a budget, or replace the one of its id; `messages.budget` builds one from plain values.

        Raises:
            PictorError: You are no operator, or a field is wrong.
        """
        message = messages.SetBudgetRequest(budget=budget)
        return (await self._calls.ask(self._calls.usage.SetBudget, message)).budget

    async def delete_budget(self, budget_id: str) -> None:
        """Remove a budget.

        Raises:
            PictorError: You are no operator, or nobody set it.
        """
        message = messages.DeleteBudgetRequest(budget_id=budget_id)
        await self._calls.ask(self._calls.usage.DeleteBudget, message)

    async def alerts(
        self, *, page_size: int = 0, page_token: str = "", start_time: datetime | None = None
    ) -> messages.ListAlertsResponse:
        """One page of alerts, newest first.

        Raises:
            PictorError: You are no operator.
        """
        message = messages.ListAlertsRequest(
            page_size=page_size,
            page_token=page_token,
            start_time=None if start_time is None else timestamp(start_time),
        )
        return await self._calls.ask(self._calls.usage.ListAlerts, message)

    async def scorecard(
        self, *, start_time: datetime | None = None, end_time: datetime | None = None, caller: str = ""
    ) -> messages.GetScorecardResponse:
        """Wins, thumbs, cost and latency by workflow and model; the last 30 days unless told otherwise.

        Raises:
            PictorError: Another caller's scorecard, or an end that is not after the start.
        """
        message = messages.GetScorecardRequest(
            start_time=None if start_time is None else timestamp(start_time),
            end_time=None if end_time is None else timestamp(end_time),
            caller=caller,
        )
        return await self._calls.ask(self._calls.usage.GetScorecard, message)
