"""`pictor loadtest` through the door: a real gateway, the sandbox as its engines, the command as a process."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from gateway import GPT, NANO, gateway
from pictor.cli.app import app
from pictor.v1.history_service_pb2 import ListGenerationsRequest
from pictor_loadtest import mix
from pictor_loadtest.arrivals import Rate, Spacing
from pictor_loadtest.gateway import Bounds, Gateway
from pictor_loadtest.record import NO_ANSWER, Record
from pictor_loadtest.run import REAL, Run, Wanted
from pictor_loadtest.schedule import Due, Load
from pictord.sandbox import SandboxSettings

SMALL = """
prompts = ["a fox", "a jay"]
[shapes.plain]
weight = 3
row = "standard"
options = { resolution = "512" }
[shapes.stream]
weight = 1
row = "explicit"
stream = true
options = { model = "gpt-image-2", quality = "low", preview_count = 1 }
"""
PLAIN = '[shapes.plain]\nweight = 1\nprompts = ["a fox"]\noptions = { resolution = "512" }\n'


@dataclass
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


async def begun(address, *arguments, **environ):
    """The command, running."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PICTOR_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from pictor.cli import main; main()", "--address", address, "loadtest",
        *map(str, arguments), env=clean | environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def ended(process):
    out, err = await process.communicate()
    assert b"Traceback" not in err
    return Ended(process.returncode, out.decode(), err.decode())


async def loadtest(address, *arguments, **environ):
    return await ended(await begun(address, *arguments, **environ))


@pytest.fixture
def small(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path / "small.toml"


@pytest.fixture
def quick(small, tmp_path):
    """Options of a load of two seconds, and where its report lies."""
    return ["--mix", small, "--rate", "8", "--duration", "2s", "--out", tmp_path / "out"]


def report(tmp_path):
    return json.loads((tmp_path / "out/report.json").read_text())


def wanted(text=PLAIN, *, shipped="", rate=20.0, duration_s=1.0, max_in_flight=100, spend_nanos=None):
    called = mix.load(shipped) if shipped else mix.read("own", text.encode())
    load = Load(called, Rate(rate, rate), duration_s, Spacing.EVEN, 1, max_in_flight)
    return Wanted(load, 1, 0, None, spend_nanos, (), None, 0.25)


# --- what it measures


async def test_a_run_draws_what_it_reports(quick, tmp_path):
    """The sandbox's charge log, the gateway's history and the report agree on calls, money and rows."""
    async with gateway() as at:
        result = await loadtest(at.app.address, *quick, "--assert", "errors<=0%", "--assert", "stream.errors<=0%")
        page = await at.history.ListGenerations(ListGenerationsRequest(page_size=200))
        charged = at.charged_nanos()
    found = report(tmp_path)
    metrics = found["figures"]["metrics"]
    ids = {each.request.request_id for each in page.generations}

    assert (result.code, len(ids)) == (0, metrics["calls"])
    assert metrics["calls"] == len(at.sandbox.charges) > 8
    assert metrics["cost"] == pytest.approx(charged / 1e9)
    assert found["figures"]["rows"].keys() == {"explicit", "standard"}
    assert found["gateway"]["sandbox"]
    assert 0 < metrics["first_preview_p50"] <= found["figures"]["shapes"]["stream"]["metrics"]["latency_max"]
    assert metrics["overhead_p50"] > 0
    assert "holds  errors<=0%" in result.out
    assert "SANDBOX" in result.err
    assert "<svg" in (tmp_path / "out/report.html").read_text()


async def test_no_bytes_of_pictures_come_unless_asked_for():
    async with gateway() as at:
        received = []
        for inline in (0, 1 << 20):
            caller = Gateway(at.app.address, max_inline_bytes=inline)
            run = Run(wanted(SMALL, rate=4), caller)
            await run.drive(await run.check())
            await caller.close()
            received.append(sum(each.bytes_in for each in run.generator.records if not each.due.shape.stream))

    assert received[0] == 0
    assert received[1] > 10_000


async def test_every_row_of_the_decision_table_is_called_as_its_mix_says():
    """The shipped mix, edits and masks too: every shape draws, and on its own row."""
    shapes = mix.load("decision-table").shapes
    async with gateway() as at:
        caller = Gateway(at.app.address)
        run = Run(wanted(shipped="decision-table"), caller)
        await run.check()
        planned = {name: each.row for name, each in run.planned.items()}
        await caller.close()

    assert planned == {shape.name: shape.row for shape in shapes}


async def test_failovers_are_seen():
    async with gateway() as at:
        at.sandbox.faults.add("overloaded", provider="gemini", times=2)
        caller = Gateway(at.app.address)
        run = Run(wanted('[shapes.plain]\nweight = 1\nprompts = ["a fox"]', rate=4), caller)
        await run.drive(await run.check())
        await caller.close()
    (found,) = run.report()["figures"]["failovers"]

    assert (found["from"], found["outcome"], found["to"]) == (NANO, "overloaded", GPT)
    assert found["calls"] == found["good"] == 2


async def test_errors_are_told_by_reason_and_their_cost_is_looked_up(quick, tmp_path):
    """A failed call's money counts: the gateway is asked for it afterwards."""
    async with gateway() as at:
        at.sandbox.faults.add("truncated_image", match={"model": NANO})
        at.sandbox.faults.add("truncated_image", provider="openai")
        result = await loadtest(at.app.address, *quick, "--assert", "errors<1%")
    found = report(tmp_path)

    assert result.code == 3
    assert "FAILS  errors<1%  (is 100 %)" in result.out
    assert found["figures"]["errors"][0]["reason"] == "PROVIDER_FAILED"
    assert found["figures"]["cost"]["calls_of_unknown_cost"] == 0
    assert found["figures"]["metrics"]["cost"] > 0


async def test_a_stalled_engine_shows_in_the_latencies_of_all_that_waited():
    """Two places, both stalled until every call is due: nothing that was due meanwhile looks quick."""
    async with gateway(sandbox=SandboxSettings(time_scale=0)) as at:
        at.sandbox.faults.add("stall", times=2)
        caller = Gateway(at.app.address)
        run = Run(wanted(rate=20, max_in_flight=2), caller)
        schedule = await run.check()
        all_due = asyncio.Event()
        driving = asyncio.create_task(run.drive(schedule, lambda at: len(at.generator.records) == 20 and all_due.set()))
        await all_due.wait()
        at.sandbox.release_stalls()
        await driving
        await caller.close()
    records = run.generator.records

    assert all(record.is_good for record in records)
    assert all(record.latency_s >= 0.95 - record.due.at_s for record in records)
    assert all(record.was_held_back for record in records[2:])
    assert sum(record.ended_s - record.sent_s < record.latency_s / 2 for record in records) > 10


async def test_a_call_without_an_answer_in_time_counts_with_all_that_it_waited():
    """Whichever clock sees the deadline first: it is the slowest call, not a refusal, and may have cost something."""
    (shape,) = mix.read("own", PLAIN.encode()).shapes
    async with gateway(time_scale=0.03) as at:  # an engine is given up after 3.6 s
        at.sandbox.faults.add("stall")
        caller, clock = Gateway(at.app.address), asyncio.get_running_loop().time
        began_s = clock()
        records = [Record(Due(number, 0.0, shape, "a fox"), sent_s=0.0) for number in range(4)]
        bounds = Bounds(timeout_s=3.0, worst_nanos=0, max_cost_nanos=None)
        await asyncio.gather(*(caller.call(each, bounds, lambda: clock() - began_s) for each in records))
        await caller.close()

    assert {record.reason for record in records} == {NO_ANSWER}
    assert all(record.may_have_cost for record in records)


# --- money


async def test_a_gateway_with_real_engines_is_refused_before_any_call(quick):
    async with gateway(real=True) as at:
        result = await loadtest(at.app.address, *quick)
        sent = list(at.sandbox.requests)

    assert result.code == 7
    assert result.err.count("\n") == 1
    assert "has real engines" in result.err
    assert "--spend-real-money USD" in result.err
    assert sent == []


async def test_real_money_is_spent_up_to_the_bound_and_no_cent_more(quick, tmp_path):
    """The worst price of every call fits before it is sent, and the call is bound to it by its own max_cost."""
    async with gateway(real=True) as at:
        result = await loadtest(at.app.address, *quick, "--spend-real-money", "0.40")
        charged = at.charged_nanos()
    found = report(tmp_path)

    assert result.code == 6
    assert "stopped early: the money is spent" in result.out
    assert "REAL MONEY, $0.4000 at most" in result.err
    assert 0 < charged <= 400_000_000
    assert found["figures"]["metrics"]["cost"] == pytest.approx(charged / 1e9)
    assert not found["gateway"]["sandbox"]


async def test_money_too_little_for_one_call_sends_none(quick):
    async with gateway(real=True) as at:
        result = await loadtest(at.app.address, *quick, "--spend-real-money", "0.001")
        sent = list(at.sandbox.requests)

    assert result.code == 6
    assert sent == []


async def test_a_real_replica_behind_a_sandbox_address_ends_the_run():
    """The first answer that no sandbox drew stops everything."""
    async with gateway(real=True) as at:
        caller = Gateway(at.app.address)
        run = Run(wanted(rate=5, spend_nanos=10**10), caller)
        schedule = await run.check()
        run.is_sandbox = True  # as another replica had said
        await run.drive(schedule)
        await caller.close()

    assert run.generator.stopped_because == REAL
    assert len(at.sandbox.charges) < len(schedule)


# --- what is wrong is found before anything is sent


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--assert", "speed<5ms"], "there is no metric `speed`"),
        (["--assert", "errors<5"], "errors takes %"),
        (["--assert", "pro.errors<5%"], "the mix has no shape `pro`"),
        (["--rate", "fast"], "a rate is calls a second"),
        (["--duration", "60"], "a duration is such as 60s"),
        (["--mix", "heavy"], "no mix is called `heavy`"),
        (["--mix", "none.toml"], "none.toml"),
        (["--baseline", "none.json"], "none.json"),
        (["--tolerance", "much"], "a tolerance is"),
        (["--spacing", "odd"], "--spacing is poisson or even"),
        (["--spend-real-money", "-5"], "more than nothing"),
        (["--spend-real-money", "much"], "not an amount"),
        (["--timeout", "0"], "--timeout is more than nothing"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(quick, arguments, words):
    """Found before anything is sent: nothing answers at that address, and nobody notices."""
    given = [str(each) for each in (*quick, *arguments)]
    result = CliRunner().invoke(app, ["--address", "127.0.0.1:1", "loadtest", *given], catch_exceptions=False)

    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


async def test_a_timeout_that_an_engine_may_need_is_refused(quick):
    async with gateway() as at:
        result = await loadtest(at.app.address, *quick, "--timeout", "100")
        sent = list(at.sandbox.requests)

    assert (result.code, sent) == (2, [])
    assert "--timeout 100 s is not above" in result.err


async def test_a_gateway_that_is_away_is_one_line_and_exit_4(quick):
    result = await loadtest("127.0.0.1:1", *quick)

    assert result.code == 4
    assert result.err.startswith("pictor loadtest: nothing answers at 127.0.0.1:1")
    assert result.err.count("\n") == 1


async def test_a_shape_that_would_be_refused_ends_it_before_the_first_call(tmp_path, quick):
    (tmp_path / "small.toml").write_text(
        PLAIN.replace('"512"', '"512", fidelity = "exact", background = "transparent"')
    )
    async with gateway() as at:
        result = await loadtest(at.app.address, *quick)
        sent = list(at.sandbox.requests)

    assert (result.code, sent) == (3, [])
    assert "shape plain would be refused" in result.err


async def test_a_disk_that_is_full_in_the_end_is_one_line_and_the_figures_are_told(quick, tmp_path):
    (tmp_path / "out/report.json").mkdir(parents=True)  # nothing can be written there
    async with gateway() as at:
        result = await loadtest(at.app.address, *quick)

    assert result.code == 3
    assert "latency" in result.out
    assert result.err.splitlines()[-1].startswith("pictor loadtest: the report is not saved: ")


async def test_a_report_that_cannot_be_written_is_found_before_the_first_call(quick, tmp_path):
    (tmp_path / "file").write_text("")
    async with gateway() as at:
        result = await loadtest(at.app.address, *quick, "--out", tmp_path / "file")
        sent = list(at.sandbox.requests)

    assert (result.code, sent) == (2, [])


# --- baseline, and Ctrl-C


async def test_a_baseline_sets_the_exit_code(quick, tmp_path):
    """The same load again: as good as it was, then against one that was a thousand times quicker, then another load."""
    async with gateway() as at:
        address = at.app.address
        first = await loadtest(address, *quick)
        then = report(tmp_path)
        (tmp_path / "then.json").write_text(json.dumps(then))
        same = await loadtest(address, *quick, "--baseline", tmp_path / "then.json", "--tolerance", "100000%")
        then["figures"]["metrics"] = {**then["figures"]["metrics"], "throughput": 8000.0}
        (tmp_path / "then.json").write_text(json.dumps(then))
        worse = await loadtest(address, *quick, "--baseline", tmp_path / "then.json")
        other = await loadtest(address, *quick, "--seed", "2", "--baseline", tmp_path / "then.json")

    assert (first.code, same.code, worse.code, other.code) == (0, 0, 3, 2)
    assert "WORSE  throughput: was 8000/s" in worse.out
    assert "the baseline is of another load: seed was 1, is 2" in other.err


async def test_ctrl_c_ends_the_run_and_still_makes_the_report(quick, tmp_path):
    async with gateway() as at:
        process = await begun(at.app.address, *quick, "--duration", "1h")
        said = await process.stderr.readline()
        while len(at.sandbox.charges) < 3:  # noqa: ASYNC110 - the sandbox has no event for it
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        result = await ended(process)

    assert b"SANDBOX" in said
    assert result.code == 130
    assert report(tmp_path)["stopped_because"] == "interrupted"
    assert "stopped early: interrupted" in result.out
    assert report(tmp_path)["figures"]["metrics"]["calls"] >= 3
