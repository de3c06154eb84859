"""`pictord`: serve, simulate the providers, check the configuration, show prices, try other policies, reconcile."""

import asyncio
import gc
import getpass
import hashlib
import logging
import os
import platform
import re
import secrets
import signal
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from pictord import __version__, app, sandbox, settings, simulation
from pictord.auth.callers import BindingRefused, hash_key, new_key
from pictord.catalog import catalog
from pictord.catalog.overlay import CatalogError
from pictord.console import log_lines
from pictord.console.log_lines import LogFormat, LogLevel
from pictord.domain.ids import Ids
from pictord.domain.money import format_usd
from pictord.domain.reconciliation import Invoice, Reconciliation
from pictord.domain.reconciliation import reconcile as compare
from pictord.invoice import export_file, report
from pictord.invoice.export_file import ExportError
from pictord.routing import policy
from pictord.routing.policy import Condition
from pictord.settings import PROVIDERS, DataSources, GeminiAccount, OpenAIAccount, Settings, SettingsError
from pictord.store import reconcile as ledger
from pictord.store import upkeep
from pictord.store.base import ListFilter
from pictord.store.database import Address, DatabaseRefused, address, sqlite_address
from pictord.store.recorded import sent
from pictord.whatif import plot, policies, record, table, table_file, workload
from pictord.whatif.failure import ReplayError
from pictord.whatif.record import Recorded
from pictord.whatif.replay import replay

cli = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
config_cli = typer.Typer(no_args_is_help=True, help="Check the configuration.")
policy_cli = typer.Typer(no_args_is_help=True, help="Check the decision table.")
cli.add_typer(config_cli, name="config")
cli.add_typer(policy_cli, name="policy")
db_cli = typer.Typer(no_args_is_help=True, help="Look after the database.")
cli.add_typer(db_cli, name="db")

logger = logging.getLogger("pictord")

DEFAULT_TIME_SCALE = 0.1
"""`serve --sandbox` is ten times as fast as the real engines, so that trying it out is no test of patience."""

SandboxFlag = Annotated[bool, typer.Option("--sandbox", help="Simulated engines: no key is used, no money is spent.")]
TimeScale = Annotated[float, typer.Option(min=0.0, help="Factor on every simulated wait; 1 is as slow as real life.")]
Overlay = Annotated[Path | None, typer.Option(help="The folder to read instead of PICTOR_OVERLAY.")]


def main() -> None:
    """Run the command line; what is wrong with the configuration is one sentence and exit code 2."""
    try:
        cli()
    except (SettingsError, CatalogError, BindingRefused, ReplayError, ExportError, DatabaseRefused, OSError) as error:
        typer.echo(f"pictord: {error}", err=True)
        raise SystemExit(2) from None


def _show_version(asked: bool) -> None:  # noqa: FBT001 - typer's callbacks are called so
    if asked:
        typer.echo(f"pictord {__version__}")
        raise typer.Exit


@cli.callback()
def pictord(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Serve one gRPC contract in front of paid image engines; check its configuration."""


@cli.command()
def serve(
    *,
    sandbox: SandboxFlag = False,
    time_scale: TimeScale = DEFAULT_TIME_SCALE,
    listen: Annotated[str | None, typer.Option(help="host:port instead of PICTOR_LISTEN.")] = None,
    log_level: Annotated[LogLevel, typer.Option(help="Of the gateway's own lines.")] = LogLevel.INFO,
    log_format: Annotated[LogFormat, typer.Option(help="json adds the trace id.")] = LogFormat.TEXT,
) -> None:
    """Serve the gateway until SIGTERM or SIGINT; SIGHUP re-reads policy, catalog, overlay and secrets."""
    log_lines.configure(log_level, log_format)

    def read() -> Settings:
        return _settings(sandbox=sandbox, listen=listen)

    uvloop.run(_serve(read, time_scale))


@cli.command("sandbox")
def serve_sandbox(
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 50060,
    seed: Annotated[int, typer.Option(help="Latencies and random faults are drawn from it.")] = 0,
    time_scale: TimeScale = 1.0,
    overlay: Overlay = None,
    *,
    fast: Annotated[bool, typer.Option("--fast", help="Pre-made bodies, for benchmarks only.")] = False,
) -> None:
    """Serve both providers' HTTP APIs, simulated, in the foreground."""
    models = simulation.models(_sources(overlay).overlay)
    sandbox.serve_forever(
        sandbox.SandboxSettings(host=host, port=port, seed=seed, time_scale=time_scale, models=models, fast=fast)
    )


@cli.command()
def prices(overlay: Overlay = None) -> None:
    """Show the price table, with where each price was read."""
    loaded = catalog.load(_sources(overlay).overlay)
    for model in loaded.models.values():
        for valid_from, price in model.prices.items():
            typer.echo(f"{model.id}  from {valid_from}  per 1M tokens  ({price.source}, read {price.date})")
            for kind in ("text_in", "image_in", "text_out", "image_out"):
                typer.echo(f"  {kind:10} {format_usd(getattr(price, kind))}")


@cli.command()
def simulate(
    other: Annotated[
        list[str] | None,
        typer.Option("--policy", help="A policy.toml or a name; may be repeated; both that ship if not given."),
    ] = None,
    requests: Annotated[Path | None, typer.Option(help="Recorded requests, JSON lines; else those that ship.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write policies x rows x models there.")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Draw cost and times there, .png or .svg.")] = None,
    overlay: Overlay = None,
    *,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="What the configured database remembers, also while it serves.")
    ] = False,
    since: Annotated[str | None, typer.Option(help="Recorded at or after: a day, a time, or e.g. 7d ago.")] = None,
    until: Annotated[str | None, typer.Option(help="Recorded before: the same.")] = None,
    caller: Annotated[str | None, typer.Option(help="Recorded of this caller alone.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the requests there, without what anybody typed.")] = None,
) -> None:
    """Replay recorded requests through other policies, and price them; nothing is sent."""
    if plot_file is not None:
        plot.check(plot_file)
    asked = _asked_of_database(since, until, caller) if recorded else None
    if recorded and requests is not None:
        raise ReplayError("--recorded or --requests: take one")
    if not recorded and (since, until, caller) != (None, None, None):
        raise ReplayError("--since, --until and --caller need --recorded")
    sources = _sources(overlay)
    models = catalog.load(sources.overlay)
    compared = {"in force": policy.load(models, sources.overlay, edit_provider=sources.edit_provider)}
    for name in other or policies.built_in():
        compared[name] = policies.load(name, models, edit_provider=sources.edit_provider)
    records = _records(requests, asked)
    if save is not None:
        records = record.saved(records, save)
    report = replay(records, compared, models, backends=_EVERY_BACKEND, today=datetime.now(UTC).date())
    typer.echo(table.text(report))
    if csv is not None:
        table_file.write(report, csv)
    if plot_file is not None:
        plot.draw(report, {model.id: model.title for model in models.models.values()}, plot_file)


def _records(file: Path | None, asked: ListFilter | None) -> Iterable[Recorded]:
    if asked is not None:
        return (record.of_generation(each.generation, each.sizes) for each in sent(_database(), asked))
    return workload.deal(workload.shipped()) if file is None else record.read_file(file)


def _asked_of_database(since: str | None, until: str | None, caller: str | None) -> ListFilter:
    times = [None if text is None else _moment(text) for text in (since, until)]
    return ListFilter(caller=caller, since=times[0], until=times[1], limit=_READ_AT_A_TIME)


_READ_AT_A_TIME = 500
_AGO = re.compile(r"(\d+)([hd])")


def _moment(text: str) -> datetime:
    """A day or a time, in UTC unless it says otherwise, or a span such as `7d` or `12h`: that long ago."""
    ago = _AGO.fullmatch(text)
    if ago:
        return datetime.now(UTC) - timedelta(**{"hours" if ago[2] == "h" else "days": int(ago[1])})
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise ReplayError(
            f"`{text}` is neither a time such as 2026-11-22T15:00Z nor a span such as 7d or 12h"
        ) from None
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)


_EVERY_BACKEND = {"openai": "default", "gemini": "developer"}
"""A policy is judged with both engines there, whatever keys this machine has."""


@cli.command()
def reconcile(
    file: Annotated[Path, typer.Argument(help="The provider's cost export by day, CSV or JSON.")],
    *,
    provider: Annotated[str, typer.Option(help=f"Whose: {' or '.join(PROVIDERS)}.")],
    tolerance: Annotated[str, typer.Option(help="Percent by which a day's model may be off.")] = "1",
    not_ours: Annotated[list[str] | None, typer.Option(help="A word of what is billed for others' work.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Settle what is unknown; else it is only shown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="For programs; a line for each day and model.")] = False,
) -> None:
    """Put the ledger against the provider's invoice, and settle what is unknown by it; exit 1 if they disagree."""
    if provider not in PROVIDERS:
        raise SettingsError(f"--provider: {provider!r} is none of {', '.join(PROVIDERS)}")
    percent, where = _percent(tolerance), _database()
    invoice, trail = _read_invoice(file, provider, not_ours or [])
    days = sorted(invoice.days)
    with upkeep.transaction(where, read_only=not apply) as connection:

        def compared(booked: ledger.Ledger) -> Reconciliation:
            return compare(invoice, booked, trail.time, percent)

        found = (
            ledger.apply(connection, trail, days, compared)
            if apply
            else compared(ledger.booked(connection, provider, days))
        )
    if as_json:
        typer.echo(report.as_json(found, invoice, applied=apply))
    else:
        typer.echo(report.as_csv(found) if as_csv else report.as_text(found, invoice, applied=apply))
    if not found.agrees:
        raise typer.Exit(1)


def _percent(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(-1)
    if not value.is_finite() or value < 0:
        raise SettingsError(f"--tolerance: {text!r} is no percentage, such as 1 or 0.5")
    return value


def _read_invoice(file: Path, provider: str, not_ours: list[str]) -> tuple[Invoice, ledger.Trail]:
    models = catalog.load(_sources(None).overlay).models.values()
    names, foreign = (
        {name.lower(): model.id for model in models if (model.provider == provider) is ours for name in model.names}
        for ours in (True, False)
    )
    content, now = file.read_bytes(), datetime.now(UTC)
    try:
        invoice = export_file.read(content.decode(), names, foreign=foreign, not_ours=not_ours)
    except UnicodeDecodeError as error:
        raise ExportError(f"{file}: byte {error.start} is no UTF-8") from None
    except ExportError as error:
        raise ExportError(f"{file}: {error}") from None
    new_id = Ids(lambda: int(now.timestamp() * 1000), secrets.randbits)
    digest = hashlib.sha256(content).hexdigest()
    return invoice, ledger.Trail(new_id("rec"), provider, now, _who(), file.name, digest)


def _who() -> str:
    """The user at the keyboard; a container may have no name for it."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"user {os.getuid()}"
    return f"{name} on {platform.node()}"


@cli.command("new-key")
def make_key() -> None:
    """Make an API key for a caller: give the key to the caller and the hash to the configuration."""
    key = new_key()
    typer.echo(f"key   {key}")
    typer.echo(f"hash  {hash_key(key)}")


@config_cli.command("check")
def check_config(*, sandbox: SandboxFlag = False) -> None:
    """Read file, environment, overlay and policy as `serve` would, and say what it would do."""
    loaded = _settings(sandbox=sandbox, listen=None)
    routing = app.check(loaded)
    versions = {"policy": routing.policy.version, "catalog": routing.catalog.version}
    for name, value in (_summary(loaded) | versions).items():
        typer.echo(f"{name:13} {value}")


@policy_cli.command("check")
def check_policy(overlay: Overlay = None) -> None:
    """Read the decision table with the overlay over it, and show its rows."""
    sources = _sources(overlay)
    loaded = policy.load(catalog.load(sources.overlay), sources.overlay, edit_provider=sources.edit_provider)
    typer.echo(f"policy {loaded.version}")
    for number, row in enumerate(loaded.rows, start=1):
        falls_back = "" if row.allow_fallback else "; falls back only if the call allows it"
        first = "the named model, else " if row.lead == "named" else ""
        typer.echo(f"{number}  {row.name:14} {first}{', '.join(row.candidates)}{falls_back}")
        typer.echo(f"   {'':14} when {' or '.join(map(_condition, row.when))}")


def _condition(condition: Condition) -> str:
    """A condition as the table writes it; all its parts must hold."""
    parts = [(key.name, getattr(condition, key.name)) for key in fields(condition)]
    said = [
        f"{name} is {' | '.join(sorted(value)) if isinstance(value, frozenset) else str(value).lower()}"
        for name, value in parts
        if value is not None
    ]
    return " and ".join(said) or "nothing above matched"


@db_cli.command("upgrade")
def upgrade_db() -> None:
    """Make the tables, or bring them to what this pictord needs; `serve` does it by itself for an SQLite file."""
    where = _database()
    typer.echo(f"{where} is at revision {upkeep.upgrade(where)}")


@db_cli.command("check")
def check_db() -> None:
    """Look whether the tables are current, the file is whole, and the ledger agrees with itself; exit 1 if not."""
    where = _database()
    checked = upkeep.check(where, datetime.now(UTC))
    for problem in checked.problems:
        typer.echo(f"{where}: {problem}", err=True)
    if checked.problems:
        raise typer.Exit(1)
    typer.echo(f"{where} is sound, at revision {checked.revision}")


@db_cli.command("backup")
def back_up_db(file: Annotated[Path, typer.Argument(help="A new file.")]) -> None:
    """Copy an SQLite database, whole and consistent, also while it serves; for PostgreSQL name the command."""
    where = _database()
    if not where.is_sqlite:
        typer.echo(upkeep.pg_dump(where, file))
        raise typer.Exit(2)
    upkeep.backup(where, file)
    typer.echo(f"{where} is in {file}")


def _database() -> Address:
    url, data_dir = settings.database_url(os.environ)
    if url == settings.MEMORY or (url is None and data_dir is None):
        raise SettingsError("database.url (PICTOR_DATABASE), or data_dir (PICTOR_DATA_DIR): names no database to keep")
    return address(url) if url else sqlite_address((data_dir or Path()) / settings.DATABASE_FILE)


def _settings(*, sandbox: bool, listen: str | None) -> Settings:
    environ = dict(os.environ)
    if sandbox:
        environ["PICTOR_SANDBOX"] = "1"
    if listen is not None:
        environ["PICTOR_LISTEN"] = listen
    return settings.load(environ)


def _sources(overlay: Path | None) -> DataSources:
    sources = settings.data_sources(os.environ)
    return sources if overlay is None else replace(sources, overlay=overlay)


def _summary(loaded: Settings) -> dict[str, str]:
    """What `serve` would do, in words; no secret is among them."""
    otlp = loaded.telemetry.otlp_endpoint
    return {
        "listen": loaded.listen,
        "admin": loaded.admin_listen or "off",
        "http": " as ".join(filter(None, (loaded.http_listen or "off", loaded.http_url))),
        "openai": "simulated" if loaded.sandbox else _account(loaded.openai),
        "gemini": "simulated" if loaded.sandbox else _account(loaded.gemini),
        "edits go to": loaded.edit_provider,
        "callers": ", ".join(f"{c.name} ({c.role})" for c in loaded.callers) or "local (no keys configured)",
        "daily cap": "none (sandbox)" if loaded.sandbox else format_usd(loaded.daily_cap_nanos, 2),
        "data": str(loaded.data_dir or "a temporary folder"),
        "database": _database_words(loaded),
        "pictures": loaded.pictures.url or "a folder in there",
        "overlay": str(loaded.overlay or "none"),
        "telemetry": f"/metrics, and {otlp} by {loaded.telemetry.otlp_protocol}" if otlp else "/metrics",
    }


def _database_words(loaded: Settings) -> str:
    if loaded.database == settings.MEMORY:
        return "none: everything but pictures is gone with the process"
    return str(address(loaded.database)) if loaded.database else f"SQLite, {settings.DATABASE_FILE} in the data folder"


def _account(account: OpenAIAccount | GeminiAccount | None) -> str:
    if account is None:
        return "not configured"
    where = account.base_url or "Google"
    if isinstance(account, GeminiAccount):
        api = f"Vertex AI, {account.vertex_project} in {account.vertex_location}"
        where = f"{where} (Developer API)" if account.key else f"{where} ({api})"
    rate = account.quota.images_per_minute
    return f"{where}, account {account.account}" + (f", {rate:g} images a minute" if rate else "")


async def _serve(read: Callable[[], Settings], time_scale: float) -> None:
    async with AsyncExitStack() as stack:
        ready, engines = read(), None
        if ready.sandbox:
            ready, engines = await stack.enter_async_context(simulation.simulated(ready, time_scale))
        running = await stack.enter_async_context(app.build(ready))
        spare_collector()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, _reload, running, read, engines)
        _announce(running)  # last: whoever reads it may send a signal at once
        await stop.wait()
        logger.info("stopping: waiting for %d generations", running.jobs.running_count)


def spare_collector() -> None:
    """Take what the start has made out of the garbage collector's sight, and let it look less often.

    A full collection walks 170,000 objects of modules and classes that never die; no call moves for the 0.15 s that
    this takes, every 400 calls (measured 2026-11-22). For a process that serves and does nothing else.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 10, 10)


def _reload(running: app.App, read: Callable[[], Settings], engines: sandbox.Sandbox | None) -> None:
    try:
        running.reload(read())
        if engines is not None:
            engines.more_models = simulation.models(running.settings.overlay)
    except (SettingsError, CatalogError) as error:
        logger.error("not reloaded, everything stays as it was: %s", error)  # noqa: TRY400 - the sentence is enough


def _announce(running: app.App) -> None:
    urls = running.settings.sandbox_urls
    if urls is not None:
        typer.echo(_BANNER, err=True)
        typer.echo(f"pictord: simulated at OPENAI_BASE_URL={urls.openai} GEMINI_BASE_URL={urls.gemini}", err=True)
        if running.settings.data_dir is None:
            typer.echo(_FORGETFUL_SANDBOX, err=True)
    else:
        cap = format_usd(running.settings.daily_cap_nanos, 2)
        typer.echo(f"pictord: REAL providers, real money; daily cap {cap} (PICTOR_DAILY_CAP_USD)", err=True)
        if running.settings.data_dir is None:
            typer.echo(_FORGETFUL, err=True)
    admin, http = running.admin_address or "nothing", running.http_address
    console = f"console on http://{http}/" if http else "no console"
    typer.echo(f"pictord: gRPC on {running.address}, admin on {admin}, {console}", err=True)


_FORGETFUL = """\
pictord: NO PICTOR_DATA_DIR: pictures that the picture store did not take, and an SQLite ledger with its cap, are gone \
with this process"""

_FORGETFUL_SANDBOX = "pictord: no PICTOR_DATA_DIR: history, pictures and request ids are gone with this process"

_BANNER = """\
****************************************************************
*  SANDBOX: both engines are simulated. No key, no real money. *
****************************************************************"""

if __name__ == "__main__":
    main()
