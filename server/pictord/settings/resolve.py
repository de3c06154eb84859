"""From each table as it is written to the one that is used: references resolved, values checked."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from pictord.settings.file import (
    DatabaseAsWritten,
    GeminiAsWritten,
    OpenAIAsWritten,
    PicturesAsWritten,
    ProviderAsWritten,
    TelemetryAsWritten,
)
from pictord.settings.tables import AlertsTable, GeminiAccount, OpenAIAccount, PicturesTable, TelemetryTable
from pictord.settings.values import SettingsError, referenced, secret, secret_url, url

OTLP_PROTOCOLS = {"grpc": "grpc", "http": "http", "http/protobuf": "http"}
"""Our words for the standard's names; `http/json` is not offered by the exporters."""
BUCKET_SCHEMES = ("s3", "gs", "az", "abfs", "abfss")
_S3_ALONE = ("endpoint", "region", "access_key_id", "secret_access_key")


def pictures(table: PicturesAsWritten, environ: Mapping[str, str]) -> PicturesTable:
    """Where pictures go, with the keys of an S3 bucket."""
    for_s3 = [name for name in _S3_ALONE if getattr(table, name) is not None]
    scheme = _bucket_scheme(table.url) if table.url else None
    if for_s3 and scheme != "s3":
        raise SettingsError(f"pictures.{for_s3[0]}: is for a pictures.url (PICTOR_PICTURES) that begins with s3://")
    keys = table.access_key_id, table.secret_access_key
    if any(keys) and not all(keys):
        raise SettingsError("pictures: give both access_key_id and secret_access_key, or neither")
    return PicturesTable(
        url=table.url or None,
        endpoint=url("pictures.endpoint", table.endpoint) if table.endpoint else None,
        region=table.region,
        access_key_id=referenced("pictures.access_key_id", keys[0], environ) if keys[0] else None,
        secret_access_key=referenced("pictures.secret_access_key", keys[1], environ) if keys[1] else None,
        spool_mib=table.spool_mib,
    )


def _bucket_scheme(bucket: str) -> str:
    key, parts = "pictures.url (PICTOR_PICTURES)", urlsplit(bucket)
    if parts.password is not None:
        raise SettingsError(f"{key}: holds a password; give the address alone")
    if parts.scheme not in BUCKET_SCHEMES or not parts.hostname:
        begin = ", ".join(f"{scheme}://" for scheme in BUCKET_SCHEMES)
        raise SettingsError(f"{key}: {bucket!r} is not a bucket's address, which begins with one of {begin}")
    return parts.scheme


def openai(table: OpenAIAsWritten, environ: Mapping[str, str]) -> OpenAIAccount | None:
    """OpenAI's account; None without a key."""
    key = _api_key("openai", table, "env:OPENAI_API_KEY", environ)
    if key is None:
        return None
    base_url = _base_url("openai", table, "OPENAI_BASE_URL", environ) or OpenAIAccount("").base_url
    return OpenAIAccount(key, table.account, base_url, table.organization, table.project, table.quota)


def gemini(table: GeminiAsWritten, environ: Mapping[str, str]) -> GeminiAccount | None:
    """Google's account; a key wins over a project, None without either."""
    key = _api_key("gemini", table, "env:GEMINI_API_KEY", environ)
    base_url = _base_url("gemini", table, "GEMINI_BASE_URL", environ)
    if key is not None:
        return GeminiAccount(key, account=table.account, base_url=base_url, quota=table.quota)
    project = table.project or environ.get("GOOGLE_CLOUD_PROJECT") or None
    if project is None:
        return None
    location = table.location or environ.get("GOOGLE_CLOUD_LOCATION") or "global"
    return GeminiAccount(None, project, location, table.account, base_url, table.quota)


def _api_key(provider: str, table: ProviderAsWritten, usual: str, environ: Mapping[str, str]) -> str | None:
    """The key that the file refers to, or the usual variable's; without either the provider is not configured."""
    key = f"providers.{provider}.key"
    return secret(key, usual, environ) if table.key is None else referenced(key, table.key, environ)


def _base_url(provider: str, table: ProviderAsWritten, variable: str, environ: Mapping[str, str]) -> str | None:
    base_url = table.base_url or environ.get(variable)
    return url(f"providers.{provider}.base_url ({variable})", base_url) if base_url else None


def alerts(table: AlertsTable, environ: Mapping[str, str]) -> AlertsTable:
    """Where alerts are posted, and what signs them."""
    key = "alerts.webhook (PICTOR_ALERT_WEBHOOK)"
    webhook = environ.get("PICTOR_ALERT_WEBHOOK") or table.webhook
    signing_key = environ.get("PICTOR_ALERT_SIGNING_KEY") or table.signing_key
    if signing_key and not webhook:
        raise SettingsError(f"alerts.signing_key (PICTOR_ALERT_SIGNING_KEY): signs nothing without {key}")
    return AlertsTable(
        secret_url(key, referenced(key, webhook, environ)) if webhook else None,
        referenced("alerts.signing_key (PICTOR_ALERT_SIGNING_KEY)", signing_key, environ) if signing_key else None,
    )


def database(table: DatabaseAsWritten, environ: Mapping[str, str]) -> str | None:
    """The environment's URL as it is, or the file's, which may be a reference."""
    written = environ.get("PICTOR_DATABASE") or table.url
    if written is None or not written.startswith(("env:", "file:")):
        return written
    return referenced("database.url (PICTOR_DATABASE)", written, environ)


def telemetry(table: TelemetryAsWritten, environ: Mapping[str, str]) -> TelemetryTable:
    """Where spans and metrics go, OpenTelemetry's own variables counting where the file is silent."""
    endpoint = table.otlp_endpoint or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None
    protocol = table.otlp_protocol or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "grpc"
    if protocol not in OTLP_PROTOCOLS:
        key = "telemetry.otlp_protocol (OTEL_EXPORTER_OTLP_PROTOCOL)"
        raise SettingsError(f"{key}: {protocol!r} is none of {', '.join(OTLP_PROTOCOLS)}")
    if endpoint is not None:
        url("telemetry.otlp_endpoint (OTEL_EXPORTER_OTLP_ENDPOINT)", endpoint)
    name = table.service_name or environ.get("OTEL_SERVICE_NAME") or TelemetryTable().service_name
    return TelemetryTable(endpoint, OTLP_PROTOCOLS[protocol], name)
