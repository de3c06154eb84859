"""From the settings to the parts that they describe: the catalog and the table, accounts, adapters, callers, guards."""

from dataclasses import replace

from pictord.assets.objects import BucketSettings, ObjectAssets, in_bucket
from pictord.assets.picture import NotAPicture, inspect
from pictord.auth.callers import Callers, KnownCaller
from pictord.catalog import catalog
from pictord.catalog.catalog import Catalog
from pictord.domain.caller import CallerPolicy, Role
from pictord.domain.request import Tier
from pictord.jobs.planning import Routing
from pictord.providers.base import ImageProvider
from pictord.providers.gemini import GeminiAdapter, GeminiSettings
from pictord.providers.openai import OpenAIAdapter, OpenAISettings
from pictord.providers.verification import verifier
from pictord.resilience.guard import GuardSettings
from pictord.routing import policy
from pictord.settings import (
    CallerTable,
    GeminiAccount,
    OpenAIAccount,
    PicturesTable,
    Quota,
    Settings,
    SettingsError,
    amount,
)

Account = OpenAIAccount | GeminiAccount


def routing(settings: Settings) -> Routing:
    """The decision table and the catalog, with times in step with a sandbox that is faster than life.

    Raises:
        CatalogError: a file is broken.
    """
    models = catalog.load(settings.overlay)
    table = policy.load(models, settings.overlay, edit_provider=settings.edit_provider)
    if not settings.sandbox:
        return Routing(table, models)
    time_scale = max(settings.time_scale, _LEAST_TIME_SCALE)
    return Routing(table.scaled(time_scale), models.scaled(time_scale))


_LEAST_TIME_SCALE = 0.02
"""However fast the sandbox is told to be, drawing a 4K picture takes it real seconds."""


def accounts(settings: Settings) -> dict[str, Account]:
    """The configured accounts by provider; in sandbox mode both are simulated."""
    if settings.sandbox:
        if settings.sandbox_urls is None:
            raise SettingsError("sandbox mode needs the sandbox's addresses")
        return {
            "openai": OpenAIAccount("sandbox", "sandbox", settings.sandbox_urls.openai),
            "gemini": GeminiAccount("sandbox", account="sandbox", base_url=settings.sandbox_urls.gemini),
        }
    accounts = {"openai": settings.openai, "gemini": settings.gemini}
    return {name: account for name, account in accounts.items() if account is not None}


def adapters(accounts: dict[str, Account], *, trust_env: bool) -> dict[str, ImageProvider]:
    """One adapter for each account; `trust_env` lets the environment name an HTTP proxy."""
    verify = verifier(inspect, NotAPicture)
    adapters: dict[str, ImageProvider] = {}
    for name, account in accounts.items():
        if isinstance(account, OpenAIAccount):
            adapters[name] = OpenAIAdapter(_openai_settings(account, trust_env=trust_env), verify=verify)
        else:
            adapters[name] = GeminiAdapter(_gemini_settings(account, trust_env=trust_env), verify=verify)
    return adapters


def callers(settings: Settings, catalog: Catalog) -> Callers:
    """Who may call.

    Raises:
        SettingsError: a caller that makes no sense.
    """
    try:
        return Callers([_known_caller(table, catalog) for table in settings.callers])
    except ValueError as error:
        raise SettingsError(f"callers: {error}") from None


def _known_caller(table: CallerTable, catalog: Catalog) -> KnownCaller:
    unknown = [name for name in table.models or () if name not in catalog.models]
    if unknown:
        raise ValueError(f"caller {table.name!r}: models: no model is called {unknown[0]!r}")
    if table.default_tier not in table.tiers:
        raise ValueError(f"caller {table.name!r}: default_tier: {str(table.default_tier)!r} is none of its tiers")
    key = f"caller {table.name!r}: max_picture_usd"
    caller_policy = CallerPolicy(
        tiers=frozenset(map(Tier, table.tiers)),
        default_tier=Tier(table.default_tier),
        models=None if table.models is None else frozenset(table.models),
        allow_free_high_quality=table.allow_free_high_quality,
        max_picture_nanos=None if table.max_picture_usd is None else amount(key, table.max_picture_usd),
        may_read_others=table.may_read_others,
    )
    return KnownCaller(table.name, table.keys, Role(table.role), caller_policy)


def backend(account: Account) -> str:
    """Which of the provider's APIs serves the account, in the catalog's words."""
    if isinstance(account, OpenAIAccount):
        return "openai"
    return "developer" if account.key is not None else "vertex"


def _openai_settings(account: OpenAIAccount, *, trust_env: bool) -> OpenAISettings:
    return OpenAISettings(account.key, account.base_url, account.organization, account.project, trust_env=trust_env)


def _gemini_settings(account: GeminiAccount, *, trust_env: bool) -> GeminiSettings:
    return GeminiSettings(
        api_key=account.key,
        project=account.vertex_project,
        location=account.vertex_location,
        base_url=account.base_url,
        trust_env=trust_env,
    )


def guard_settings(quota: Quota) -> GuardSettings:
    """The guard of one account; a provider without credentials has one too, because they may come with a reload."""
    limits = GuardSettings(quota.requests_per_minute, quota.images_per_minute)
    return replace(limits, max_concurrency=quota.max_concurrency) if quota.max_concurrency else limits


def bucket(pictures: PicturesTable, url: str) -> ObjectAssets:
    """The bucket that pictures go to.

    Raises:
        SettingsError: an address that no bucket has.
    """
    keys = pictures.access_key_id, pictures.secret_access_key
    try:
        return in_bucket(BucketSettings(url, pictures.endpoint, pictures.region, *keys))
    except ValueError as error:
        raise SettingsError(f"pictures.url (PICTOR_PICTURES): {error}") from None
