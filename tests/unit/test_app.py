"""The composition root: what it refuses before anything is open, and that it closes everything again."""

import asyncio
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from pictord import app, configured
from pictord.auth.callers import BindingRefused, hash_key
from pictord.catalog.overlay import CatalogError
from pictord.domain.caller import Role
from pictord.settings import DATABASE_FILE, CallerTable, OpenAIAccount, SandboxUrls, Settings, SettingsError, load
from pictord.store.database import sqlite_address
from pictord.store.schema import replica
from pictord.store.upkeep import connected

ROOT = Path(__file__).parents[2]
KEY = OpenAIAccount("k", base_url="http://127.0.0.1:9/v1")
HASH = hash_key("pictor_web")
WEB = CallerTable("web", (HASH,))


def settings(**changes) -> Settings:
    defaults = {"listen": "127.0.0.1:0", "admin_listen": None, "http_listen": None, "drain_s": 0.0, "openai": KEY}
    return Settings(**(defaults | changes))


def simulated(**changes) -> Settings:
    urls = SandboxUrls("http://127.0.0.1:9/v1", "http://127.0.0.1:9")
    return settings(openai=None, sandbox=True, sandbox_urls=urls, **changes)


async def refusal(asked: Settings) -> str:
    """Why `build` refuses; `check` must say the same."""
    with pytest.raises((SettingsError, CatalogError, BindingRefused)) as checked:
        app.check(asked)
    with pytest.raises(type(checked.value)) as built:
        async with app.build(asked):
            pass
    assert str(checked.value) == str(built.value)
    return str(built.value)


@pytest.mark.parametrize(
    ("callers", "says"),
    [
        ((CallerTable("web", ("abc",)),), "caller 'web': a key hash is 64 hexadecimal digits"),
        ((CallerTable("web", ()),), "caller 'web': give one key hash"),
        ((WEB, CallerTable("shop", (HASH,))), "caller 'shop': shares a key with 'web'"),
        ((WEB, CallerTable("web", (hash_key("x"),))), "caller 'web': every caller needs a name of its own"),
        ((CallerTable("web", (HASH,), models=("dall-e-1",)),), "caller 'web': models: no model is called 'dall-e-1'"),
        (
            (CallerTable("web", (HASH,), tiers=("free",)),),
            "caller 'web': default_tier: 'standard' is none of its tiers",
        ),
        ((CallerTable("web", (HASH,), max_picture_usd="x"),), "caller 'web': max_picture_usd: not an amount"),
        ((CallerTable("web", (HASH,), max_picture_usd="-1"),), "caller 'web': max_picture_usd: '-1' is negative"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_wrong_caller_is_told_by_name(callers, says):
    """A misconfigured caller would find out call by call; the operator finds out at the start."""
    said = await refusal(settings(callers=callers))

    assert said.startswith("callers: ")
    assert says in said
    assert HASH not in said


async def test_listening_everywhere_needs_callers():
    """A paid service is never open to whoever finds it."""
    assert "no callers are configured" in await refusal(settings(listen="0.0.0.0:0"))


async def test_with_callers_it_may_listen_everywhere():
    """Keys make it safe."""
    async with app.build(settings(listen="0.0.0.0:0", callers=(WEB,))) as running:
        assert running.address.startswith("0.0.0.0:")


async def test_the_sandbox_may_listen_everywhere():
    """`docker run -p 50051:50051 pictor serve --sandbox` works as it stands: there is no key to steal."""
    async with app.build(simulated(listen="0.0.0.0:0")) as running:
        assert running.address.startswith("0.0.0.0:")


def test_what_the_docker_image_sets_is_accepted():
    """As it stands with the sandbox; with a real key it wants callers, and its links lead where somebody listens."""
    environment = dict(re.findall(r"(PICTOR_\w+)=(\S+)", (ROOT / "Dockerfile").read_text("utf-8")))

    image = load(environment | {"PICTOR_SANDBOX": "1"})
    app.check(replace(image, sandbox_urls=SandboxUrls("http://127.0.0.1:9/v1", "http://127.0.0.1:9")))
    assert image.http_listen.rpartition(":")[2] == image.http_url.rpartition(":")[2]
    with pytest.raises(BindingRefused, match="no callers are configured"):
        app.check(load(environment | {"OPENAI_API_KEY": "k"}))


async def test_a_missing_overlay_is_refused():
    """A folder that was not mounted does not silently mean shipped prices."""
    assert await refusal(settings(overlay=Path("/no/such"))) == "/no/such: no such folder"


async def test_a_taken_port_is_told_by_its_key():
    """One sentence instead of a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(SettingsError, match=rf"listen \(PICTOR_LISTEN\): cannot bind {address}"):
            async with app.build(settings(listen=address)):
                pass


async def test_a_data_folder_belongs_to_one_process(tmp_path):
    """Two gateways on one folder would delete each other's pictures."""
    async with app.build(settings(data_dir=tmp_path)):
        with pytest.raises(SettingsError, match=r"data_dir \(PICTOR_DATA_DIR\) .*another pictord is using it"):
            async with app.build(settings(data_dir=tmp_path)):
                pass

    async with app.build(settings(data_dir=tmp_path)):
        pass


@pytest.mark.parametrize("below", ["", "pictures/of/today"])
async def test_a_data_folder_that_cannot_be_made_is_refused_before_the_start(tmp_path, below):
    """Looking at the configuration and serving say the same, and looking leaves nothing behind."""
    (tmp_path / "file").write_text("")
    impossible = settings(data_dir=tmp_path / "file" / below)

    with pytest.raises(SettingsError) as looked:
        app.check(impossible)
    with pytest.raises(SettingsError) as served:
        async with app.build(impossible):
            pass
    app.check(settings(data_dir=tmp_path / "new"))

    assert str(looked.value) == str(served.value)
    assert str(looked.value).startswith(f"data_dir (PICTOR_DATA_DIR): cannot keep pictures in {tmp_path}/file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def test_a_start_that_fails_leaves_nothing_open(tmp_path):
    """The database is given back, with the row that said who works on it."""
    (tmp_path / "end-user.key").mkdir()

    with pytest.raises(IsADirectoryError):
        async with app.build(settings(data_dir=tmp_path)):
            pass

    with connected(sqlite_address(tmp_path / DATABASE_FILE), read_only=True) as connection:
        assert connection.execute(replica.select()).all() == []


async def test_after_the_end_nothing_is_left(tmp_path):
    """No task, no port, no temporary folder."""
    before = asyncio.all_tasks()
    async with app.build(settings(admin_listen="127.0.0.1:0")) as running:
        addresses = [running.address, running.admin_address]

    assert asyncio.all_tasks() == before
    for address in addresses:
        host, port = address.rsplit(":", 1)
        with socket.socket() as probe:
            assert probe.connect_ex((host, int(port))) != 0


@pytest.mark.parametrize("role", Role)
async def test_callers_get_what_their_table_says(role):
    """The tables become policies, amounts in nano-dollars."""
    table = CallerTable("web", (HASH,), role, max_picture_usd=0.25, models=("gpt-image-2",))

    caller = configured.callers(settings(callers=(table,)), app.check(settings()).catalog).authenticate(
        [("x-api-key", "pictor_web")]
    )

    assert (caller.name, caller.role) == ("web", role)
    assert caller.policy.max_picture_nanos == 250_000_000
    assert caller.policy.models == {"gpt-image-2"}
