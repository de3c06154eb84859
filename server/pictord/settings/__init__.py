"""Settings of the whole service: one TOML file, then the environment over it. The only reader of the environment.

Secrets are references, `env:NAME` or `file:/path`, resolved here and hidden from every `repr`. A wrong setting ends the
start with a sentence that names its key, and never its secret.

The environment wins, except where a variable is not ours alone (`OPENAI_BASE_URL`, `GOOGLE_CLOUD_PROJECT`,
`OTEL_EXPORTER_OTLP_ENDPOINT` …): it counts only where the file is silent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pictord.domain.money import parse_usd
from pictord.settings import resolve
from pictord.settings.file import DEFAULT_ADMIN_LISTEN, DEFAULT_DAILY_CAP_USD, DEFAULT_HTTP_LISTEN, DEFAULT_LISTEN, read
from pictord.settings.tables import (
    AlertsTable,
    CallerTable,
    GeminiAccount,
    OpenAIAccount,
    PicturesTable,
    Quota,
    SandboxUrls,
    TelemetryTable,
)
from pictord.settings.values import SettingsError, address, amount, origin, path, secret_bytes, url

__all__ = [
    "AlertsTable",
    "CallerTable",
    "GeminiAccount",
    "OpenAIAccount",
    "PicturesTable",
    "Quota",
    "SandboxUrls",
    "Settings",
    "SettingsError",
    "TelemetryTable",
    "amount",
    "data_sources",
    "database_url",
    "load",
]

OFF = "off"
MEMORY = "memory"
"""No database: everything but the pictures is gone with the process."""
DATABASE_FILE = "pictor.db"
"""The database below the data directory, where no other is named."""
PROVIDERS = ("openai", "gemini")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that `app.build` needs to know. Amounts are nano-USD, times seconds."""

    listen: str = DEFAULT_LISTEN
    admin_listen: str | None = DEFAULT_ADMIN_LISTEN
    http_listen: str | None = DEFAULT_HTTP_LISTEN
    http_url: str | None = None
    """Where others reach `http_listen`; None: at that very address."""
    http_origins: tuple[str, ...] = ()
    """Pages of these origins may call the RPCs from a browser."""
    download_url_s: float = 3600.0
    data_dir: Path | None = None
    overlay: Path | None = None
    sandbox: bool = False
    sandbox_urls: SandboxUrls | None = None
    time_scale: float = 1.0
    """Factor on the catalog's times in sandbox mode, the same as the sandbox's own."""
    require_providers: tuple[str, ...] = ()
    edit_provider: str = "gemini"
    daily_cap_nanos: int = parse_usd(DEFAULT_DAILY_CAP_USD)
    end_user_key: bytes | None = field(default=None, repr=False)
    page_token_key: bytes | None = field(default=None, repr=False)
    tune_malloc: bool = True
    lame_duck_s: float = 0.0
    drain_s: float = 630.0
    openai: OpenAIAccount | None = None
    gemini: GeminiAccount | None = None
    callers: tuple[CallerTable, ...] = ()
    pictures: PicturesTable = field(default_factory=PicturesTable)
    telemetry: TelemetryTable = field(default_factory=TelemetryTable)
    database: str | None = field(repr=False, default=None)
    """URL of the database, or `memory`; None: a file in the data directory."""
    alerts: AlertsTable = field(default_factory=AlertsTable)
    """Resolved."""


def load(environ: Mapping[str, str]) -> Settings:
    """Read the file that `PICTOR_CONFIG` names, and the environment over it.

    Raises:
        SettingsError: naming the key, and never a secret.
    """
    file = read(environ)
    sandbox = file.sandbox
    settings = Settings(
        listen=address("listen (PICTOR_LISTEN)", file.listen, may_be_unix=True),
        admin_listen=address("admin_listen (PICTOR_ADMIN_LISTEN)", file.admin_listen) if file.admin_listen else None,
        http_listen=_http_listen(file.http_listen),
        http_url=url("http_url (PICTOR_HTTP_URL)", file.http_url).rstrip("/") if file.http_url else None,
        http_origins=tuple(origin("http_origins (PICTOR_HTTP_ORIGINS)", each) for each in file.http_origins),
        download_url_s=file.download_url_s,
        data_dir=path(file.data_dir),
        overlay=path(file.overlay),
        sandbox=sandbox,
        require_providers=file.require_providers,
        edit_provider=file.edit_provider,
        daily_cap_nanos=amount("daily_cap_usd (PICTOR_DAILY_CAP_USD)", file.daily_cap_usd),
        end_user_key=secret_bytes("end_user_key", file.end_user_key, environ),
        page_token_key=secret_bytes("page_token_key", file.page_token_key, environ),
        tune_malloc=file.tune_malloc,
        lame_duck_s=file.lame_duck_s,
        drain_s=file.drain_s,
        # Sandbox mode is all or nothing: it wins over real credentials.
        openai=None if sandbox else resolve.openai(file.providers.openai, environ),
        gemini=None if sandbox else resolve.gemini(file.providers.gemini, environ),
        callers=file.callers,
        pictures=resolve.pictures(file.pictures, environ),
        telemetry=resolve.telemetry(file.telemetry, environ),
        database=resolve.database(file.database, environ),
        alerts=resolve.alerts(file.alerts, environ),
    )
    _check(settings)
    return settings


@dataclass(frozen=True, slots=True)
class DataSources:
    """What the decision table and the price table are read with."""

    overlay: Path | None
    edit_provider: str


def data_sources(environ: Mapping[str, str]) -> DataSources:
    """Like `load`, for looking at the data alone: needs no credentials.

    Raises:
        SettingsError: naming the key.
    """
    file = read(environ)
    return DataSources(path(file.overlay), file.edit_provider)


def database_url(environ: Mapping[str, str]) -> tuple[str | None, Path | None]:
    """The database's URL and the data directory, for looking after it: needs no credentials.

    Raises:
        SettingsError: naming the key.
    """
    file = read(environ)
    return resolve.database(file.database, environ), path(file.data_dir)


def _http_listen(text: str) -> str | None:
    return None if text == OFF else address("http_listen (PICTOR_HTTP_LISTEN)", text)


def _check(settings: Settings) -> None:
    host = (settings.http_listen or "").rpartition(":")[0]
    if host in _EVERYWHERE and settings.http_url is None:
        key = "http_url (PICTOR_HTTP_URL)"
        raise SettingsError(f"{key}: needed with http_listen {settings.http_listen}: nobody can fetch from {host}")
    _check_provider("edit_provider (IMAGE_EDIT_PROVIDER)", settings.edit_provider)
    for name in settings.require_providers:
        _check_provider("require_providers (PICTOR_REQUIRE_PROVIDERS)", name)
    if settings.sandbox:
        return
    configured = {"openai": settings.openai, "gemini": settings.gemini}
    missing = [name for name in settings.require_providers if configured[name] is None]
    if missing:
        key = "require_providers (PICTOR_REQUIRE_PROVIDERS)"
        wanted = ", and ".join(_CREDENTIALS[name] for name in missing)
        raise SettingsError(f"{key}: no credentials for {', '.join(missing)}; set {wanted}")
    if not any(configured.values()):
        either = " or ".join(_CREDENTIALS.values())
        raise SettingsError(f"no provider has credentials: set {either}, or run with --sandbox")


_EVERYWHERE = ("0.0.0.0", "[::]")  # noqa: S104 - compared with, not bound to


def _check_provider(key: str, name: str) -> None:
    if name not in PROVIDERS:
        raise SettingsError(f"{key}: {name!r} is none of {', '.join(PROVIDERS)}")


_CREDENTIALS = {"openai": "OPENAI_API_KEY", "gemini": "GEMINI_API_KEY or GOOGLE_CLOUD_PROJECT"}
"""What each provider's credentials are, as people set them."""
