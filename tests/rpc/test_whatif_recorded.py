"""`pictord simulate --recorded`: what a gateway really served, replayed from its own database while it serves."""

import asyncio
import csv
import json
import re
from dataclasses import dataclass

import grpc
import pytest
from typer.testing import CliRunner

from gateway import GPT, NANO, gateway
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1.history_service_pb2 import CancelGenerationRequest
from pictord import cli
from pictord.auth.callers import hash_key
from pictord.settings import CallerTable
from pictord.store.base import ListFilter
from pictord.store.database import address
from pictord.store.recorded import sent

KEYS = {name: f"pictor_{name}-key-77aa" for name in ("studio", "shop")}
STUDIO, SHOP = ([("x-api-key", key)] for key in KEYS.values())
CALLERS = tuple(CallerTable(name, keys=(hash_key(key),)) for name, key in KEYS.items())


@dataclass(frozen=True)
class Said:
    """How the command ended."""

    code: int
    out: str
    err: str

    def table(self, first: str) -> dict[str, dict[str, str]]:
        """The rows of the table that has such a column, by their first cell."""
        block = next(each for each in self.out.split("\n\n")[1:] if first in each.splitlines()[0])
        header, *lines = (re.split(r" {2,}", line.strip()) for line in block.splitlines())
        return {line[0]: dict(zip(header, line, strict=True)) for line in lines}


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, databases, tmp_path) -> dict[str, str]:
    """The environment that names the database."""
    if request.param == "sqlite":
        return {"PICTOR_DATA_DIR": str(tmp_path)}
    where = databases.postgresql(request.getfixturevalue("postgresql"))
    url = where.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return {"PICTOR_DATA_DIR": str(tmp_path), "PICTOR_DATABASE": url}


async def simulate(place, *words) -> Said:
    """Run the command beside the gateway."""
    run = CliRunner(env=place).invoke
    result = await asyncio.to_thread(run, cli.cli, ["simulate", "--recorded", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return Said(2, result.stdout, str(result.exception))
    return Said(result.exit_code, result.stdout, result.stderr)


async def draw(pictor, who=STUDIO, **fields):
    return (await pictor.images.Generate(service.GenerateRequest(**fields), metadata=who)).generation


async def world(pictor) -> int:
    """Some work of two callers; what it came to in nano-dollars."""
    fox = await draw(pictor, prompt="CANARY fox", labels={"who": "CANARY"}, end_user="CANARY", request_id="CANARY")
    await draw(pictor, prompt="a jay", tier=image.TIER_PRO)
    await draw(pictor, SHOP, prompt="an owl", model=GPT, quality=image.QUALITY_LOW)
    request = service.GenerateRequest(prompt="stormy", model=NANO, tier=image.TIER_FREE)
    source = image.ImageInput(image_id=fox.outputs[0].image.id)
    await pictor.images.Edit(service.EditRequest(request=request, image=source), metadata=STUDIO)
    return pictor.charged_nanos()


async def test_what_was_really_served_is_compared_while_it_serves(place, tmp_path):
    """Rows, money and time as they really were stand beside those of each policy."""
    async with gateway(data_dir=tmp_path, database=place.get("PICTOR_DATABASE"), callers=CALLERS) as pictor:
        spent = await world(pictor)
        said = await simulate(place, "--csv", tmp_path / "w.csv", "--since", "7d")

    assert (said.code, said.out.splitlines()[0].split()[0]) == (0, "4")
    by_row = {row: (cells["really"], cells["in force"]) for row, cells in said.table("really").items()}
    assert by_row.pop("named") == ("0", "0"), "a row of the policies that ship"
    assert by_row == {"explicit": ("2", "2"), "pro": ("1", "1"), "standard": ("1", "1")}
    in_force = said.table("really spent")["in force"]
    assert (in_force["known of"], in_force["really spent"]) == ("4", f"${spent / 1e9:.2f}")
    assert re.fullmatch(r"\d+ s", in_force["really took"])
    with (tmp_path / "w.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["policy"] == "in force"]
    assert sum(int(line["requests_with_known_time"]) for line in lines) == 4
    assert sum(round(float(line["spent_usd"]) * 1e9) for line in lines) == spent


async def test_a_caller_and_a_time_narrow_it(place, tmp_path):
    """Whose, and from when to when; nothing found is said."""
    async with gateway(data_dir=tmp_path, database=place.get("PICTOR_DATABASE"), callers=CALLERS) as pictor:
        await world(pictor)
        shops = await simulate(place, "--caller", "shop")
        none = await simulate(place, "--until", "1h")

    assert shops.out.startswith("1 recorded requests.")
    assert (none.code, none.err) == (2, "there are no requests to replay")


async def test_saved_requests_replay_the_same_and_hold_no_word(place, tmp_path):
    """The file gives the same tables, and of what people typed only lengths."""
    file = tmp_path / "log.jsonl"
    async with gateway(data_dir=tmp_path, database=place.get("PICTOR_DATABASE"), callers=CALLERS) as pictor:
        await world(pictor)
        said = await simulate(place, "--save", file)
    again = CliRunner().invoke(cli.cli, ["simulate", "--requests", str(file)])

    assert again.stdout == said.out
    assert "CANARY" not in file.read_text()
    edited = next(one for one in map(json.loads, file.read_text().splitlines()) if "image" in one["request"])
    assert edited["request"]["prompt"] == "xxxxxx"
    assert edited["request"]["image"]["size_bytes"] > 1000


async def test_only_what_was_sent_and_has_ended_counts(place, tmp_path):
    """What still runs has cost nothing yet, and what was never sent never will."""
    async with gateway(data_dir=tmp_path, database=place.get("PICTOR_DATABASE"), callers=CALLERS) as pictor:
        await world(pictor)
        pictor.sandbox.faults.add("stall", times=1)
        slow = asyncio.create_task(draw(pictor, prompt="slow", model=NANO))
        await pictor.sandbox.wait_for_stalls(1)
        running = await simulate(place)
        pictor.sandbox.release_stalls()
        await slow
        ended = await simulate(place)

    assert running.out.startswith("4 recorded requests.")
    assert ended.out.startswith("5 recorded requests.")


async def test_what_was_never_sent_does_not_count(place, tmp_path):
    """A call that was withdrawn while it waited cost nothing under any policy."""
    async with gateway(data_dir=tmp_path, database=place.get("PICTOR_DATABASE"), callers=CALLERS) as pictor:
        pictor.app.guards.disable("openai", "for this test")
        pictor.sandbox.faults.add("rate_limit", provider="gemini", times=1, args={"retry_delay": "20s"})
        with pytest.raises(grpc.aio.AioRpcError):
            await draw(pictor, prompt="sent, and refused")
        request = service.GenerateStreamRequest(request=service.GenerateRequest(prompt="waits"))
        waiting = pictor.images.GenerateStream(request, metadata=STUDIO)
        queued = dict(await waiting.initial_metadata())["pictor-generation-id"]
        await pictor.history.CancelGeneration(CancelGenerationRequest(generation_id=queued), metadata=STUDIO)
        said = await simulate(place)

    assert said.out.startswith("1 recorded requests.")


def ids_of(where, size: int) -> list[str]:
    return [each.generation.id for each in sent(where, ListFilter(limit=size))]


async def test_pages_join_to_the_whole(place, tmp_path):
    """However many are read at a time."""
    async with gateway(data_dir=tmp_path, database=place.get("PICTOR_DATABASE"), callers=CALLERS) as pictor:
        await world(pictor)
        where = address(place.get("PICTOR_DATABASE") or f"sqlite:///{tmp_path}/pictor.db")
        found = [await asyncio.to_thread(ids_of, where, size) for size in (1, 3, 500)]

    assert len(found[0]) == 4
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--recorded", "--requests", "log.jsonl"], "--recorded or --requests: take one"),
        (["--since", "7d"], "--since, --until and --caller need --recorded"),
        (["--recorded", "--since", "soon"], "`soon` is neither a time such as"),
        (["--recorded"], "names no database to keep"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(words, text):
    """Nothing is read before that."""
    result = CliRunner(env={"PICTOR_DATA_DIR": "", "PICTOR_DATABASE": ""}).invoke(cli.cli, ["simulate", *words])

    assert text in str(result.exception)
