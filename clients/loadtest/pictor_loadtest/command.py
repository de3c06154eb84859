"""What `pictor loadtest` does with what it was told: read it, run, write the report, leave with an exit code."""

import asyncio
import json
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # or a failed handshake is told twice, once in gRPC's words

from pictor.amounts import money
from pictor.channel import Target
from pictor.cli import failures
from pictor.errors import PictorError
from pictor_loadtest import baseline, mix, page, summary
from pictor_loadtest.arrivals import Rate, Spacing
from pictor_loadtest.gateway import Gateway, Metadata
from pictor_loadtest.metrics import Assertion
from pictor_loadtest.preflight import NotSandbox, Refused
from pictor_loadtest.record import nanos
from pictor_loadtest.run import INTERRUPTED, REAL, SPENT, Run, Wanted
from pictor_loadtest.schedule import Load

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line, unread."""

    rate: str
    duration: str
    mix: str
    spacing: str
    seed: int
    max_in_flight: int
    connections: int
    inline_bytes: int
    timeout: float | None
    assertions: tuple[str, ...]
    baseline: Path | None
    tolerance: str
    spend_real_money: str | None
    out: Path
    as_json: bool


def run(asked: Asked, address: str | None, metadata: Metadata) -> int:
    """Do it all and answer the exit code; what goes wrong is one sentence on stderr."""
    try:
        where = Target.parse(address).address
        wanted = read(asked)
        asked.out.mkdir(parents=True, exist_ok=True)  # a report that cannot be written is a load for nothing
        report = asyncio.run(_run(wanted, address, metadata))
    except Refused as refusal:
        return _fail(str(refusal), failures.DENIED if isinstance(refusal, NotSandbox) else failures.FAILED)
    except PictorError as error:
        return _fail(failures.sentence(error, where), failures.exit_code(error))
    except (ValueError, OSError) as error:
        return _fail(str(error), failures.BAD_INPUT)
    except KeyboardInterrupt:
        return _fail("interrupted", failures.INTERRUPTED)
    typer.echo(json.dumps(report) if asked.as_json else summary.text(report))
    try:
        write(report, asked.out)
    except OSError as error:
        return _fail(f"the report is not saved: {error}", failures.FAILED)
    typer.echo(f"report: {asked.out / 'report.html'}", err=True)
    return exit_code(report)


def read(asked: Asked) -> Wanted:
    """Make sense of the command line; everything is found here, before anything is sent.

    Raises:
        ValueError: Something makes no sense.
        OSError: A file cannot be read.
    """
    if asked.spacing not in list(Spacing):
        raise ValueError(f"--spacing is {' or '.join(Spacing)}, not `{asked.spacing}`")
    if asked.timeout is not None and not 0 < asked.timeout <= _LONGEST_S:
        raise ValueError("--timeout is more than nothing and at most a day of seconds")
    found = mix.load(asked.mix)
    shapes = [shape.name for shape in found.shapes]
    return Wanted(
        load=Load(
            mix=found,
            rate=Rate.parse(asked.rate),
            duration_s=_duration(asked.duration),
            spacing=Spacing(asked.spacing),
            seed=asked.seed,
            max_in_flight=asked.max_in_flight,
        ),
        connections=asked.connections,
        max_inline_bytes=asked.inline_bytes,
        timeout_s=asked.timeout,
        spend_nanos=None if asked.spend_real_money is None else _usd(asked.spend_real_money),
        assertions=tuple(Assertion.parse(text, shapes) for text in asked.assertions),
        baseline=None if asked.baseline is None else baseline.read(asked.baseline),
        tolerance=baseline.tolerance(asked.tolerance),
    )


def exit_code(report: Mapping[str, Any]) -> int:
    """The class of what became of a run."""
    stopped = report["stopped_because"]
    if stopped in (INTERRUPTED, SPENT, REAL):
        return {INTERRUPTED: failures.INTERRUPTED, SPENT: failures.LIMIT, REAL: failures.DENIED}[stopped]
    broken = any(not each["holds"] for each in report["assertions"])
    worse = report["baseline"] is not None and any(each["worse"] for each in report["baseline"]["compared"])
    nothing = report["figures"]["metrics"].get("errors", 1.0) == 1.0
    return failures.FAILED if broken or worse or nothing else failures.OK


def write(report: Mapping[str, Any], folder: Path) -> None:
    """Write both files.

    Raises:
        OSError: They cannot be written.
    """
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    (folder / "report.html").write_text(page.render(report), "utf-8")


async def _run(wanted: Wanted, address: str | None, metadata: Metadata) -> dict[str, Any]:
    gateway = Gateway(address, metadata, connections=wanted.connections, max_inline_bytes=wanted.max_inline_bytes)
    try:
        run = Run(wanted, gateway)
        schedule = await run.check()
        typer.echo(summary.beginning(run, len(schedule)), err=True)
        await run.drive(schedule, summary.Progress(sys.stderr))
        return run.report()
    finally:
        await gateway.close()


def _duration(text: str) -> float:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)\s*", text, re.ASCII)
    span = float(found[1]) * _SECONDS[found[2]] if found else math.nan
    if not 0 < span <= _LONGEST_S:
        raise ValueError(f"a duration is such as 60s or 5m, a day at most; this is `{text}`")
    return span


def _usd(text: str) -> int:
    amount = nanos(money(text))
    if amount <= 0:
        raise ValueError("--spend-real-money is more than nothing")
    return amount


def _fail(text: str, code: int) -> int:
    typer.echo(f"pictor loadtest: {text}", err=True)
    return code
