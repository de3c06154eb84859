"""`pictord reconcile` while the gateway serves: the sandbox's charge log is the invoice, and the ledger comes to it."""

import asyncio
import csv
import io
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

import samples
from gateway import GPT, Gateway, gateway
from pictor.v1 import image_pb2 as image
from pictor.v1 import usage_service_pb2 as usage
from pictor.v1.image_service_pb2 import GenerateRequest
from pictord import app, cli
from pictord.domain.budget import EACH, Budget, Counted, Unit, Window, scope
from pictord.domain.reconciliation import Invoice, reconcile
from pictord.store import reconcile as ledger
from pictord.store.base import ListFilter
from pictord.store.database import Address, sqlite_address
from pictord.store.schema import reconciled, reconciliation
from pictord.store.upkeep import check, transaction

NOON, DAY = samples.NOON, "2026-11-22"
BUCKET = {"start_time": 1795305600, "end_time": 1795392000}
OUTSIDE = app.Outside(now=lambda: NOON)
TEN = Budget("ten", Counted.GLOBAL, "", Unit.USD, Window.DAY, 10**10)
OPENAIS = Budget("openais", Counted.PROVIDER, "openai", Unit.USD, Window.MONTH, 10**11)
MONTHS = Budget("months", Counted.CALLER, EACH, Unit.USD, Window.MONTH, 10**11, is_hard=False)
BILLED, UNBILLED = "openai:reset_before_response", "openai:reset_before_response;billed=false"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, databases, tmp_path) -> Address:
    if request.param == "sqlite":
        return databases.sqlite(tmp_path / "pictor.db")
    return databases.postgresql(request.getfixturevalue("postgresql"))


@pytest.fixture
def embedded(databases, tmp_path) -> Address:
    return databases.sqlite(tmp_path / "pictor.db")


@pytest.fixture
def pictord(monkeypatch, capsys):
    """Run `pictord reconcile` beside whatever serves; exit code, stdout and stderr."""
    for name in [name for name in os.environ if name.startswith("PICTOR_")]:
        monkeypatch.delenv(name)

    async def run(where: Address, *words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("PICTOR_DATABASE", url(where))
        monkeypatch.setattr(sys, "argv", ["pictord", "reconcile", *words])
        with pytest.raises(SystemExit) as end:
            await asyncio.to_thread(cli.main)
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


def url(where: Address) -> str:
    shown = where.url.render_as_string(hide_password=False)
    return shown.replace("+psycopg", "")


async def draw(door: Gateway, prompt: str, fault: str | None = None) -> None:
    metadata = [("x-sandbox-fault", fault)] if fault else None
    call = door.images.Generate(
        GenerateRequest(prompt=prompt, model=GPT, quality=image.QUALITY_LOW, max_inline_bytes=0), metadata=metadata
    )
    await asyncio.gather(call, return_exceptions=True)


def export(door: Gateway, file: Path, factor: float = 1.0) -> str:
    """What OpenAI would bill: its costs API, grouped by line item."""
    results = [
        {
            "amount": {"value": round(charge.nanos * factor) / 10**9, "currency": "usd"},
            "line_item": f"{charge.model}, image",
        }
        for charge in door.sandbox.charges
        if charge.billed and charge.provider == "openai"
    ]
    file.write_text(json.dumps({"data": [BUCKET | {"results": results}], "has_more": False}))
    return str(file)


async def books(door: Gateway, *budgets: Budget) -> list[int]:
    """What is counted under each of them."""
    whose = {EACH: "local"}
    names = [scope(budget, whose.get(budget.key, budget.key), NOON) for budget in budgets]
    return [await door.app.store.spent(name) for name in names]


async def sums(door: Gateway) -> usage.UsageRow:
    return (await door.usage.GetUsage(usage.GetUsageRequest())).total


def trail(where: Address) -> tuple[int, list[tuple[int, int]]]:
    """How many reconciliations there were, and what each attempt was and became."""
    with transaction(where, read_only=True) as connection:
        count = len(connection.execute(select(reconciliation)).all())
        wanted = select(reconciled.c.unknown_nanos, reconciled.c.settled_nanos)
        return count, [tuple(row) for row in connection.execute(wanted)]


async def test_the_ledger_comes_to_what_the_sandbox_charged(place, pictord, tmp_path):
    """Two answers were lost, one of them billed: then ledger, budgets and record say what was charged, exactly."""
    async with gateway(database=url(place), outside=OUTSIDE) as door:
        await door.app.budgets.set(TEN)
        await door.app.budgets.set(OPENAIS)
        for number in range(3):
            await draw(door, f"fox {number}")
        await draw(door, "lost and billed", BILLED)
        await draw(door, "lost", UNBILLED)
        await door.app.budgets.delete(TEN.id)  # what was held under it still counts there
        await door.app.budgets.set(MONTHS)  # no attempt was held under it, and all count
        file, charged = export(door, tmp_path / "costs.json"), door.charged_nanos()
        before, counted = await sums(door), await books(door, TEN, OPENAIS, MONTHS)
        held = before.unknown_cost.nanos
        assert held > 0
        assert counted == [before.cost.nanos] * 3

        shown = await pictord(place, "--provider", "openai", file)
        assert await books(door, TEN, OPENAIS, MONTHS) == counted, "without --apply nothing changes"
        done = await pictord(place, "--provider", "openai", "--apply", file)
        after = await sums(door)
        again = await pictord(place, "--provider", "openai", "--apply", file)

        assert (shown[0], done[0], again[0]) == (0, 0, 0)
        assert "nothing was written; --apply does it" in shown[1]
        assert "2 unknown attempts are settled at" in done[1]
        assert (after.cost.nanos, after.unknown_cost.nanos) == (charged, 0)
        assert after.reconciled_cost.nanos == charged - after.reported_cost.nanos > 0
        assert await books(door, TEN, OPENAIS, MONTHS) == [charged] * 3
        assert "unknown attempts" not in again[1]
        assert await sums(door) == after

        lost = [
            attempt.cost
            for each in await door.app.store.list(ListFilter())
            for attempt in (await door.get(each.id)).attempts
            if attempt.cost.basis == image.COST_BASIS_RECONCILED
        ]
        assert sum(cost.amount.nanos for cost in lost) == after.reconciled_cost.nanos
        assert len(lost) == 2

    count, changes = trail(place)
    assert count == 1
    assert (sum(old for old, _ in changes), sum(new for _, new in changes)) == (held, after.reconciled_cost.nanos)
    assert check(place, NOON).problems == ()


@pytest.mark.parametrize(
    ("factor", "tolerance", "code"),
    [
        pytest.param(1.009, "1", 0, id="within 1 %"),
        pytest.param(1.02, "1", 1, id="2 % more than the ledger knows"),
        pytest.param(0.98, "1", 1, id="2 % less"),
        pytest.param(1.02, "2.5", 0, id="2 % are allowed"),
    ],
)
async def test_a_difference_above_the_tolerance_is_an_exit_code(embedded, pictord, factor, tolerance, code):
    """For a nightly job; the numbers are in the output, whichever its form."""
    async with gateway(database=url(embedded), outside=OUTSIDE) as door:
        await draw(door, "a fox")
        charged, words = door.charged_nanos(), ("--tolerance", tolerance)
        file = export(door, embedded.file.with_name("costs.json"), factor)
        as_text = await pictord(embedded, "--provider", "openai", file, *words)
        as_json = await pictord(embedded, "--provider", "openai", file, "--json", *words)
        as_csv = await pictord(embedded, "--provider", "openai", file, "--csv", *words)

    assert {as_text[0], as_json[0], as_csv[0]} == {code}
    (line,) = json.loads(as_json[1])["lines"]
    (row,) = csv.DictReader(io.StringIO(as_csv[1]))
    assert {key: str(value) for key, value in line.items()} == row
    assert (row["day"], row["model"], row["verdict"]) == (DAY, GPT, "off" if code else "agrees")
    assert Decimal(row["reported_usd"]) * 10**9 == charged
    assert Decimal(row["difference_usd"]) * 10**9 == round(charged * factor) - charged
    assert ("off" if code else "agrees") in as_text[1].splitlines()[-1]


async def test_an_invoice_of_another_account_writes_nothing_off(embedded, pictord, tmp_path):
    """It bills less than the ledger knows for certain."""
    async with gateway(database=url(embedded), outside=OUTSIDE) as door:
        await draw(door, "a fox")
        await draw(door, "lost", UNBILLED)
        before = await sums(door)
        code, said, _ = await pictord(
            embedded, "--provider", "openai", "--apply", export(door, tmp_path / "costs.json", 0.5)
        )
        assert await sums(door) == before

    assert code == 1
    assert "1 unknown attempts are left as they are" in said
    assert trail(embedded) == (0, [])


async def test_what_is_billed_under_an_unknown_name_writes_nothing_off_until_it_is_said_to_be_others(
    embedded, pictord, tmp_path
):
    """The lost picture may be what it is for."""
    file = tmp_path / "costs.json"
    async with gateway(database=url(embedded), outside=OUTSIDE) as door:
        await draw(door, "lost", BILLED)
        before = await sums(door)
        own = {"amount": {"value": 1, "currency": "usd"}, "line_item": "image-generation, output"}
        file.write_text(json.dumps({"data": [BUCKET | {"results": [own]}]}))
        words = ("--provider", "openai", "--apply", str(file))
        alone = await pictord(embedded, *words)
        left = await sums(door)
        said = await pictord(embedded, *words, "--not-ours", "Image-Generation")
        settled = await sums(door)

    assert (alone[0], left) == (1, before)
    assert "on 2026-11-22 something is billed that may be theirs under another name" in alone[1]
    assert (said[0], settled.cost.nanos, settled.unknown_cost.nanos) == (0, 0, 0)


async def test_lost_attempts_of_today_and_of_days_that_are_not_named_are_left(embedded, pictord, tmp_path):
    """Yesterday's invoice says nothing about today."""
    today = datetime.now(UTC)
    async with gateway(database=url(embedded), outside=app.Outside(now=lambda: today)) as door:
        await draw(door, "lost", UNBILLED)
        for day in (today.date(), today.date() - timedelta(days=9)):
            file = tmp_path / "own.csv"
            file.write_text(f"day,model,usd\n{day},{GPT},0\n")
            assert (await pictord(embedded, "--provider", "openai", "--apply", str(file)))[0] == 0
        assert (await sums(door)).unknown_cost.nanos > 0

    assert trail(embedded) == (0, [])


async def test_whoever_reconciles_second_finds_nothing_unknown(place):
    """Two operators at once: every lost attempt is settled once, every scope changes once."""
    async with gateway(database=url(place), outside=OUTSIDE) as door:
        await door.app.budgets.set(TEN)
        for number in range(5):
            await draw(door, f"lost {number}", UNBILLED)
        before = await sums(door)
        invoice = Invoice({(NOON.date(), GPT): 1_001}, {NOON.date()})

        def once(number: int) -> int:
            made = ledger.Trail(f"rec_{number}", "openai", NOON + timedelta(days=3), "ann", "costs.csv", "00")
            with transaction(place) as connection:
                found = ledger.apply(
                    connection, made, [NOON.date()], lambda booked: reconcile(invoice, booked, made.time, Decimal(1))
                )
            return len(found.settlements)

        settled = await asyncio.gather(*(asyncio.to_thread(once, number) for number in range(2)))
        after, counted = await sums(door), await books(door, TEN)

    assert sorted(settled) == [0, 5]
    assert before.unknown_cost.nanos > 1_001
    assert (after.cost.nanos, after.reconciled_cost.nanos, counted) == (1_001, 1_001, [1_001])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("--provider", "midjourney", "{file}"), "--provider: 'midjourney' is none of", id="provider"),
        pytest.param(("--provider", "openai", "{file}", "--tolerance", "-1"), "--tolerance: '-1' is no", id="below 0"),
        pytest.param(("--provider", "openai", "{file}", "--tolerance", "some"), "--tolerance: 'some' is", id="a word"),
        pytest.param(("--provider", "openai", "{file}"), "own.csv: line 2, column usd: 'ten' is not", id="bad value"),
        pytest.param(("--provider", "openai", "{folder}/none"), "No such file", id="no file"),
        pytest.param(("--provider", "openai", "{folder}/bytes"), "bytes: byte 0 is no UTF-8", id="no text"),
    ],
)
async def test_bad_input_is_one_sentence_and_exit_code_2(embedded, pictord, tmp_path, words, said):
    """Before the database is looked at."""
    (tmp_path / "own.csv").write_text(f"day,model,usd\n{DAY},{GPT},ten\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")

    code, out, err = await pictord(
        embedded, *(word.format(file=tmp_path / "own.csv", folder=tmp_path) for word in words)
    )

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


async def test_tables_of_an_older_pictord_are_not_reconciled(pictord, tmp_path):
    """It says what to do."""
    (tmp_path / "own.csv").write_text(f"day,model,usd\n{DAY},{GPT},1\n")
    place = sqlite_address(tmp_path / "empty.db")
    place.file.touch()

    code, _, err = await pictord(place, "--provider", "openai", str(tmp_path / "own.csv"))

    assert code == 2
    assert "its tables are missing; run `pictord db upgrade`" in err
