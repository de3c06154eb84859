"""The configuration's tables as the service uses them: checked, and with every secret resolved and hidden."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from pictord.domain.caller import Role
from pictord.domain.request import Tier
from pictord.settings.values import Usd

STRICT = ConfigDict(extra="forbid")
DEFAULT_SPOOL_MIB = 2048


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

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
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
class TelemetryTable:
    """`[telemetry]`; without an endpoint only the Prometheus page is served. The protocol is `grpc` or `http`."""

    otlp_endpoint: str | None = None
    otlp_protocol: str = "grpc"
    service_name: str = "pictord"


@dataclass(frozen=True, slots=True)
class AlertsTable:
    """`[alerts]`: where alerts are posted, and what signs them; as references in the file, for both are secrets."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    webhook: str | None = field(default=None, repr=False)
    signing_key: str | None = field(default=None, repr=False)
