"""Every key and every variable, what each wrong value is told, and that no secret is ever shown."""

from pathlib import Path

import pytest

from pictord import settings
from pictord.domain.caller import Role
from pictord.domain.request import Tier
from pictord.settings import (
    AlertsTable,
    CallerTable,
    GeminiAccount,
    OpenAIAccount,
    PicturesTable,
    Quota,
    SettingsError,
    TelemetryTable,
    resolve,
)
from pictord.settings.file import GeminiAsWritten

SECRET = "sk-canary-5a17"
KEYS = {"OPENAI_API_KEY": SECRET, "GEMINI_API_KEY": "AIza-canary-5a17"}


@pytest.fixture
def load(tmp_path):
    """Load settings from a file's text, and from variables beside two keys."""

    def load_settings(toml: str = "", **environ: str) -> settings.Settings:
        path = tmp_path / "pictor.toml"
        path.write_text(toml)
        return settings.load({"PICTOR_CONFIG": str(path), **KEYS, **environ})

    return load_settings


@pytest.fixture
def refused(load):
    """What is said of settings that cannot be used."""

    def sentence(toml: str = "", **environ: str) -> str:
        with pytest.raises(SettingsError) as refusal:
            load(toml, **environ)
        return str(refusal.value)

    return sentence


def test_without_a_file_the_defaults_are_local_and_capped():
    """`OPENAI_API_KEY=… pictord serve` listens on loopback and spends ten dollars a day at most."""
    loaded = settings.load({"OPENAI_API_KEY": SECRET})

    assert (loaded.listen, loaded.admin_listen) == ("127.0.0.1:50051", "127.0.0.1:9464")
    assert loaded.daily_cap_nanos == 10_000_000_000
    assert (loaded.edit_provider, loaded.sandbox, loaded.callers) == ("gemini", False, ())
    assert loaded.telemetry == TelemetryTable(None, "grpc", "pictord")


@pytest.mark.parametrize(
    ("toml", "name", "expected"),
    [
        ('listen = "0.0.0.0:1"', "listen", "0.0.0.0:1"),
        ('listen = "[::1]:1"', "listen", "[::1]:1"),
        ('listen = "unix:/run/pictor"', "listen", "unix:/run/pictor"),
        ('admin_listen = "127.0.0.1:2"', "admin_listen", "127.0.0.1:2"),
        ('admin_listen = ""', "admin_listen", None),
        ('http_listen = "127.0.0.1:3"', "http_listen", "127.0.0.1:3"),
        ('http_listen = "off"', "http_listen", None),
        ('http_url = "https://p.example/x/"', "http_url", "https://p.example/x"),
        ("download_url_s = 60", "download_url_s", 60.0),
        ('data_dir = "/d"', "data_dir", Path("/d")),
        ('overlay = "/o"', "overlay", Path("/o")),
        ("sandbox = true", "sandbox", True),
        ('require_providers = ["openai"]', "require_providers", ("openai",)),
        ('edit_provider = "openai"', "edit_provider", "openai"),
        ('daily_cap_usd = "2.50"', "daily_cap_nanos", 2_500_000_000),
        ("daily_cap_usd = 25", "daily_cap_nanos", 25_000_000_000),
        ("daily_cap_usd = 0.1", "daily_cap_nanos", 100_000_000),
        ('end_user_key = "env:PEPPER"', "end_user_key", b"salt"),
        ('page_token_key = "env:PEPPER"', "page_token_key", b"salt"),
        ("tune_malloc = false", "tune_malloc", False),
        ("lame_duck_s = 2", "lame_duck_s", 2.0),
        ("drain_s = 60", "drain_s", 60.0),
        (
            '[telemetry]\notlp_endpoint = "http://c:4317"\notlp_protocol = "http"\nservice_name = "p"',
            "telemetry",
            TelemetryTable("http://c:4317", "http", "p"),
        ),
        (
            """
            [pictures]
            url = "s3://b/p"
            endpoint = "http://s3:9000"
            region = "eu"
            access_key_id = "env:PEPPER"
            secret_access_key = "env:PEPPER"
            spool_mib = 5
            """,
            "pictures",
            PicturesTable("s3://b/p", "http://s3:9000", "eu", "salt", "salt", 5),
        ),
        (
            """
            [providers.openai]
            account = "a"
            base_url = "http://b/v1"
            organization = "o"
            project = "p"
            images_per_minute = 5
            requests_per_minute = 6
            max_concurrency = 7
            """,
            "openai",
            OpenAIAccount(SECRET, "a", "http://b/v1", "o", "p", Quota(5, 6, 7)),
        ),
        (
            '[providers.gemini]\nkey = "env:PEPPER"\naccount = "a"\nbase_url = "https://b"\nimages_per_minute = 5',
            "gemini",
            GeminiAccount("salt", account="a", base_url="https://b", quota=Quota(5)),
        ),
        (
            '[[callers]]\nname = "web"\nkeys = ["ab"]',
            "callers",
            (CallerTable("web", ("ab",)),),
        ),
        (
            """
            [[callers]]
            name = "web"
            keys = ["ab"]
            role = "operator"
            tiers = ["free"]
            default_tier = "free"
            models = ["m"]
            allow_free_high_quality = true
            max_picture_usd = "0.3"
            may_read_others = true
            """,
            "callers",
            (
                CallerTable(
                    "web",
                    ("ab",),
                    Role.OPERATOR,
                    (Tier.FREE,),
                    Tier.FREE,
                    ("m",),
                    allow_free_high_quality=True,
                    max_picture_usd="0.3",
                    may_read_others=True,
                ),
            ),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_key_of_the_file_is_read(load, toml, name, expected):
    """What is written in PICTOR_CONFIG is what the service gets."""
    assert getattr(load(toml, PEPPER="salt"), name) == expected


@pytest.mark.parametrize(
    ("variable", "text", "name", "expected"),
    [
        ("PICTOR_LISTEN", "127.0.0.1:1", "listen", "127.0.0.1:1"),
        ("PICTOR_ADMIN_LISTEN", "127.0.0.1:2", "admin_listen", "127.0.0.1:2"),
        ("PICTOR_ADMIN_LISTEN", "", "admin_listen", None),
        ("PICTOR_HTTP_LISTEN", "127.0.0.1:3", "http_listen", "127.0.0.1:3"),
        ("PICTOR_HTTP_LISTEN", "off", "http_listen", None),
        ("PICTOR_HTTP_URL", "https://p.example", "http_url", "https://p.example"),
        ("PICTOR_DATA_DIR", "/d", "data_dir", Path("/d")),
        ("PICTOR_OVERLAY", "/o", "overlay", Path("/o")),
        ("PICTOR_SANDBOX", "1", "sandbox", True),
        ("PICTOR_SANDBOX", "no", "sandbox", False),
        ("PICTOR_TUNE_MALLOC", "0", "tune_malloc", False),
        ("PICTOR_DAILY_CAP_USD", "0", "daily_cap_nanos", 0),
        ("PICTOR_REQUIRE_PROVIDERS", "openai, gemini", "require_providers", ("openai", "gemini")),
        ("PICTOR_REQUIRE_PROVIDERS", "", "require_providers", ()),
        ("IMAGE_EDIT_PROVIDER", "openai", "edit_provider", "openai"),
        ("PICTOR_PICTURES", "gs://b/p", "pictures", PicturesTable("gs://b/p")),
    ],
)
def test_our_variables_win_over_the_file(load, variable, text, name, expected):
    """Whoever starts the process has the last word."""
    file = """
        listen = "127.0.0.1:9"
        admin_listen = "127.0.0.1:9"
        http_listen = "127.0.0.1:9"
        http_url = "http://file"
        data_dir = "/file"
        overlay = "/file"
        sandbox = false
        tune_malloc = true
        daily_cap_usd = "9"
        require_providers = ["gemini"]
        edit_provider = "gemini"
        pictures.url = "s3://file"
    """
    assert getattr(load(file, **{variable: text}), name) == expected


@pytest.mark.parametrize("name", ["PICTOR_LISTEN", "PICTOR_OVERLAY", "PICTOR_DAILY_CAP_USD", "IMAGE_EDIT_PROVIDER"])
def test_an_empty_variable_is_no_variable(load, name):
    """Compose files pass `NAME=` for what is not set."""
    assert load(**{name: ""}) == load()


@pytest.mark.parametrize(
    ("variable", "text", "written", "read"),
    [
        (
            "OPENAI_BASE_URL",
            "http://variable",
            '[providers.openai]\nbase_url = "http://file"',
            lambda loaded: loaded.openai.base_url,
        ),
        (
            "GEMINI_BASE_URL",
            "http://variable",
            '[providers.gemini]\nbase_url = "http://file"',
            lambda loaded: loaded.gemini.base_url,
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://variable",
            '[telemetry]\notlp_endpoint = "http://file"',
            lambda loaded: loaded.telemetry.otlp_endpoint,
        ),
        (
            "OTEL_SERVICE_NAME",
            "http://variable",
            '[telemetry]\nservice_name = "http://file"',
            lambda loaded: loaded.telemetry.service_name,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_standard_variables_count_where_the_file_is_silent(load, variable, text, written, read):
    """Variables that other programs read too never override what is written for Pictor."""
    assert read(load(**{variable: text})) == "http://variable"
    assert read(load(written, **{variable: text})) == "http://file"


@pytest.mark.parametrize(
    ("said", "meant"), [("grpc", "grpc"), ("http/protobuf", "http"), ("http", "http"), ("", "grpc")]
)
def test_the_otlp_protocol_has_its_standard_names(load, said, meant):
    """What every other service is started with works here, and the file wins here too."""
    environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": said}

    assert load(**environ).telemetry.otlp_protocol == meant
    assert load('[telemetry]\notlp_protocol = "http"', **environ).telemetry.otlp_protocol == "http"


# Wrong values


@pytest.mark.parametrize(
    ("toml", "key", "says"),
    [
        ('listn = "x"', "listn", "no such key"),
        ('[telemetry]\nendpoint = "x"', "telemetry.endpoint", "no such key"),
        ('[providers.opnai]\nkey = "env:X"', "providers.opnai", "no such key"),
        ('[providers.openai]\nlocation = "eu"', "providers.openai.location", "no such key"),
        ('[providers.gemini]\norganization = "o"', "providers.gemini.organization", "no such key"),
        ('[[callers]]\nname = "x"\nkeys = []\nrole_ = "caller"', "callers.0.role_", "no such key"),
        ('[[callers]]\nname = "x"', "callers.0.keys", "is missing"),
        ('[[callers]]\nname = "x"\nkeys = ["a"]\nrole = "root"', "callers.0.role", "'caller' or 'operator'"),
        ('[[callers]]\nname = "x"\nkeys = ["a"]\ntiers = ["gold"]', "callers.0.tiers.0", "'free', 'standard' or 'pro'"),
        ('providers = "both"', "providers", "must be a table"),
        ("listen = 50051", "listen", "valid string"),
        ('listen = "50051"', "listen (PICTOR_LISTEN)", "not host:port"),
        ('listen = "localhost"', "listen (PICTOR_LISTEN)", "not host:port"),
        ('listen = "localhost:70000"', "listen (PICTOR_LISTEN)", "not host:port"),
        ('listen = ":50051"', "listen (PICTOR_LISTEN)", "not host:port"),
        ('admin_listen = "unix:/x"', "admin_listen (PICTOR_ADMIN_LISTEN)", "not host:port"),
        ('http_listen = "no"', "http_listen (PICTOR_HTTP_LISTEN)", "not host:port"),
        ('http_listen = "0.0.0.0:8080"', "http_url (PICTOR_HTTP_URL)", "nobody can fetch from 0.0.0.0"),
        ('http_url = "p.example"', "http_url (PICTOR_HTTP_URL)", "http://"),
        ("download_url_s = 0", "download_url_s", "greater than 0"),
        ("download_url_s = 604801", "download_url_s", "less than or equal to 604800"),
        ("drain_s = -1", "drain_s", "greater than or equal to 0"),
        ("drain_s = inf", "drain_s", "finite"),
        ("lame_duck_s = -0.5", "lame_duck_s", "greater than or equal to 0"),
        ('tune_malloc = "often"', "tune_malloc", "boolean"),
        ('daily_cap_usd = "-1"', "daily_cap_usd (PICTOR_DAILY_CAP_USD)", "negative"),
        ('daily_cap_usd = "ten"', "daily_cap_usd (PICTOR_DAILY_CAP_USD)", "not an amount"),
        ("daily_cap_usd = nan", "daily_cap_usd (PICTOR_DAILY_CAP_USD)", "not an amount"),
        ('edit_provider = "mid"', "edit_provider (IMAGE_EDIT_PROVIDER)", "none of openai, gemini"),
        ('require_providers = ["x"]', "require_providers (PICTOR_REQUIRE_PROVIDERS)", "none of openai, gemini"),
        ("[providers.openai]\nimages_per_minute = 0", "providers.openai.images_per_minute", "greater than 0"),
        ("[providers.gemini]\nrequests_per_minute = inf", "providers.gemini.requests_per_minute", "finite"),
        ("[providers.openai]\nmax_concurrency = 0", "providers.openai.max_concurrency", "greater than or equal to 1"),
        ('[providers.openai]\nbase_url = "api.x.com"', "providers.openai.base_url (OPENAI_BASE_URL)", "http://"),
        ('[providers.gemini]\nbase_url = "ftp://x"', "providers.gemini.base_url (GEMINI_BASE_URL)", "http://"),
        ('[telemetry]\notlp_protocol = "udp"', "telemetry.otlp_protocol", "none of grpc, http, http/protobuf"),
        ('[telemetry]\notlp_endpoint = "c:4317"', "telemetry.otlp_endpoint", "http://"),
        ('pictures.url = "/pictures"', "pictures.url (PICTOR_PICTURES)", "not a bucket's address"),
        ('pictures.url = "s3://id:canary@bucket"', "pictures.url (PICTOR_PICTURES)", "holds a password"),
        ('[pictures]\nurl = "gs://b"\nregion = "eu"', "pictures.region", "begins with s3://"),
        ('[pictures]\nendpoint = "http://s3"', "pictures.endpoint", "begins with s3://"),
        ('[pictures]\nurl = "s3://b"\naccess_key_id = "env:X"', "pictures", "both access_key_id and"),
        ('[pictures]\nurl = "s3://b"\nendpoint = "s3:9000"', "pictures.endpoint", "http://"),
        ("pictures.spool_mib = 0", "pictures.spool_mib", "greater than or equal to 1"),
        ('end_user_key = "env:NOT_SET"', "end_user_key", "env:NOT_SET is not set"),
        ('page_token_key = "file:/no/such"', "page_token_key", "cannot read /no/such"),
        ('[providers.openai]\nkey = "env:NOT_SET"', "providers.openai.key", "env:NOT_SET is not set"),
        ("listen = =", "PICTOR_CONFIG", "line 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_value_in_the_file_is_told_by_its_key(refused, tmp_path, toml, key, says):
    """The sentence names the key, and for what the file alone can be wrong about, the file."""
    sentence = refused(toml)

    assert key in sentence
    assert says in sentence
    assert "\n" not in sentence
    if "no such key" in says:
        assert str(tmp_path / "pictor.toml") in sentence


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("PICTOR_LISTEN", "50051", "not host:port"),
        ("PICTOR_ADMIN_LISTEN", "9464", "not host:port"),
        ("PICTOR_SANDBOX", "perhaps", "neither 1 nor 0"),
        ("PICTOR_TUNE_MALLOC", "2", "neither 1 nor 0"),
        ("PICTOR_DAILY_CAP_USD", "lots", "not an amount in USD"),
        ("PICTOR_REQUIRE_PROVIDERS", "midjourney", "none of openai, gemini"),
        ("IMAGE_EDIT_PROVIDER", "google", "none of openai, gemini"),
        ("OPENAI_BASE_URL", "api.example", "http://"),
        ("GEMINI_BASE_URL", "api.example", "http://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "http://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "none of grpc, http, http/protobuf"),
        ("PICTOR_CONFIG", "/no/such/file", "No such file"),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(refused, variable, text, says):
    """Whoever set it finds it."""
    sentence = refused(**{variable: text})

    assert variable in sentence
    assert says in sentence


# Credentials


@pytest.mark.parametrize(
    ("environ", "key", "project", "location"),
    [
        ({"GEMINI_API_KEY": "k"}, "k", None, "global"),
        ({"GOOGLE_CLOUD_PROJECT": "p"}, None, "p", "global"),
        ({"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "eu"}, None, "p", "eu"),
        ({"GEMINI_API_KEY": "k", "GOOGLE_CLOUD_PROJECT": "p"}, "k", None, "global"),
        ({"GEMINI_API_KEY": " k\n"}, "k", None, "global"),
    ],
    ids=["key", "project", "project and place", "the key wins", "stray white space"],
)
def test_gemini_is_a_key_or_else_a_project(environ, key, project, location):
    """The Developer API with a key, Vertex AI without one."""
    account = settings.load(environ).gemini

    assert account is not None
    assert (account.key, account.vertex_project, account.vertex_location) == (key, project, location)


def test_the_file_may_name_project_and_place():
    """A deployment on Google Cloud needs no variables."""
    table = GeminiAsWritten(project="p", location="us-central1")

    account = resolve.gemini(table, {"GOOGLE_CLOUD_PROJECT": "other", "GOOGLE_CLOUD_LOCATION": "eu"})

    assert account == GeminiAccount(None, "p", "us-central1")


def test_a_provider_without_credentials_is_not_configured():
    """One key is enough to serve with one engine."""
    loaded = settings.load({"OPENAI_API_KEY": SECRET, "GEMINI_API_KEY": ""})

    assert loaded.openai is not None
    assert loaded.gemini is None


def test_without_credentials_and_without_sandbox_nothing_starts():
    """One clear line says what to set: one of them is enough."""
    one = "set OPENAI_API_KEY or GEMINI_API_KEY or GOOGLE_CLOUD_PROJECT, or run with --sandbox"
    with pytest.raises(SettingsError, match=one):
        settings.load({})


def test_a_required_provider_without_credentials_is_fatal():
    """PICTOR_REQUIRE_PROVIDERS keeps a half-configured gateway from serving."""
    with pytest.raises(SettingsError, match=r"PICTOR_REQUIRE_PROVIDERS.*for gemini; set GEMINI_API_KEY or \w+$"):
        settings.load({"OPENAI_API_KEY": SECRET, "PICTOR_REQUIRE_PROVIDERS": "openai,gemini"})


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("PICTOR_SANDBX", "PICTOR_SANDBX: there is no such variable; did you mean PICTOR_SANDBOX?"),
        ("PICTOR_LISTN", "did you mean PICTOR_LISTEN"),
        ("PICTOR_DAILY_CAP", "did you mean PICTOR_DAILY_CAP_USD"),
        ("PICTOR_DRY_RUN", "there are IMAGE_EDIT_PROVIDER, PICTOR_ADMIN_LISTEN, "),
    ],
)
def test_a_variable_that_is_none_of_ours_is_refused(name, says):
    """Whoever misspells PICTOR_SANDBOX would spend real money; the sentence names what is nearest."""
    with pytest.raises(SettingsError) as refused:
        settings.load({**KEYS, name: "1"})

    assert says in str(refused.value)
    with pytest.raises(SettingsError):
        settings.data_sources({name: "1"})


def test_variables_of_others_are_left_alone(load):
    """The clients' own, what Kubernetes sets beside a Service called pictor, and what the file refers to."""
    others = {"PICTOR_ADDRESS": "a:1", "PICTOR_API_KEY": "k", "PICTOR_SERVICE_HOST": "10.0.0.1"}
    ports = {
        "PICTOR_SERVICE_PORT_GRPC": "1",
        "PICTOR_GRPC_SERVICE_PORT": "1",
        "PICTOR_PORT": "tcp://a:1",
        "PICTOR_PORT_1_TCP_ADDR": "a",
    }

    loaded = load('page_token_key = "env:PICTOR_PAGES"', **KEYS, **others, **ports, PICTOR_PAGES="secret")

    assert loaded.page_token_key == b"secret"


def test_the_sandbox_wins_over_real_credentials():
    """No key is even held in sandbox mode, whatever the environment and the file say."""
    environ = {**KEYS, "GOOGLE_CLOUD_PROJECT": "p", "PICTOR_SANDBOX": "1", "PICTOR_REQUIRE_PROVIDERS": "openai"}

    loaded = settings.load(environ)

    assert (loaded.sandbox, loaded.openai, loaded.gemini) == (True, None, None)


def test_secrets_come_from_files_too(load, tmp_path):
    """Mounted secret files are read without their last line break."""
    (tmp_path / "key").write_text("sk-mounted\n")

    assert load(f'[providers.openai]\nkey = "file:{tmp_path}/key"').openai.key == "sk-mounted"


def test_an_empty_secret_file_is_refused(refused, tmp_path):
    """A secret that was not mounted is found at the start, not at the first call."""
    (tmp_path / "key").write_text("\n")

    assert "providers.openai.key" in refused(f'[providers.openai]\nkey = "file:{tmp_path}/key"')


@pytest.mark.parametrize("key", ["end_user_key", "page_token_key"])
def test_a_secret_in_the_file_itself_is_refused_and_not_repeated(refused, key):
    """Secrets are references."""
    sentence = refused(f'{key} = "{SECRET}"')

    assert key in sentence
    assert "env:NAME or file:/path" in sentence
    assert SECRET not in sentence


@pytest.mark.parametrize("provider", ["openai", "gemini"])
def test_a_key_in_the_file_itself_is_refused_and_not_repeated(refused, provider):
    """The same for provider keys."""
    sentence = refused(f'[providers.{provider}]\nkey = "{SECRET}"')

    assert f"providers.{provider}.key" in sentence
    assert SECRET not in sentence


@pytest.mark.parametrize(
    "toml",
    [
        f'[providers.openai]\nbase_url = "https://user:{SECRET}@host/v1"',
        f'[telemetry]\notlp_endpoint = "https://{SECRET}@host"',
    ],
    ids=["base_url", "otlp_endpoint"],
)
def test_an_address_holds_no_password(refused, toml):
    """Addresses are shown by ListProviders and `config check`."""
    assert SECRET not in refused(toml)


def test_no_secret_is_ever_shown(load):
    """Neither repr nor str of the settings, or of any part, holds a secret."""
    loaded = load('end_user_key = "env:PEPPER"\npage_token_key = "env:PEPPER"', PEPPER="salt-canary-5a17")

    for part in (loaded, loaded.openai, loaded.gemini):
        assert "canary-5a17" not in repr(part) + str(part)


def test_the_webhook_and_its_key_are_secrets(load, refused):
    """References alone, resolved, from the file or the environment, and never shown."""
    toml = '[alerts]\nwebhook = "env:HOOK"\nsigning_key = "env:PEPPER"'
    hook, pepper = "https://hooks.example/canary", "pepper-canary"

    loaded = load(toml, HOOK=hook, PEPPER=pepper)
    assert loaded.alerts == AlertsTable(hook, pepper)
    assert load(PICTOR_ALERT_WEBHOOK="env:HOOK", HOOK=hook).alerts == AlertsTable(hook)
    assert "canary" not in repr(loaded.alerts)
    assert "must be a reference" in refused(PICTOR_ALERT_WEBHOOK=hook)
    told = refused(PICTOR_ALERT_WEBHOOK="env:HOOK", HOOK="hooks.canary.example")
    assert ("PICTOR_ALERT_WEBHOOK" in told, "canary" in told) == (True, False)
    assert "signs nothing" in refused(PICTOR_ALERT_SIGNING_KEY="env:PEPPER", PEPPER=pepper)


def test_the_data_can_be_looked_at_without_credentials(tmp_path):
    """`policy check` and `prices` work on a laptop that holds no key."""
    (tmp_path / "pictor.toml").write_text('overlay = "/file"\nedit_provider = "openai"')

    sources = settings.data_sources({"PICTOR_CONFIG": str(tmp_path / "pictor.toml"), "PICTOR_OVERLAY": "/mine"})

    assert (sources.overlay, sources.edit_provider) == (Path("/mine"), "openai")
