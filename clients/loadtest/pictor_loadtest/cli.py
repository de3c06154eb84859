"""`pictor loadtest`: options and help. What it does is in `command`, which is imported only when it runs."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_EPILOG = (
    "Exit codes: 0 done and everything asserted holds, 2 bad input, 3 an assertion or the baseline does not hold or no "
    "call brought a picture, 4 nobody answers, 6 the money is spent before the end, 7 not a sandbox (or the key is "
    "refused), 130 interrupted."
)


@app.command(epilog=_EPILOG)
def loadtest(
    context: typer.Context,
    *,
    rate: Annotated[str, typer.Option(help="Calls a second, e.g. 20; or a ramp, e.g. 5..50.")] = "5",
    duration: Annotated[str, typer.Option(help="How long calls are due, e.g. 60s or 5m.")] = "60s",
    mix: Annotated[str, typer.Option(help="decision-table, standard, previews, or a TOML file.")] = "decision-table",
    spacing: Annotated[str, typer.Option(help="poisson, like many users; or even, like a clock.")] = "poisson",
    seed: Annotated[int, typer.Option(help="The same seed makes the same calls at the same times.")] = 1,
    max_in_flight: Annotated[
        int, typer.Option(min=1, help="Most calls at once; what that makes wait is in the latencies, and reported.")
    ] = 500,
    connections: Annotated[int, typer.Option(min=1, max=64, help="Connections; calls take turns.")] = 4,
    inline_bytes: Annotated[int, typer.Option(min=0, help="Bytes of finished pictures in answers; 0 means none.")] = 0,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds a call may take; unset means longer than its engines may.")
    ] = None,
    assertion: Annotated[
        list[str] | None, typer.Option("--assert", help="E.g. 'overhead_p99<50ms' or 'pro.errors<1%'; repeatable.")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="report.json of an earlier run of the same load.")] = None,
    tolerance: Annotated[str, typer.Option(help="How much worse than the baseline is still good.")] = "25%",
    spend_real_money: Annotated[
        str | None, typer.Option(metavar="USD", help="Allow real engines, and stop when this is spent at worst.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for report.html and report.json.")] = Path("loadtest-output"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report's JSON instead of the summary.")] = False,
) -> None:
    """Put load on a gateway, open loop, and write a report.

    Calls start when they are due, whatever became of those before them, and latency counts from then. A gateway with
    real engines is refused unless --spend-real-money says how much may be spent.
    """
    from pictor_loadtest import command  # noqa: PLC0415 - gRPC takes longer to import than `--help` may

    asked = command.Asked(
        rate=rate,
        duration=duration,
        mix=mix,
        spacing=spacing,
        seed=seed,
        max_in_flight=max_in_flight,
        connections=connections,
        inline_bytes=inline_bytes,
        timeout=timeout,
        assertions=tuple(assertion or ()),
        baseline=baseline,
        tolerance=tolerance,
        spend_real_money=spend_real_money,
        out=out,
        as_json=as_json,
    )
    connection = context.obj
    raise typer.Exit(command.run(asked, connection.address, connection.metadata))
