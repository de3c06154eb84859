"""The composition root: everything is made here, opened in order and closed in reverse.

`build(settings)` is an async context manager that `pictord serve`, the demo and the tests all use.
"""

import asyncio
import logging
import random
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.trace.export import SpanExporter
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from pictord import __version__, configured
from pictord.assets.links import DownloadLinks, LinkSigner
from pictord.assets.picture import PictureLimits
from pictord.assets.store import AssetStore
from pictord.auth.callers import check_binding
from pictord.console.admin import AdminSite
from pictord.console.http import HttpListener
from pictord.console.images import image_site
from pictord.console.page import Ground
from pictord.console.pages import PAGES
from pictord.console.session import Sessions
from pictord.console.site import console_site, with_images
from pictord.console.templates import environment
from pictord.data_folder import check_data_folder, data_folder, kept_key
from pictord.domain.ids import Ids
from pictord.errors import GatewayError
from pictord.jobs.alerts import AlertPorts, Alerts
from pictord.jobs.budget_gauge import watch_budgets
from pictord.jobs.budgets import Budgets, daily_cap
from pictord.jobs.crash_points import CrashPoint
from pictord.jobs.history import History
from pictord.jobs.jobs import Jobs, JobsSettings
from pictord.jobs.observer import JobObserver
from pictord.jobs.pictures import Pictures
from pictord.jobs.planning import Planner, Routing
from pictord.jobs.ports import JobPorts
from pictord.jobs.served import ProviderFacts, Served
from pictord.jobs.webhook import Webhook, WebhookSettings
from pictord.kept import Kept, opened
from pictord.observability import Observability, observed
from pictord.providers.base import ImageProvider
from pictord.providers.bytes.malloc import tune_malloc
from pictord.resilience.gauges import watch_guards
from pictord.resilience.guard import Guards
from pictord.rpc.http_door import HttpDoor
from pictord.rpc.server import RpcServer
from pictord.settings import (
    MEMORY,
    PROVIDERS,
    Quota,
    Settings,
    SettingsError,
)
from pictord.store.database import address
from pictord.store.replicas import BEAT_S

logger = logging.getLogger(__name__)

INPUT_LIMITS = PictureLimits(max_bytes=20 * 1024 * 1024, max_pixels=16 * 1024 * 1024, max_side_px=8192)
"""What is taken from callers (design, section 12)."""

TIDY_S = 10.0
"""Between two looks for what is kept no longer, if nobody calls."""


def free_share(folder: Path) -> float:
    """How much of the file system that holds a folder is free for us, 0 to 1."""
    usage = shutil.disk_usage(folder)
    return usage.free / usage.total


_utc_now = partial(datetime.now, UTC)


@dataclass(frozen=True, slots=True)
class Outside:
    """The world as the app sees it; tests bring their own."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Between two tries to store what has happened, to move what waits for the picture store, and to tell an alert."""
    sweep_pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Between two sweeps for the work of replicas that died."""
    tidy_pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Between two looks for what is kept no longer."""
    reached: Callable[[CrashPoint], None] = lambda _: None
    free_share: Callable[[Path], float] = free_share
    now: Callable[[], datetime] = _utc_now
    random: Callable[[], float] = random.random
    span_exporter: SpanExporter | None = None
    """Gets every span at once, beside the configured exporters."""
    metric_reader: MetricReader | None = None


class App:
    """The running service."""

    def __init__(
        self,
        settings: Settings,
        server: RpcServer,
        http: HttpListener | None,
        admin: AdminSite | None,
        parts: "_Parts",
    ) -> None:
        self.settings = settings
        self.jobs = parts.jobs
        self.store = parts.store
        self.guards = parts.guards
        self.budgets = parts.budgets
        self.alerts = parts.alerts
        self._server = server
        self._http = http
        self._admin = admin
        self._parts = parts

    @property
    def address(self) -> str:
        """Where the RPCs are served, `host:port`."""
        return self._server.address

    @property
    def http_address(self) -> str | None:
        """Where the console and pictures are served over HTTP, `host:port`."""
        return self._http.address if self._http else None

    @property
    def admin_address(self) -> str | None:
        """Where /metrics and /healthz are served, `host:port`."""
        return self._admin.address if self._admin else None

    def reload(self, fresh: Settings) -> None:
        """Take policy, catalog, overlay and secrets anew, all together or not at all; the rest needs a restart.

        Calls in flight end on the adapters they began with.

        Raises:
            CatalogError, SettingsError: a file is broken; everything stays as it was.
        """
        if fresh.sandbox != self.settings.sandbox:
            raise SettingsError("sandbox (PICTOR_SANDBOX): cannot change while serving; restart")
        taken = {name: getattr(fresh, name) for name in _RELOADED}
        settings = replace(self.settings, **taken)
        routing, accounts = configured.routing(settings), configured.accounts(settings)
        self._parts.replace_providers(accounts, configured.adapters(accounts, trust_env=not settings.sandbox))
        self._parts.routing = routing
        self.settings = settings
        for name in accounts:
            self.guards.secrets_reloaded(name)
        logger.info("reloaded: policy %s, catalog %s", routing.policy.version, routing.catalog.version)
        in_vain = [*_changed(settings, fresh), *self._parts.changed_quotas()]
        if in_vain:
            logger.warning("changed, but needs a restart: %s", ", ".join(in_vain))

    async def drain(self) -> None:
        """Stop taking work and wait for what runs: NOT_SERVING, refuse, finish jobs, mark the rest, deliver."""
        await self._server.enter_lame_duck(self.settings.lame_duck_s)
        clock = asyncio.get_running_loop().time
        ends_at = clock() + self.settings.drain_s
        await self.jobs.drain(self.settings.drain_s)
        await self._server.delivered(ends_at - clock())


_RELOADED = ("overlay", "edit_provider", "openai", "gemini")
"""The settings that a reload takes; of the accounts all but the quotas."""

_NOT_FROM_FILES = ("sandbox_urls", "time_scale", "require_providers")
"""Settings that no reload could find changed, or that only matter at the start."""


def _changed(old: Settings, new: Settings) -> list[str]:
    names = (field.name for field in fields(Settings) if field.name not in _NOT_FROM_FILES)
    return [name for name in names if getattr(old, name) != getattr(new, name)]


def check(settings: Settings) -> Routing:
    """Look at everything that `build` would refuse, without opening anything; the decision table and the catalog.

    Raises:
        SettingsError, CatalogError, BindingRefused: what is wrong with the configuration.
    """
    routing = configured.routing(settings)
    callers = configured.callers(settings, routing.catalog)
    for listen in (settings.listen, settings.http_listen):
        if listen is not None:
            check_binding(listen, has_keys=callers.has_keys, sandbox=settings.sandbox)
    check_data_folder(settings.data_dir)
    if settings.pictures.url is not None:
        configured.bucket(settings.pictures, settings.pictures.url)
    return routing


@asynccontextmanager
async def build(settings: Settings, outside: Outside | None = None) -> AsyncIterator[App]:
    """Open the service: it serves when this yields, and is drained and closed when the block is left.

    Raises:
        SettingsError, CatalogError, BindingRefused: what is wrong with the configuration; nothing is left open.
    """
    outside = outside or Outside()
    routing = check(settings)
    callers = configured.callers(settings, routing.catalog)
    if settings.tune_malloc:
        tune_malloc()
    async with AsyncExitStack() as stack:
        registry = CollectorRegistry()
        observability = await stack.enter_async_context(
            observed(
                settings.telemetry,
                registry if settings.admin_listen is not None else None,
                span_exporter=outside.span_exporter,
                metric_reader=outside.metric_reader,
            )
        )
        data = stack.enter_context(data_folder(settings.data_dir))
        kept = await stack.enter_async_context(
            opened(
                settings,
                data,
                now=outside.now,
                clock=outside.clock,
                sleep=outside.sleep,
                free_share=lambda: outside.free_share(data),
            )
        )
        end_user_key = settings.end_user_key or kept_key(data / "end-user.key")
        parts = _Parts(settings, routing, outside, observability, kept, end_user_key=end_user_key)
        stack.push_async_callback(parts.close)
        await parts.start()
        signing_key = settings.page_token_key or secrets.token_bytes(32)
        signer = LinkSigner(signing_key, outside.now)
        served = Served(
            parts.jobs,
            parts.pictures,
            parts.guards,
            lambda: parts.routing,
            parts.facts,
            outside.now,
            parts.new_id,
            parts.budgets,
        )
        sessions = Sessions(callers, signing_key, outside.now, is_https=(settings.http_url or "").startswith("https:"))
        ground = Ground(
            served,
            History(parts.jobs, parts.store, outside.now),
            sessions,
            signer,
            environment(),
            settings.sandbox,
        )
        site = with_images(console_site(ground, PAGES), image_site(parts.pictures, signer))
        door = HttpDoor(site, settings.http_origins)
        http = await _http(settings, door)
        if http is not None:
            stack.push_async_callback(http.stop)
        server = RpcServer(
            settings.listen,
            served,
            callers,
            page_token_key=signing_key,
            tracer=observability.tracer_provider.get_tracer("pictord.rpc", __version__),
            meter=observability.meter_provider.get_meter("pictord.rpc", __version__),
            sandbox=settings.sandbox,
            link=_links(settings, http, signer, kept.assets, outside).link,
        )
        door.rpcs = server.over_http()
        await _start(server, settings.listen)
        stack.push_async_callback(server.stop)
        admin = await _admin(settings, registry, server)
        if admin is not None:
            stack.push_async_callback(admin.stop)
        app = App(settings, server, http, admin, parts)
        stack.push_async_callback(app.drain)
        yield app


class _Parts:
    """The objects of the service, wired."""

    def __init__(
        self,
        settings: Settings,
        routing: Routing,
        outside: Outside,
        observability: Observability,
        kept: Kept,
        *,
        end_user_key: bytes,
    ) -> None:
        self.routing = routing
        self.providers: dict[str, ImageProvider] = {}
        self.backends: dict[str, str] = {}
        self._accounts = configured.accounts(settings)
        self._quotas = {name: account.quota for name, account in self._accounts.items()}
        self._retiring: set[asyncio.Task[None]] = set()
        self._put_in_force(configured.adapters(self._accounts, trust_env=not settings.sandbox))
        tracer = observability.tracer_provider.get_tracer("pictord.jobs", __version__)
        meter = observability.meter_provider.get_meter("pictord.jobs", __version__)
        observer = JobObserver(tracer, meter, self.backends, outside.now)
        self.guards = Guards(
            {name: configured.guard_settings(self._quotas.get(name, Quota())) for name in PROVIDERS},
            clock=outside.clock,
            random=outside.random,
            on_breaker=lambda change: logger.warning("breaker: %s", change),
            on_alert=lambda alert: observer.alarm(alert.kind.value, alert.provider, alert.text, alert.model),
        )
        watch_guards(meter, self.guards, self.backends)
        self.store = kept.store
        # Ids are no secrets; asking the kernel for each would hand the interpreter to another thread every time.
        random_bits = random.Random(secrets.randbits(256)).getrandbits
        self.new_id = Ids(lambda: int(outside.now().timestamp() * 1000), random_bits)
        ports = JobPorts(
            store=self.store,
            assets=kept.assets,
            guards=self.guards,
            providers=self.providers,
            backends=self.backends,
            observer=observer,
            clock=outside.clock,
            now=outside.now,
            new_id=self.new_id,
            arrivals=kept.arrivals,
            sleep=outside.sleep,
            reached=outside.reached,
        )
        jobs_settings = JobsSettings(
            end_user_key=end_user_key,
            check_header=settings.sandbox_urls.check_header if settings.sandbox_urls else None,
        )
        default_cap = None if settings.sandbox else daily_cap(settings.daily_cap_nanos)
        self.budgets = Budgets(
            self.store.books,
            outside.now,
            default_cap,
            on_counted=lambda budget: self.alerts.budget_set(budget),  # noqa: PLW0108 - alerts are made after budgets
        )
        planner = Planner(
            self.guards,
            self.backends,
            loaded=lambda: self.routing,
            now=outside.now,
            no_room=kept.assets.no_room,
        )
        self.jobs = Jobs(
            ports,
            jobs_settings,
            planner,
            self.budgets,
            on_refused=lambda refusal: self.alerts.refused(refusal),  # noqa: PLW0108 - alerts are made after jobs
        )
        self.alerts = Alerts(
            AlertPorts(
                store=self.store,
                budgets=self.budgets,
                announce=observer.announce,
                end_user=self.jobs.end_user_hash,
                is_priced=lambda model, day: min(self.routing.catalog.models[model].prices) <= day,
                now=outside.now,
                new_id=self.new_id,
                sleep=asyncio.sleep,
                webhook=_webhook(settings, outside),
                is_alone=_is_alone(settings),
            )
        )
        observer.listener = self.alerts
        watch_budgets(meter, self.alerts.used)
        self._kept = kept
        self._sweep_pause = outside.sweep_pause
        self._tidy_pause = outside.tidy_pause
        self._sweeping = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self.pictures = Pictures(
            self.store, kept.assets, INPUT_LIMITS, kept.assets.no_room, kept.thumbnails.of, ports.waiting
        )

    def replace_providers(self, accounts: dict[str, configured.Account], adapters: dict[str, ImageProvider]) -> None:
        """Send new calls through new adapters; the old ones are closed when the jobs of today have ended."""
        retired = tuple(self.providers.values())
        self._accounts = accounts
        self._put_in_force(adapters)
        task = asyncio.create_task(self._close_when_idle(retired))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _put_in_force(self, adapters: dict[str, ImageProvider]) -> None:
        self.providers.clear()
        self.providers.update(adapters)
        self.backends.clear()
        self.backends.update({name: configured.backend(account) for name, account in self._accounts.items()})

    def changed_quotas(self) -> list[str]:
        """The accounts whose guards hold other limits than the configuration says by now."""
        accounts = self._accounts.items()
        return [f"providers.{name} quota" for name, each in accounts if each.quota != self._quotas.get(name, Quota())]

    async def _close_when_idle(self, retired: tuple[ImageProvider, ...]) -> None:
        await self.jobs.running_ended()
        for provider in retired:
            await provider.close()

    def facts(self) -> dict[str, ProviderFacts]:
        """The configured providers, for CatalogService."""
        return {
            name: ProviderFacts(
                account.account,
                account.base_url or "",
                self.backends[name],
                self._quotas.get(name, Quota()).images_per_minute,
            )
            for name, account in self._accounts.items()
        }

    async def start(self) -> None:
        """Take up what the process before left in the store, and watch over money."""
        await self.budgets.load()
        await self.alerts.start()
        self._tasks.append(asyncio.create_task(self.budgets.keep_fresh(asyncio.sleep)))
        self._tasks.append(asyncio.create_task(self._keep_sweeping()))
        self._tasks.append(asyncio.create_task(self._keep_tidying()))

    async def _keep_sweeping(self) -> None:
        """Look for what died, for ever."""
        while True:
            await self._sweep_pause(BEAT_S)
            async with self._sweeping:
                try:
                    await self._kept.sweep(self.alerts.look_at_all)
                    await self.alerts.sweep()
                except (GatewayError, OSError) as error:
                    logger.warning("sweep: %s; tried again in %.0f s", error, BEAT_S)

    async def _keep_tidying(self) -> None:
        """Let go what is kept no longer, for ever; beside the sweep, for no slow bucket may hold up the heart."""
        while True:
            await self._tidy_pause(TIDY_S)
            try:
                await self._kept.tidy()
            except OSError as error:
                logger.warning("tidying: %s; tried again in %.0f s", error, TIDY_S)

    async def close(self) -> None:
        """Stop looking after the store and close the adapters; no job runs any more."""
        async with self._sweeping:  # a sweep that has begun ends
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.alerts.close()
        await asyncio.gather(*self._retiring)
        for provider in self.providers.values():
            await provider.close()


def _is_alone(settings: Settings) -> bool:
    """Whether no other process can work on the same database."""
    return settings.database in {None, MEMORY} or address(settings.database or "").is_sqlite


def _webhook(settings: Settings, outside: Outside) -> Webhook | None:
    if settings.alerts.webhook is None:
        return None
    key = settings.alerts.signing_key
    preface = "SANDBOX: " if settings.sandbox else ""
    wanted = WebhookSettings(settings.alerts.webhook, key.encode() if key else None, preface=preface)
    return Webhook(wanted, now=outside.now, sleep=outside.sleep)


async def _start(server: RpcServer, listen: str) -> None:
    try:
        await server.start()
    except RuntimeError as error:
        raise SettingsError(f"listen (PICTOR_LISTEN): cannot bind {listen}; is something else there?") from error


async def _http(settings: Settings, site: ASGIApp) -> HttpListener | None:
    if settings.http_listen is None:
        return None
    listener = HttpListener(settings.http_listen, site)
    try:
        await listener.start()
    except OSError as error:
        where = f"http_listen (PICTOR_HTTP_LISTEN): cannot bind {settings.http_listen}"
        raise SettingsError(f"{where}: {str(error.strerror or error).partition(' (')[0]}") from error
    return listener


def _links(
    settings: Settings, http: HttpListener | None, signer: LinkSigner, assets: AssetStore, outside: Outside
) -> DownloadLinks:
    own = f"http://{http.address}" if http else None
    lifetime = timedelta(seconds=settings.download_url_s)
    return DownloadLinks(assets.sign, signer, settings.http_url or own, lifetime, outside.now)


async def _admin(settings: Settings, registry: CollectorRegistry, server: RpcServer) -> AdminSite | None:
    if settings.admin_listen is None:
        return None
    admin = AdminSite(settings.admin_listen, registry, lambda: server.is_serving)
    try:
        await admin.start()
    except OSError as error:
        where = f"admin_listen (PICTOR_ADMIN_LISTEN): cannot bind {settings.admin_listen}"
        raise SettingsError(f"{where}: {error.strerror or error}") from error
    return admin
