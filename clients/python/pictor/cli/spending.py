"""The commands about money: usage, budgets, alerts."""

from typing import Annotated

import typer

from pictor.cli.connection import run
from pictor.cli.options import Json, PageSize, Since, Until, split

app = typer.Typer(rich_markup_mode=None)
budget_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="List, set and delete budgets; for operators."
)
app.add_typer(budget_app, name="budget")

GROUPS = "provider, model, version, caller, end_user, tier, workflow, row, day, generation"
COUNTED = "caller:NAME, tier:NAME, end_user:HASH, provider:NAME, global; * as a name gives each one this budget"

BudgetId = Annotated[str, typer.Argument(metavar="BUDGET", help="Id of a budget.")]


@app.command()
def usage(
    context: typer.Context,
    *,
    by: Annotated[list[str] | None, typer.Option(help=f"Groups a,b: {GROUPS}.")] = None,
    since: Since = None,
    until: Until = None,
    caller: Annotated[str, typer.Option(help="One caller's; operators see everybody's otherwise.")] = "",
    unknown: Annotated[bool, typer.Option("--unknown", help="Only what was sent and never answered.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    as_json: Json = False,
) -> None:
    """Sum up what was spent, this month unless told otherwise, and what the month will cost.

    What is unknown is listed from the first day on: it stays so until it is reconciled.
    """
    since = since or ("1970-01-01" if unknown else None)
    groups = list(split(by or ())) or (["day", "provider", "model", "generation"] if unknown else ["provider", "model"])
    run(
        context,
        lambda work: work.usage(groups, since, until, caller, unknown_only=unknown, as_csv=as_csv),
        as_json=as_json,
    )


@budget_app.command("list")
def list_(context: typer.Context, *, as_json: Json = False) -> None:
    """List the budgets in force, with what is counted under them now."""
    run(context, lambda work: work.budgets(), as_json=as_json)


@budget_app.command("set")
def set_(
    context: typer.Context,
    budget: BudgetId,
    *,
    counted: Annotated[str, typer.Option("--for", help=COUNTED)],
    per: Annotated[str, typer.Option(help="day, month")],
    usd: Annotated[str | None, typer.Option(help="US dollars, e.g. 25 or 0.50.")] = None,
    pictures: Annotated[int | None, typer.Option(help="Or so many pictures.")] = None,
    tier: Annotated[str | None, typer.Option(help="Requests of this tier alone: free, standard, pro.")] = None,
    soft: Annotated[bool, typer.Option("--soft", help="Alert, and refuse nothing.")] = False,
    alert_at: Annotated[list[str] | None, typer.Option(help="Percents a,b; 50,80,100 unless told otherwise.")] = None,
    as_json: Json = False,
) -> None:
    """Set a budget, or replace the one of this id; what was spent in its window counts."""
    run(
        context,
        lambda work: work.set_budget(
            budget,
            counted,
            per=per,
            usd=usd,
            pictures=pictures,
            tier=tier,
            soft=soft,
            thresholds=list(split(alert_at or ())),
        ),
        as_json=as_json,
    )


@budget_app.command()
def delete(context: typer.Context, budget: BudgetId, *, as_json: Json = False) -> None:
    """Remove a budget; the default daily cap is in force again if it stood in for that."""
    run(context, lambda work: work.delete_budget(budget), as_json=as_json)


@app.command()
def alerts(
    context: typer.Context,
    *,
    since: Since = None,
    page_size: PageSize = 0,
    page_token: Annotated[str, typer.Option(help="From the page before.")] = "",
    as_json: Json = False,
) -> None:
    """List what a person should look at, newest first; for operators."""
    run(context, lambda work: work.alerts(since, page_size, page_token), as_json=as_json)
