"""The TOML file as it is written, and the environment over it."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pictord.settings.tables import DEFAULT_SPOOL_MIB, STRICT, AlertsTable, CallerTable, Quota
from pictord.settings.values import SettingsError, Usd, flag

DEFAULT_LISTEN = "127.0.0.1:50051"
DEFAULT_ADMIN_LISTEN = "127.0.0.1:9464"
DEFAULT_HTTP_LISTEN = "127.0.0.1:8080"
DEFAULT_DAILY_CAP_USD = "10"
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MOST_DOWNLOAD_URL_S = 7 * 24 * 3600
"""AWS signs for no longer. Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ShareObjectPreSignedURL.html,
read 2026-11-22."""


@dataclass(frozen=True, slots=True)
class ProviderAsWritten:
    """What both `[providers.NAME]` tables hold, as it is written."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
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
class OpenAIAsWritten(ProviderAsWritten):
    """`[providers.openai]`."""

    organization: str | None = None


@dataclass(frozen=True, slots=True)
class GeminiAsWritten(ProviderAsWritten):
    """`[providers.gemini]`."""

    location: str | None = None


@dataclass(frozen=True, slots=True)
class ProvidersAsWritten:
    """`[providers]`."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    openai: OpenAIAsWritten = field(default_factory=OpenAIAsWritten)
    gemini: GeminiAsWritten = field(default_factory=GeminiAsWritten)


@dataclass(frozen=True, slots=True)
class PicturesAsWritten:
    """`[pictures]` as it is written."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    url: str | None = None
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    spool_mib: Annotated[int, Field(ge=1)] = DEFAULT_SPOOL_MIB


@dataclass(frozen=True, slots=True)
class TelemetryAsWritten:
    """`[telemetry]` as it is written."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    otlp_endpoint: str | None = None
    otlp_protocol: str | None = None
    service_name: str | None = None


@dataclass(frozen=True, slots=True)
class DatabaseAsWritten:
    """`[database]`: a URL, which may be a reference, for it may hold a password; or `memory`."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    url: str | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class File:
    """The TOML file as it is written."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    listen: str = DEFAULT_LISTEN
    admin_listen: str = DEFAULT_ADMIN_LISTEN
    http_listen: str = DEFAULT_HTTP_LISTEN
    http_url: str | None = None
    http_origins: tuple[str, ...] = ()
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
    providers: ProvidersAsWritten = field(default_factory=ProvidersAsWritten)
    callers: tuple[CallerTable, ...] = ()
    pictures: PicturesAsWritten = field(default_factory=PicturesAsWritten)
    telemetry: TelemetryAsWritten = field(default_factory=TelemetryAsWritten)
    database: DatabaseAsWritten = field(default_factory=DatabaseAsWritten)
    alerts: AlertsTable = field(default_factory=AlertsTable)


def read(environ: Mapping[str, str]) -> File:
    """The file that `PICTOR_CONFIG` names, if it names one, with the environment over it.

    Raises:
        SettingsError: naming the key or the variable.
    """
    path = environ.get("PICTOR_CONFIG")
    file = _read(Path(path)) if path else File()
    _check_names(environ, file)
    return _over(file, environ)


def _read(path: Path) -> File:
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"PICTOR_CONFIG {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"PICTOR_CONFIG {path}: {error}") from None
    try:
        return TypeAdapter(File).validate_python(tables)
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
    "PICTOR_HTTP_ORIGINS",
    *("PICTOR_DATABASE", "PICTOR_PICTURES", "PICTOR_ALERT_WEBHOOK", "PICTOR_ALERT_SIGNING_KEY"),
}
_OF_CLIENTS = {"PICTOR_ADDRESS", "PICTOR_API_KEY"}
_OF_KUBERNETES = re.compile(r"PICTOR_(\w+_)?(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_\w+)?)")
"""What every pod finds beside a Service that is called pictor, or pictor-something.

Source: kubernetes.io/docs/concepts/containers/container-environment-variables (it matches the syntax of Docker links),
code.visualstudio.com/docs/containers/kubernetes-env-vars, read 2026-11-22.
"""


def _check_names(environ: Mapping[str, str], file: File) -> None:
    """Refuse a variable that looks like ours and is none: a PICTOR_SANDBOX misspelt would spend real money."""
    keys = (file.end_user_key, file.page_token_key, file.providers.openai.key, file.providers.gemini.key)
    allowed = _KNOWN | _OF_CLIENTS | {key.removeprefix("env:") for key in keys if key is not None}
    for name in sorted(environ):
        if name.startswith("PICTOR_") and name not in allowed and not _OF_KUBERNETES.fullmatch(name):
            near = difflib.get_close_matches(name, sorted(_KNOWN), n=2, cutoff=0.8)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(_KNOWN))}"
            raise SettingsError(f"{name}: there is no such variable; {hint}")


def _over(file: File, environ: Mapping[str, str]) -> File:
    changes: dict[str, Any] = {key: environ[name] for name, key in _FROM_ENVIRONMENT.items() if environ.get(name)}
    if "PICTOR_ADMIN_LISTEN" in environ:
        changes["admin_listen"] = environ["PICTOR_ADMIN_LISTEN"]  # empty switches it off
    if environ.get("PICTOR_PICTURES"):
        changes["pictures"] = replace(file.pictures, url=environ["PICTOR_PICTURES"])
    if environ.get("PICTOR_SANDBOX"):
        changes["sandbox"] = flag("PICTOR_SANDBOX", environ["PICTOR_SANDBOX"])
    if environ.get("PICTOR_TUNE_MALLOC"):
        changes["tune_malloc"] = flag("PICTOR_TUNE_MALLOC", environ["PICTOR_TUNE_MALLOC"])
    for name, key in (("PICTOR_REQUIRE_PROVIDERS", "require_providers"), ("PICTOR_HTTP_ORIGINS", "http_origins")):
        if name in environ:
            changes[key] = tuple(each.strip() for each in environ[name].split(",") if each.strip())
    return replace(file, **changes)
