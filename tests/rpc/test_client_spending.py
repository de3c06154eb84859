"""`pictor usage`, `budget` and `alerts`: through a real gateway, as tables, CSV and JSON."""

import asyncio
import csv
import io
import json
import threading
from collections.abc import Iterator
from typing import Self

import pytest
from google.protobuf.json_format import Parse
from typer.testing import CliRunner

from gateway import Gateway, gateway
from pictor import messages
from pictor.cli.app import app
from pictor.cli.spending_tables import print_csv
from pictor.v1 import usage_service_pb2 as usage
from pictor.v1.image_service_pb2 import GenerateRequest

LOST = (("x-sandbox-fault", "gemini:reset_before_response,openai:reset_before_response"),)


@pytest.fixture
def running(monkeypatch, tmp_path) -> Iterator["Running"]:
    """A gateway in a thread of its own, for the command has its own event loop."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PICTOR_API_KEY", raising=False)
    with Running() as made:
        monkeypatch.setenv("PICTOR_ADDRESS", made.address)
        yield made


class Running:
    """A gateway that lives in another thread."""

    def __enter__(self) -> Self:
        self._started, self._thread = threading.Event(), threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._started.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with gateway(database="memory") as self.gateway:
            self.address = self.gateway.app.address
            self._started.set()
            await self._ended.wait()

    def do(self, work) -> None:
        """Run an async function of the gateway over there."""
        asyncio.run_coroutine_threadsafe(work(self.gateway), self._loop).result(30)


async def draw(door: Gateway) -> None:
    await door.images.Generate(GenerateRequest(prompt="a fox"))
    await door.app.alerts.look()


async def lose(door: Gateway) -> None:
    call = door.images.Generate(GenerateRequest(prompt="a fox"), metadata=LOST)
    await asyncio.gather(call, return_exceptions=True)


def pictor(*arguments, code: int = 0) -> str:
    """Run the command; what it says, on stdout, or on stderr if it fails."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def test_usage_is_a_table_with_total_and_forecast(running):
    """By provider and model unless told otherwise."""
    running.do(draw)

    lines = [line for line in pictor("usage").splitlines() if line.strip()]

    assert lines[0].split() == ["provider", "model", "cost", "of", "it", "estimated", "unknown", "calls", "pictures"]
    assert lines[2].split()[:2] == ["gemini", "gemini-3.1-flash-image"]
    assert lines[3].split()[0] == "total"
    assert any("not enough history" in line for line in lines)
    assert "mean of the last 7 full UTC days" in lines[-1]


def test_usage_is_csv_and_json_for_programs(running):
    """Exact decimals; the groups are the first columns."""
    running.do(draw)
    answer = Parse(pictor("usage", "--by", "caller,day", "--json"), usage.GetUsageResponse())

    (row,) = csv.DictReader(io.StringIO(pictor("usage", "--by", "caller,day", "--csv")))

    assert (row["caller"], row["pictures"], row["attempts"]) == ("local", "1", "1")
    assert round(float(row["cost_usd"]) * 10**9) == answer.total.cost.nanos
    assert answer.rows[0].keys == [row["caller"], row["day"]]


def test_unknown_cost_is_listed_by_generation(running):
    """`--unknown` alone; what is known is left out."""
    running.do(draw)
    running.do(lose)

    rows = list(csv.DictReader(io.StringIO(pictor("usage", "--unknown", "--csv"))))

    assert [row["provider"] for row in rows] != []
    assert all(row["generation"].startswith("gen_") and row["cost_usd"] == row["unknown_usd"] for row in rows)
    assert all(float(row["reconciled_usd"]) == 0 for row in rows)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1+1", "\r=1+1"])
def test_a_cell_is_never_a_formula(capsys, name):
    """A caller may be called `=1+1`; a spreadsheet must not compute it."""
    print_csv(usage.GetUsageResponse(rows=[usage.UsageRow(keys=[name])]), ["caller"])

    _, row = csv.reader(io.StringIO(capsys.readouterr().out, newline=""))
    assert row[0] == "'" + name.replace("\t", " ").replace("\r", " ")


def test_a_budget_is_set_listed_and_deleted(running):
    """Each option is a field; the table shows what is counted."""
    running.do(draw)
    options = (
        "--for",
        "global",
        "--per",
        "month",
        "--pictures",
        4,
        "--tier",
        "standard",
        "--soft",
        "--alert-at",
        "25,90",
    )
    told = pictor("budget", "set", "four", *options)

    assert "four" in told
    assert "1 (25 %)" in told
    listed = Parse(pictor("budget", "list", "--json"), usage.ListBudgetsResponse()).budgets
    assert [each.budget for each in listed] == [
        messages.budget("four", "global", window="month", pictures=4, tier="standard", soft=True, thresholds=[25, 90])
    ]
    assert pictor("budget", "delete", "four").strip() == "four is deleted"
    assert "no budget is in force" in pictor("budget", "list")


def test_a_budget_of_each_shows_who_has_the_most(running):
    """By name, under the budget."""
    running.do(draw)

    told = pictor("budget", "set", "each", "--for", "caller:*", "--per", "day", "--usd", "1.50")

    assert "caller:*" in told
    assert ") local" in told
    assert "$1.5" in told


@pytest.mark.parametrize(
    ("options", "says", "code"),
    [
        (("--for", "planet", "--per", "day", "--usd", "1"), "none of caller, tier", 2),
        (("--for", "global", "--per", "year", "--usd", "1"), "none of day, month", 2),
        (("--for", "global", "--per", "day", "--usd", "one"), "not an amount", 2),
        (("--for", "global", "--per", "day", "--usd", "1", "--pictures", "1"), "not both", 2),
        (("--for", "global", "--per", "day"), "budget.amount", 2),
        (("--for", "global", "--per", "day", "--usd", "-1"), "--usd: is negative", 2),
        (("--for", "global", "--per", "day", "--usd", "1", "--alert-at", "x"), "percents", 2),
    ],
)
def test_a_budget_that_makes_no_sense_is_one_sentence(running, options, says, code):
    """From the command itself, or from the gateway with its field."""
    assert says in pictor("budget", "set", "b", *options, code=code)


def test_an_unknown_group_or_budget_is_one_sentence(running):
    """With what there is."""
    assert "none of provider, model" in pictor("usage", "--by", "planet", code=2)
    told = "pictor: nobody set a budget 'none'; `pictor budget list` names them (NOT_FOUND)"
    assert pictor("budget", "delete", "none", code=5).strip() == told


def test_alerts_are_a_table_and_json(running):
    """Newest first, with a token for the next page."""
    assert pictor("alerts").strip() == "no alerts"
    pictor("budget", "set", "one", "--for", "global", "--per", "day", "--pictures", 1, "--soft")
    running.do(draw)

    told = pictor("alerts", "--page-size", 2)
    page = json.loads(pictor("alerts", "--json"))

    assert "budget 'one' has reached 100 %" in told
    assert "more: --page-token" in told
    assert [alert["kind"] for alert in page["alerts"]] == ["budget"] * 3
