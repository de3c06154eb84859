"""Settings of the whole service: one TOML file, then the environment over it. The only reader of the environment.

Secrets are references, `env:NAME` or `file:/path`, resolved here and hidden from every `repr`. A wrong setting ends the
start with a sentence that names its key.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from pictord.domain.money import parse_usd

DEFAULT_LISTEN = "127.0.0.1:50051"
DEFAULT_ADMIN_LISTEN = "127.0.0.1:9464"
DEFAULT_DAILY_CAP_USD = "10"
PROVIDERS = ("openai", "gemini")

_STRICT = ConfigDict(extra="forbid")


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
    """Where the simulated providers answer."""

    openai: str
    gemini: str


@dataclass(frozen=True, slots=True)
class CallerTable:
    """One `[[callers]]` table; `keys` are SHA-256 hashes of API keys, hexadecimal, at most two."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: str
    keys: tuple[str, ...]
    role: str = "caller"
    tiers: tuple[str, ...] = ("free", "standard", "pro")
    default_tier: str = "standard"
    models: tuple[str, ...] | None = None
    allow_free_high_quality: bool = False
    max_picture_usd: str | None = None
    may_read_others: bool = False


@dataclass(frozen=True, slots=True)
class ProviderTable:
    """`[providers.NAME]` as it is written."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    key: str | None = None
    account: str = "default"
    base_url: str | None = None
    organization: str | None = None
    project: str | None = None
    location: str | None = None
    images_per_minute: float | None = None
    requests_per_minute: float | None = None
    max_concurrency: int | None = None

    @property
    def quota(self) -> Quota:
        """The account's limits."""
        return Quota(self.images_per_minute, self.requests_per_minute, self.max_concurrency)


@dataclass(frozen=True, slots=True)
class TelemetryTable:
    """`[telemetry]`; without an endpoint only the Prometheus page is served."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    otlp_endpoint: str | None = None
    otlp_protocol: str = "grpc"
    service_name: str = "pictord"


@dataclass(frozen=True, slots=True)
class _File:
    """The TOML file as it is written."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    listen: str = DEFAULT_LISTEN
    admin_listen: str = DEFAULT_ADMIN_LISTEN
    data_dir: str | None = None
    overlay: str | None = None
    sandbox: bool = False
    require_providers: tuple[str, ...] = ()
    edit_provider: str = "gemini"
    daily_cap_usd: str = DEFAULT_DAILY_CAP_USD
    end_user_key: str | None = None
    page_token_key: str | None = None
    tune_malloc: bool = True
    lame_duck_s: float = 0.0
    drain_s: float = 330.0
    providers: Mapping[str, ProviderTable] = field(default_factory=dict)
    callers: tuple[CallerTable, ...] = ()
    telemetry: TelemetryTable = field(default_factory=TelemetryTable)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that `app.build` needs to know. Amounts are nano-USD, times seconds."""

    listen: str = DEFAULT_LISTEN
    admin_listen: str | None = DEFAULT_ADMIN_LISTEN
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
    drain_s: float = 330.0
    openai: OpenAIAccount | None = None
    gemini: GeminiAccount | None = None
    callers: tuple[CallerTable, ...] = ()
    telemetry: TelemetryTable = field(default_factory=TelemetryTable)


def load(environ: Mapping[str, str]) -> Settings:
    """Read the file that `PICTOR_CONFIG` names, and the environment over it.

    Raises:
        SettingsError: naming the key, and never a secret.
    """
    path = environ.get("PICTOR_CONFIG")
    file = _over(_read(Path(path)) if path else _File(), environ)
    sandbox = file.sandbox
    settings = Settings(
        listen=file.listen,
        admin_listen=file.admin_listen or None,
        data_dir=Path(file.data_dir) if file.data_dir else None,
        overlay=Path(file.overlay) if file.overlay else None,
        sandbox=sandbox,
        require_providers=file.require_providers,
        edit_provider=file.edit_provider,
        daily_cap_nanos=_cap(file.daily_cap_usd),
        end_user_key=_secret_bytes("end_user_key", file.end_user_key, environ),
        page_token_key=_secret_bytes("page_token_key", file.page_token_key, environ),
        tune_malloc=file.tune_malloc,
        lame_duck_s=file.lame_duck_s,
        drain_s=file.drain_s,
        # Sandbox mode is all or nothing: it wins over real credentials.
        openai=None if sandbox else _openai(file.providers.get("openai", ProviderTable()), environ),
        gemini=None if sandbox else _gemini(file.providers.get("gemini", ProviderTable()), environ),
        callers=file.callers,
        telemetry=file.telemetry,
    )
    _check(settings)
    return settings


def _read(path: Path) -> _File:
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"PICTOR_CONFIG {path}: {error}") from None
    return _validated(tables, str(path))


def _validated(tables: dict[str, Any], where: str) -> _File:
    try:
        return TypeAdapter(_File).validate_python(tables)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise SettingsError(f"{where}: {wrong}") from None


_FROM_ENVIRONMENT = {
    "PICTOR_LISTEN": "listen",
    "PICTOR_ADMIN_LISTEN": "admin_listen",
    "PICTOR_DATA_DIR": "data_dir",
    "PICTOR_OVERLAY": "overlay",
    "PICTOR_DAILY_CAP_USD": "daily_cap_usd",
    "IMAGE_EDIT_PROVIDER": "edit_provider",
}


def _over(file: _File, environ: Mapping[str, str]) -> _File:
    changes: dict[str, Any] = {key: environ[name] for name, key in _FROM_ENVIRONMENT.items() if name in environ}
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


def _cap(text: str) -> int:
    try:
        nanos = parse_usd(text)
    except ValueError as error:
        raise SettingsError(f"PICTOR_DAILY_CAP_USD: {error}") from None
    if nanos < 0:
        raise SettingsError(f"PICTOR_DAILY_CAP_USD: {text!r} is negative")
    return nanos


def _secret(key: str, reference: str | None, environ: Mapping[str, str]) -> str | None:
    """Resolve `env:NAME` or `file:/path`; an unset variable or no reference is None."""
    if reference is None:
        return None
    kind, _, name = reference.partition(":")
    if kind == "env":
        return environ.get(name) or None
    if kind == "file":
        try:
            return Path(name).read_text().strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{key}: cannot read {name}: {type(error).__name__}") from None
    raise SettingsError(f"{key}: must be a reference, env:NAME or file:/path, not the secret itself")


def _secret_bytes(key: str, reference: str | None, environ: Mapping[str, str]) -> bytes | None:
    secret = _secret(key, reference, environ)
    return secret.encode() if secret else None


def _openai(table: ProviderTable, environ: Mapping[str, str]) -> OpenAIAccount | None:
    key = _secret("providers.openai.key", table.key or "env:OPENAI_API_KEY", environ)
    if key is None:
        return None
    account = OpenAIAccount(
        key, table.account, organization=table.organization, project=table.project, quota=table.quota
    )
    base_url = table.base_url or environ.get("OPENAI_BASE_URL")
    return replace(account, base_url=base_url) if base_url else account


def _gemini(table: ProviderTable, environ: Mapping[str, str]) -> GeminiAccount | None:
    key = _secret("providers.gemini.key", table.key or "env:GEMINI_API_KEY", environ)
    base_url = table.base_url or environ.get("GEMINI_BASE_URL") or None
    if key is not None:
        return GeminiAccount(key, account=table.account, base_url=base_url, quota=table.quota)
    project = table.project or environ.get("GOOGLE_CLOUD_PROJECT") or None
    if project is None:
        return None
    location = table.location or environ.get("GOOGLE_CLOUD_LOCATION") or "global"
    return GeminiAccount(None, project, location, table.account, base_url, table.quota)


def _check(settings: Settings) -> None:
    if settings.edit_provider not in PROVIDERS:
        raise SettingsError(f"IMAGE_EDIT_PROVIDER: {settings.edit_provider!r} is none of {', '.join(PROVIDERS)}")
    for name in settings.require_providers:
        if name not in PROVIDERS:
            raise SettingsError(f"PICTOR_REQUIRE_PROVIDERS: {name!r} is none of {', '.join(PROVIDERS)}")
    if settings.sandbox:
        return
    configured = {"openai": settings.openai, "gemini": settings.gemini}
    missing = [name for name in settings.require_providers if configured[name] is None]
    if missing:
        raise SettingsError(f"PICTOR_REQUIRE_PROVIDERS: no credentials for {', '.join(missing)}; {_CREDENTIALS}")
    if not any(configured.values()):
        raise SettingsError(f"no provider has credentials: {_CREDENTIALS}, or run with --sandbox")


_CREDENTIALS = "set OPENAI_API_KEY, and GEMINI_API_KEY or GOOGLE_CLOUD_PROJECT"
