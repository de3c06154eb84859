"""`pictord serve` as a process of its own: signals, neighbours, sudden death, money and secrets; and the demo.

The engines are the sandbox in the test's process, reached through OPENAI_BASE_URL and GEMINI_BASE_URL, so the gateway
takes them for real ones.
"""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from openai import AsyncOpenAI

from gateway import GPT, NANO, NO_LIMIT, Refusal, refusal
from pictor.v1 import catalog_service_pb2 as catalog
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1.catalog_service_pb2_grpc import CatalogServiceStub
from pictor.v1.generation_pb2 import Generation
from pictor.v1.history_service_pb2_grpc import HistoryServiceStub
from pictor.v1.image_service_pb2_grpc import ImageServiceStub
from pictord.sandbox import Sandbox, SandboxSettings, run

ROOT = Path(__file__).parents[2]
CANARY = "canary-c0ffee"
KEYS = {"OPENAI_API_KEY": f"sk-{CANARY}-openai", "GEMINI_API_KEY": f"AIza-{CANARY}-gemini"}
OURS = ("PICTOR_", "OPENAI_", "GEMINI_", "GOOGLE_", "OTEL_", "IMAGE_EDIT_", "GRPC_")
SMALL = {"canvas": {"resolution": image.RESOLUTION_512}, "model": NANO}


@dataclass
class Pictord:
    """A started process, and every line it wrote."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    address: str = ""
    admin: str = ""

    async def until(self, words: str) -> str:
        """The next line that holds the words."""
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode().rstrip())
            if words in self.lines[-1]:
                return self.lines[-1]
        raise AssertionError(f"pictord ended without {words!r}: {self.lines}")

    async def ready(self) -> None:
        said = await self.until("gRPC on ")
        self.address, self.admin = re.search(r"gRPC on (\S+), admin on (\S+), ", said).groups()

    async def end(self) -> int:
        """Its exit code, once it has ended, which takes no minute, and all its lines are read."""
        rest, _ = await asyncio.wait_for(self.process.communicate(), timeout=50)
        self.lines += rest.decode().splitlines()
        return self.process.returncode

    async def page(self, path: str) -> tuple[int, str]:
        """A page of the admin listener."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.admin}{path}") as answer:
            return answer.status, await answer.text()


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The test's own without anything that could steer the gateway, and free ports."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    path = os.pathsep.join([str(ROOT / "server"), str(ROOT / "clients/python")])
    ports = {"PICTOR_LISTEN": "127.0.0.1:0", "PICTOR_ADMIN_LISTEN": "127.0.0.1:0", "PICTOR_HTTP_LISTEN": "off"}
    return clean | ports | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "no_proxy": "127.0.0.1"} | extra


@asynccontextmanager
async def started(*arguments: str, module: str = "pictord", **environ: str) -> AsyncIterator[Pictord]:
    """A process, in a session of its own; whatever happens, nothing of it is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        env=environment(environ), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield Pictord(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)


@asynccontextmanager
async def serving(*arguments: str, **environ: str) -> AsyncIterator[Pictord]:
    async with started("serve", *arguments, **environ) as pictord:
        await pictord.ready()
        yield pictord


@asynccontextmanager
async def connected(pictord: Pictord) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(pictord.address, options=NO_LIMIT) as channel:
        yield channel


@pytest.fixture
async def engines() -> AsyncIterator[Sandbox]:
    async with run(SandboxSettings(time_scale=0)) as sandbox:
        yield sandbox
        sandbox.release_stalls()


def at(engines: Sandbox) -> dict[str, str]:
    """What leads the gateway to the engines, with keys."""
    return KEYS | {"OPENAI_BASE_URL": engines.openai_base_url, "GEMINI_BASE_URL": engines.gemini_base_url}


async def draw(channel: grpc.aio.Channel, prompt="a fox", **fields) -> Generation:
    request = service.GenerateRequest(**({"prompt": prompt} | SMALL | fields))
    return (await ImageServiceStub(channel).Generate(request, wait_for_ready=True)).generation


async def refused(call) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def health(channel: grpc.aio.Channel, status: int) -> None:
    """Return once the server says so."""
    async for answer in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
        if answer.status == status:
            return


# Signals


async def test_sigterm_finishes_what_runs_and_takes_nothing_new(engines):
    """The call in flight gets its picture, health and admin say so, new calls go elsewhere, the exit code is 0."""
    async with serving(**at(engines)) as pictord, connected(pictord) as channel:
        engines.faults.add("stall", times=1)
        running = asyncio.ensure_future(draw(channel, "a slow fox"))
        await engines.wait_for_stalls(1)

        pictord.process.send_signal(signal.SIGTERM)
        await health(channel, health_pb2.HealthCheckResponse.NOT_SERVING)
        await pictord.until("stopping: waiting for 1 generations")
        new = await refused(draw(channel, "too late"))
        page, _ = await pictord.page("/healthz")
        engines.release_stalls()

        assert (await running).state == Generation.STATE_SUCCEEDED
        assert (new.code, new.reason) == ("UNAVAILABLE", "SHUTTING_DOWN")
        assert page == 503
        assert await pictord.end() == 0
    assert {request.prompt for request in engines.requests} == {"a slow fox"}


@pytest.mark.parametrize("form", ["text", "json"])
async def test_the_sandbox_says_where_it_is_itself(form):
    """Its base URLs are in the start lines, whatever form the log has, and answer as the providers' APIs."""
    async with serving("--sandbox", "--time-scale", "0", "--log-format", form) as pictord:
        line = next(line for line in pictord.lines if "OPENAI_BASE_URL" in line)
        urls = dict(pair.split("=") for pair in line.split() if "=" in pair)
        async with AsyncOpenAI(api_key="any", base_url=urls["OPENAI_BASE_URL"], max_retries=0) as openai:
            answer = await openai.images.generate(model=GPT, prompt="a fox", size="1024x640", quality="low")
        async with aiohttp.ClientSession() as session:
            there = await session.get(f"{urls['GEMINI_BASE_URL']}/sandbox/healthz")

    assert answer.data[0].b64_json
    assert there.status == 200


async def test_ctrl_c_right_after_the_start_ends_as_quietly(tmp_path):
    """The address is announced when signals are heard; an idle gateway is gone at once, with its folder's lock."""
    async with serving("--sandbox", PICTOR_DATA_DIR=str(tmp_path), **KEYS) as pictord:
        pictord.process.send_signal(signal.SIGINT)

        assert await pictord.end() == 0
    assert not any("Traceback" in line or CANARY in line for line in pictord.lines)


# Neighbours and sudden death


async def test_a_neighbour_is_told_what_is_taken_and_sudden_death_takes_nothing_away(tmp_path):
    """Port and data folder belong to one process: others end with a clear line; after kill -9 all is there again."""
    data = {"PICTOR_DATA_DIR": str(tmp_path)}
    async with serving("--sandbox", "--time-scale", "0", **data) as first:
        async with connected(first) as channel:
            made = await draw(channel)
        async with (
            started("serve", "--sandbox", PICTOR_LISTEN=first.address) as on_its_port,
            started("serve", "--sandbox", **data) as in_its_folder,
        ):
            codes = await asyncio.gather(on_its_port.end(), in_its_folder.end())
        first.process.kill()
        await first.end()

    assert codes == [2, 2]
    for neighbour, words in ((on_its_port, first.address), (in_its_folder, str(tmp_path))):
        assert neighbour.lines[-1].startswith("pictord: ")
        assert words in neighbour.lines[-1]
        assert len(neighbour.lines) == 1
    kept = [path for path in (tmp_path / "images").rglob("*") if path.is_file()]
    assert [path.name for path in kept] == [made.outputs[0].image.sha256]

    async with serving("--sandbox", PICTOR_LISTEN=first.address, **data) as second, connected(second) as channel:
        get = HistoryServiceStub(channel).GetGeneration(history.GetGenerationRequest(generation_id=made.id))
        found = (await get).generation

        assert (found.id, found.state, found.cost) == (made.id, Generation.STATE_SUCCEEDED, made.cost)
        assert all(path.exists() for path in kept)
        assert (await draw(channel)).state == Generation.STATE_SUCCEEDED


async def test_grpcs_own_words_are_there_for_who_asks_for_them(engines):
    """GRPC_VERBOSITY in the environment stays as it is."""
    taken = engines.address.removeprefix("http://")
    async with started("serve", "--sandbox", PICTOR_LISTEN=taken, GRPC_VERBOSITY="ERROR") as pictord:
        code = await pictord.end()

    assert code == 2
    assert "Failed to add port" in pictord.lines[0]
    assert pictord.lines[-1].startswith("pictord: ")


async def test_a_provider_that_must_be_there_ends_the_start():
    """PICTOR_REQUIRE_PROVIDERS makes one missing key fatal: one line that says which, and no secret."""
    async with started("serve", PICTOR_REQUIRE_PROVIDERS="openai,gemini", GEMINI_API_KEY=KEYS["GEMINI_API_KEY"]) as it:
        code = await it.end()

    assert (code, len(it.lines)) == (2, 1)
    assert "no credentials for openai" in it.lines[0]
    assert "OPENAI_API_KEY" in it.lines[0]


# Money and secrets


async def test_the_daily_cap_is_told_at_the_start_and_holds(engines):
    """With keys every call counts: what no longer fits into the day is refused before it is sent, on any engine."""
    cap_nanos = 200_000_000
    async with serving(**at(engines), PICTOR_DAILY_CAP_USD="0.20") as pictord, connected(pictord) as channel:
        wanted = [{}, {}, {"model": GPT, "quality": image.QUALITY_LOW, "canvas": {}}, {}, {}, {}, {}, {}]
        calls = [draw(channel, f"fox {number}", **fields) for number, fields in enumerate(wanted)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        late = await refused(draw(channel, "a late fox", canvas={"resolution": image.RESOLUTION_4K}))
        pictord.process.terminate()
        await pictord.end()

    drawn = [each for each in results if isinstance(each, Generation)]
    over = [refusal(each) for each in results if isinstance(each, grpc.aio.AioRpcError)]
    charged = sum(charge.nanos for charge in engines.charges)
    assert any("REAL providers" in line and "$0.20" in line for line in pictord.lines)
    assert any("NO PICTOR_DATA_DIR" in line for line in pictord.lines)
    assert len(drawn) == len(engines.charges) > 0
    assert len(drawn) + len(over) == len(wanted)
    assert {(each.code, each.reason) for each in [*over, late]} == {("RESOURCE_EXHAUSTED", "DAILY_CAP")}
    assert "$0.20" in late.text
    assert sum(each.cost.amount.nanos for each in drawn) == charged <= cap_nanos


async def test_real_mode_shows_no_secret_anywhere(engines):
    """With working keys, refused keys and broken engines: output, metrics, errors and records never show a key."""
    async with serving("--log-level", "debug", **at(engines)) as pictord, connected(pictord) as channel:
        said = [str(await draw(channel)), str(await draw(channel, model=GPT, quality=image.QUALITY_LOW, canvas={}))]
        for kind in ("api_key_invalid", "internal", "invalid_argument"):
            engines.faults.add(kind, provider="gemini", times=1)
            said.append(str(await refused(draw(channel, f"a fox and {kind}"))))
            enable = catalog.SetProviderStateRequest(provider="gemini", state=catalog.PROVIDER_STATE_ENABLED)
            await CatalogServiceStub(channel).SetProviderState(enable)
        listed = await HistoryServiceStub(channel).ListGenerations(history.ListGenerationsRequest())
        providers = await CatalogServiceStub(channel).ListProviders(catalog.ListProvidersRequest())
        status, metrics = await pictord.page("/metrics")
        pictord.process.terminate()
        await pictord.end()

    said += [str(listed), str(providers), metrics, *pictord.lines]
    assert len(listed.generations) == 5
    assert (status, "pictor_" in metrics) == (200, True)
    assert [each.sandbox for each in providers.providers] == [False, False]
    assert [text for text in said if CANARY in text] == []
    assert not any("a fox" in text for text in [metrics, *pictord.lines])


async def test_the_sandbox_wins_over_real_keys():
    """With --sandbox keys in the environment are not used: both providers are simulated, and it is said loudly."""
    environ = KEYS | {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "PICTOR_LISTEN": "0.0.0.0:0"}
    async with serving("--sandbox", "--time-scale", "0", **environ) as pictord:
        pictord.address = f"127.0.0.1:{pictord.address.rpartition(':')[2]}"
        async with connected(pictord) as channel:
            generation = await draw(channel, model=GPT, quality=image.QUALITY_LOW, canvas={})
            providers = await CatalogServiceStub(channel).ListProviders(catalog.ListProvidersRequest())

    assert generation.sandbox
    assert [(each.sandbox, each.account) for each in providers.providers] == [(True, "sandbox")] * 2
    assert any("SANDBOX" in line for line in pictord.lines)
    assert not any(CANARY in line for line in pictord.lines)


# The demo


DEMO = {
    # step: row, model, attempts, adaptations
    "standard": ("standard", NANO, 1, []),
    "pro": ("pro", GPT, 1, []),
    "edit-gemini": ("edit", NANO, 1, ["mask_as_prompt"]),
    "edit-openai": ("explicit", GPT, 1, []),
    "four-k": ("four_k", NANO, 1, []),
    "story": ("standard", NANO, 1, []),
    "re-roll": ("explicit", GPT, 1, []),
    "failover": ("pro", NANO, 2, ["quality_reduced"]),
    "refusal": ("standard", NANO, 1, []),
    **{f"carousel slide-{number}": ("standard", NANO, 1, []) for number in range(1, 7)},
    f"both fox {GPT}": ("explicit", GPT, 1, []),
    f"both fox {NANO}": ("explicit", NANO, 1, []),
}
FIELDS = {"name", "row", "model", "model_version", "attempts", "cost_nanos", "adaptations", "files", "seconds"}


async def test_the_demo_shows_all_it_promises(tmp_path):
    """`python -m pictord.demo` ends well within a minute, leaves no process, and its report tells of every step."""
    out = tmp_path / "demo-output"
    async with started("--out", str(out), module="pictord.demo", **KEYS) as demo:
        code = await demo.end()

    assert code == 0, demo.lines
    steps = json.loads((out / "report.json").read_text())
    shown = {step["name"]: (step["row"], step["model"], step["attempts"], step["adaptations"]) for step in steps}
    page = (out / "index.html").read_text()
    assert shown == DEMO
    for step in steps:
        assert set(step) >= FIELDS
        assert (step["cost_nanos"] > 0, bool(step["files"])) == (True, step["name"] != "refusal")
        assert all((out / file).stat().st_size > 1000 and file in page for file in step["files"] + step["previews"])
    assert len(next(step for step in steps if step["name"] == "pro")["previews"]) == 2
    assert not any(CANARY in line for line in demo.lines)
