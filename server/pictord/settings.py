"""Settings of the whole service: one TOML file, then the environment over it. The only reader of the environment.

Secrets are references, `env:NAME` or `file:/path`, resolved here and hidden from every `repr`. A wrong setting ends the
start with a sentence that names its key, and never its secret.

The environment wins, except where a variable is not ours alone (`OPENAI_BASE_URL`, `GOOGLE_CLOUD_PROJECT`,
`OTEL_EXPORTER_OTLP_ENDPOINT` …): it counts only where the file is silent.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pictord.domain.caller import Role
from pictord.domain.money import parse_usd
from pictord.domain.request import Tier

DEFAULT_LISTEN = "127.0.0.1:50051"
DEFAULT_ADMIN_LISTEN = "127.0.0.1:9464"
DEFAULT_HTTP_LISTEN = "127.0.0.1:8080"
OFF = "off"
MEMORY = "memory"
"""No database: everything but the pictures is gone with the process."""
DATABASE_FILE = "pictor.db"
"""The database below the data directory, where no other is named."""
DEFAULT_DAILY_CAP_USD = "10"
DEFAULT_SPOOL_MIB = 2048
PROVIDERS = ("openai", "gemini")
OTLP_PROTOCOLS = {"grpc": "grpc", "http": "http", "http/protobuf": "http"}
"""Our words for the standard's names; `http/json` is not offered by the exporters."""

_STRICT = ConfigDict(extra="forbid")
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MOST_DOWNLOAD_URL_S = 7 * 24 * 3600
"""AWS signs for no longer. Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ShareObjectPreSignedURL.html,
read 2026-11-22."""
Usd = str | int | float
"""Decimal USD, with or without quotes."""


class SettingsError(ValueError):
    """A setting that cannot be used; the text names its key."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What a provider account allows; None means that nothing is known and only its answers count."""

    images_per_minute: float | None = None
    requests_per_minute: float | None = None
    max_concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class OpenAIAccount:
    """The `[providers.openai]` table; `key` is resolved."""

    key: str = field(repr=False)
    account: str = "default"
    base_url: str = "https://api.openai.com/v1"
    organization: str | None = None
    project: str | None = None
    quota: Quota = field(default_factory=Quota)


@dataclass(frozen=True, slots=True)
class GeminiAccount:
    """The `[providers.gemini]` table: a Developer API key, or a Google Cloud project (Vertex AI) without one."""

    key: str | None = field(repr=False, default=None)
    vertex_project: str | None = None
    vertex_location: str = "global"
    account: str = "default"
    base_url: str | None = None
    quota: Quota = field(default_factory=Quota)


@dataclass(frozen=True, slots=True)
class SandboxUrls:
    """Where the simulated providers answer; `check_header` raises ValueError for a header that they would not know."""

    openai: str
    gemini: str
    check_header: Callable[[str, str], None] | None = None


@dataclass(frozen=True, slots=True)
class CallerTable:
    """One `[[callers]]` table; `keys` are SHA-256 hashes of API keys, hexadecimal, at most two."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: str
    keys: tuple[str, ...]
    role: Role = Role.CALLER
    tiers: tuple[Tier, ...] = tuple(Tier)
    default_tier: Tier = Tier.STANDARD
    models: tuple[str, ...] | None = None
    allow_free_high_quality: bool = False
    max_picture_usd: Usd | None = None
    may_read_others: bool = False


@dataclass(frozen=True, slots=True)
class _ProviderTable:
    """What both `[providers.NAME]` tables hold, as it is written."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    key: str | None = None
    account: str = "default"
    base_url: str | None = None
    project: str | None = None
    images_per_minute: Rate | None = None
    requests_per_minute: Rate | None = None
    max_concurrency: Annotated[int, Field(ge=1)] | None = None

    @property
    def quota(self) -> Quota:
        """The account's limits."""
        return Quota(self.images_per_minute, self.requests_per_minute, self.max_concurrency)


@dataclass(frozen=True, slots=True)
class _OpenAITable(_ProviderTable):
    organization: str | None = None


@dataclass(frozen=True, slots=True)
class _GeminiTable(_ProviderTable):
    location: str | None = None


@dataclass(frozen=True, slots=True)
class _Providers:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    openai: _OpenAITable = field(default_factory=_OpenAITable)
    gemini: _GeminiTable = field(default_factory=_GeminiTable)


@dataclass(frozen=True, slots=True)
class PicturesTable:
    """The `[pictures]` table, keys resolved; without a `url` pictures lie in a folder of the data directory.

    `endpoint`, `region` and the keys are for `s3://` alone; Google's and Azure's own variables name their credentials.
    """

    url: str | None = None
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    spool_mib: int = DEFAULT_SPOOL_MIB
    """What may wait for a place that does not take pictures now; after that no new work is admitted."""


@dataclass(frozen=True, slots=True)
class _Pictures:
    """`[pictures]` as it is written."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    url: str | None = None
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    spool_mib: Annotated[int, Field(ge=1)] = DEFAULT_SPOOL_MIB


@dataclass(frozen=True, slots=True)
class TelemetryTable:
    """`[telemetry]`; without an endpoint only the Prometheus page is served. The protocol is `grpc` or `http`."""

    otlp_endpoint: str | None = None
    otlp_protocol: str = "grpc"
    service_name: str = "pictord"


@dataclass(frozen=True, slots=True)
class _Telemetry:
    """`[telemetry]` as it is written."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    otlp_endpoint: str | None = None
    otlp_protocol: str | None = None
    service_name: str | None = None


@dataclass(frozen=True, slots=True)
class _Database:
    """`[database]`: a URL, which may be a reference, for it may hold a password; or `memory`."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    url: str | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class AlertsTable:
    """`[alerts]`: where alerts are posted, and what signs them; as references in the file, for both are secrets."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    webhook: str | None = field(default=None, repr=False)
    signing_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _File:
    """The TOML file as it is written."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    listen: str = DEFAULT_LISTEN
    admin_listen: str = DEFAULT_ADMIN_LISTEN
    http_listen: str = DEFAULT_HTTP_LISTEN
    http_url: str | None = None
    download_url_s: Annotated[float, Field(gt=0, le=MOST_DOWNLOAD_URL_S)] = 3600.0
    data_dir: str | None = None
    overlay: str | None = None
    sandbox: bool = False
    require_providers: tuple[str, ...] = ()
    edit_provider: str = "gemini"
    daily_cap_usd: Usd = DEFAULT_DAILY_CAP_USD
    end_user_key: str | None = None
    page_token_key: str | None = None
    tune_malloc: bool = True
    lame_duck_s: Seconds = 0.0
    drain_s: Seconds = 630.0
    providers: _Providers = field(default_factory=_Providers)
    callers: tuple[CallerTable, ...] = ()
    pictures: _Pictures = field(default_factory=_Pictures)
    telemetry: _Telemetry = field(default_factory=_Telemetry)
    database: _Database = field(default_factory=_Database)
    alerts: AlertsTable = field(default_factory=AlertsTable)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that `app.build` needs to know. Amounts are nano-USD, times seconds."""

    listen: str = DEFAULT_LISTEN
    admin_listen: str | None = DEFAULT_ADMIN_LISTEN
    http_listen: str | None = DEFAULT_HTTP_LISTEN
    http_url: str | None = None
    """Where others reach `http_listen`; None: at that very address."""
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
    file = _file(environ)
    sandbox = file.sandbox
    settings = Settings(
        listen=_address("listen (PICTOR_LISTEN)", file.listen, may_be_unix=True),
        admin_listen=_address("admin_listen (PICTOR_ADMIN_LISTEN)", file.admin_listen) if file.admin_listen else None,
        http_listen=_http_listen(file.http_listen),
        http_url=_url("http_url (PICTOR_HTTP_URL)", file.http_url).rstrip("/") if file.http_url else None,
        download_url_s=file.download_url_s,
        data_dir=_path(file.data_dir),
        overlay=_path(file.overlay),
        sandbox=sandbox,
        require_providers=file.require_providers,
        edit_provider=file.edit_provider,
        daily_cap_nanos=amount("daily_cap_usd (PICTOR_DAILY_CAP_USD)", file.daily_cap_usd),
        end_user_key=_secret_bytes("end_user_key", file.end_user_key, environ),
        page_token_key=_secret_bytes("page_token_key", file.page_token_key, environ),
        tune_malloc=file.tune_malloc,
        lame_duck_s=file.lame_duck_s,
        drain_s=file.drain_s,
        # Sandbox mode is all or nothing: it wins over real credentials.
        openai=None if sandbox else _openai(file.providers.openai, environ),
        gemini=None if sandbox else _gemini(file.providers.gemini, environ),
        callers=file.callers,
        pictures=_pictures(file.pictures, environ),
        telemetry=_telemetry(file.telemetry, environ),
        database=_database(file.database, environ),
        alerts=_alerts(file.alerts, environ),
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
    file = _file(environ)
    return DataSources(_path(file.overlay), file.edit_provider)


def amount(key: str, usd: Usd) -> int:
    """Read an amount of money, in nano-USD.

    Raises:
        SettingsError: naming the key.
    """
    try:
        nanos = parse_usd(str(usd))
    except ValueError as error:
        raise SettingsError(f"{key}: {error}") from None
    if nanos < 0:
        raise SettingsError(f"{key}: {usd!r} is negative")
    return nanos


# The file


def _file(environ: Mapping[str, str]) -> _File:
    path = environ.get("PICTOR_CONFIG")
    file = _read(Path(path)) if path else _File()
    _check_names(environ, file)
    return _over(file, environ)


def _read(path: Path) -> _File:
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"PICTOR_CONFIG {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"PICTOR_CONFIG {path}: {error}") from None
    try:
        return TypeAdapter(_File).validate_python(tables)
    except ValidationError as error:
        raise SettingsError(f"{path}: {'; '.join(map(_sentence, error.errors(include_input=False)))}") from None


_PLAINLY = {
    "unexpected_keyword_argument": "there is no such key",
    "missing_argument": "is missing",
    "missing": "is missing",
    "dataclass_type": "must be a table",
}
"""pydantic's words for what is wrong, where they speak of Python."""


def _sentence(error: Any) -> str:
    return f"{'.'.join(map(str, error['loc']))}: {_PLAINLY.get(error['type'], error['msg'])}"


# The environment over it

_FROM_ENVIRONMENT = {
    "PICTOR_LISTEN": "listen",
    "PICTOR_HTTP_LISTEN": "http_listen",
    "PICTOR_HTTP_URL": "http_url",
    "PICTOR_DATA_DIR": "data_dir",
    "PICTOR_OVERLAY": "overlay",
    "PICTOR_DAILY_CAP_USD": "daily_cap_usd",
    "IMAGE_EDIT_PROVIDER": "edit_provider",
}

_KNOWN = {
    *_FROM_ENVIRONMENT,
    *("PICTOR_CONFIG", "PICTOR_ADMIN_LISTEN", "PICTOR_SANDBOX", "PICTOR_TUNE_MALLOC", "PICTOR_REQUIRE_PROVIDERS"),
    *("PICTOR_DATABASE", "PICTOR_PICTURES", "PICTOR_ALERT_WEBHOOK", "PICTOR_ALERT_SIGNING_KEY"),
}
_OF_CLIENTS = {"PICTOR_ADDRESS", "PICTOR_API_KEY"}
_OF_KUBERNETES = re.compile(r"PICTOR_(\w+_)?(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_\w+)?)")
"""What every pod finds beside a Service that is called pictor, or pictor-something.

Source: kubernetes.io/docs/concepts/containers/container-environment-variables (it matches the syntax of Docker links),
code.visualstudio.com/docs/containers/kubernetes-env-vars, read 2026-11-22.
"""


def _check_names(environ: Mapping[str, str], file: _File) -> None:
    """Refuse a variable that looks like ours and is none: a PICTOR_SANDBOX misspelt would spend real money."""
    keys = (file.end_user_key, file.page_token_key, file.providers.openai.key, file.providers.gemini.key)
    allowed = _KNOWN | _OF_CLIENTS | {key.removeprefix("env:") for key in keys if key is not None}
    for name in sorted(environ):
        if name.startswith("PICTOR_") and name not in allowed and not _OF_KUBERNETES.fullmatch(name):
            near = difflib.get_close_matches(name, sorted(_KNOWN), n=2, cutoff=0.8)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(_KNOWN))}"
            raise SettingsError(f"{name}: there is no such variable; {hint}")


def _over(file: _File, environ: Mapping[str, str]) -> _File:
    changes: dict[str, Any] = {key: environ[name] for name, key in _FROM_ENVIRONMENT.items() if environ.get(name)}
    if "PICTOR_ADMIN_LISTEN" in environ:
        changes["admin_listen"] = environ["PICTOR_ADMIN_LISTEN"]  # empty switches it off
    if environ.get("PICTOR_PICTURES"):
        changes["pictures"] = replace(file.pictures, url=environ["PICTOR_PICTURES"])
    if environ.get("PICTOR_SANDBOX"):
        changes["sandbox"] = _flag("PICTOR_SANDBOX", environ["PICTOR_SANDBOX"])
    if environ.get("PICTOR_TUNE_MALLOC"):
        changes["tune_malloc"] = _flag("PICTOR_TUNE_MALLOC", environ["PICTOR_TUNE_MALLOC"])
    if "PICTOR_REQUIRE_PROVIDERS" in environ:
        names = environ["PICTOR_REQUIRE_PROVIDERS"].split(",")
        changes["require_providers"] = tuple(name.strip() for name in names if name.strip())
    return replace(file, **changes)


def _flag(name: str, text: str) -> bool:
    flags = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in flags:
        raise SettingsError(f"{name}: {text!r} is neither 1 nor 0")
    return flags[text.lower()]


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _address(key: str, text: str, *, may_be_unix: bool = False) -> str:
    if may_be_unix and text.startswith(("unix:", "unix-abstract:")):
        return text
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"{key}: {text!r} is not host:port")
    return text


def _http_listen(text: str) -> str | None:
    return None if text == OFF else _address("http_listen (PICTOR_HTTP_LISTEN)", text)


def _url(key: str, text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{key}: {text!r} is not an address that begins with http:// or https://")
    if parts.username is not None:
        raise SettingsError(f"{key}: holds a user name or password; give the address alone")
    return text


# Secrets


def _secret(key: str, reference: str, environ: Mapping[str, str]) -> str | None:
    """Resolve `env:NAME` or `file:/path`; None if nothing is there."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        return environ.get(name, "").strip() or None
    if kind == "file":
        try:
            return Path(name).read_text().strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{key}: cannot read {name}: {type(error).__name__}") from None
    raise SettingsError(f"{key}: must be a reference, env:NAME or file:/path, not the secret itself")


def _referenced(key: str, reference: str, environ: Mapping[str, str]) -> str:
    """Resolve a reference that somebody wrote down: it must lead somewhere."""
    secret = _secret(key, reference, environ)
    if secret is None:
        raise SettingsError(f"{key}: {reference} is not set, or empty")
    return secret


def _secret_bytes(key: str, reference: str | None, environ: Mapping[str, str]) -> bytes | None:
    return None if reference is None else _referenced(key, reference, environ).encode()


# Pictures, accounts and telemetry


BUCKET_SCHEMES = ("s3", "gs", "az", "abfs", "abfss")
_S3_ALONE = ("endpoint", "region", "access_key_id", "secret_access_key")


def _pictures(table: _Pictures, environ: Mapping[str, str]) -> PicturesTable:
    for_s3 = [name for name in _S3_ALONE if getattr(table, name) is not None]
    scheme = _bucket_scheme(table.url) if table.url else None
    if for_s3 and scheme != "s3":
        raise SettingsError(f"pictures.{for_s3[0]}: is for a pictures.url (PICTOR_PICTURES) that begins with s3://")
    keys = table.access_key_id, table.secret_access_key
    if any(keys) and not all(keys):
        raise SettingsError("pictures: give both access_key_id and secret_access_key, or neither")
    return PicturesTable(
        url=table.url or None,
        endpoint=_url("pictures.endpoint", table.endpoint) if table.endpoint else None,
        region=table.region,
        access_key_id=_referenced("pictures.access_key_id", keys[0], environ) if keys[0] else None,
        secret_access_key=_referenced("pictures.secret_access_key", keys[1], environ) if keys[1] else None,
        spool_mib=table.spool_mib,
    )


def _bucket_scheme(url: str) -> str:
    key, parts = "pictures.url (PICTOR_PICTURES)", urlsplit(url)
    if parts.password is not None:
        raise SettingsError(f"{key}: holds a password; give the address alone")
    if parts.scheme not in BUCKET_SCHEMES or not parts.hostname:
        begin = ", ".join(f"{scheme}://" for scheme in BUCKET_SCHEMES)
        raise SettingsError(f"{key}: {url!r} is not a bucket's address, which begins with one of {begin}")
    return parts.scheme


def _openai(table: _OpenAITable, environ: Mapping[str, str]) -> OpenAIAccount | None:
    key = _api_key("openai", table, "env:OPENAI_API_KEY", environ)
    if key is None:
        return None
    base_url = _base_url("openai", table, "OPENAI_BASE_URL", environ) or OpenAIAccount("").base_url
    return OpenAIAccount(key, table.account, base_url, table.organization, table.project, table.quota)


def _gemini(table: _GeminiTable, environ: Mapping[str, str]) -> GeminiAccount | None:
    key = _api_key("gemini", table, "env:GEMINI_API_KEY", environ)
    base_url = _base_url("gemini", table, "GEMINI_BASE_URL", environ)
    if key is not None:
        return GeminiAccount(key, account=table.account, base_url=base_url, quota=table.quota)
    project = table.project or environ.get("GOOGLE_CLOUD_PROJECT") or None
    if project is None:
        return None
    location = table.location or environ.get("GOOGLE_CLOUD_LOCATION") or "global"
    return GeminiAccount(None, project, location, table.account, base_url, table.quota)


def _api_key(provider: str, table: _ProviderTable, usual: str, environ: Mapping[str, str]) -> str | None:
    """The key that the file refers to, or the usual variable's; without either the provider is not configured."""
    key = f"providers.{provider}.key"
    return _secret(key, usual, environ) if table.key is None else _referenced(key, table.key, environ)


def _base_url(provider: str, table: _ProviderTable, variable: str, environ: Mapping[str, str]) -> str | None:
    base_url = table.base_url or environ.get(variable)
    return _url(f"providers.{provider}.base_url ({variable})", base_url) if base_url else None


def _alerts(table: AlertsTable, environ: Mapping[str, str]) -> AlertsTable:
    key = "alerts.webhook (PICTOR_ALERT_WEBHOOK)"
    webhook = environ.get("PICTOR_ALERT_WEBHOOK") or table.webhook
    signing_key = environ.get("PICTOR_ALERT_SIGNING_KEY") or table.signing_key
    if signing_key and not webhook:
        raise SettingsError(f"alerts.signing_key (PICTOR_ALERT_SIGNING_KEY): signs nothing without {key}")
    return AlertsTable(
        _secret_url(key, _referenced(key, webhook, environ)) if webhook else None,
        _referenced("alerts.signing_key (PICTOR_ALERT_SIGNING_KEY)", signing_key, environ) if signing_key else None,
    )


def _secret_url(key: str, text: str) -> str:
    """An address that is a secret itself: it is never repeated."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(f"{key}: does not lead to an address that begins with http:// or https://")
    return text


def _database(table: _Database, environ: Mapping[str, str]) -> str | None:
    """The environment's URL as it is, or the file's, which may be a reference."""
    written = environ.get("PICTOR_DATABASE") or table.url
    if written is None or not written.startswith(("env:", "file:")):
        return written
    return _referenced("database.url (PICTOR_DATABASE)", written, environ)


def database_url(environ: Mapping[str, str]) -> tuple[str | None, Path | None]:
    """The database's URL and the data directory, for looking after it: needs no credentials.

    Raises:
        SettingsError: naming the key.
    """
    file = _file(environ)
    return _database(file.database, environ), _path(file.data_dir)


def _telemetry(table: _Telemetry, environ: Mapping[str, str]) -> TelemetryTable:
    endpoint = table.otlp_endpoint or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None
    protocol = table.otlp_protocol or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "grpc"
    if protocol not in OTLP_PROTOCOLS:
        key = "telemetry.otlp_protocol (OTEL_EXPORTER_OTLP_PROTOCOL)"
        raise SettingsError(f"{key}: {protocol!r} is none of {', '.join(OTLP_PROTOCOLS)}")
    if endpoint is not None:
        _url("telemetry.otlp_endpoint (OTEL_EXPORTER_OTLP_ENDPOINT)", endpoint)
    name = table.service_name or environ.get("OTEL_SERVICE_NAME") or TelemetryTable().service_name
    return TelemetryTable(endpoint, OTLP_PROTOCOLS[protocol], name)


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
