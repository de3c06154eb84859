"""The client against the real gateway with simulated engines: what callers in Python get."""

import asyncio
import hashlib
import io
import time
from collections import Counter
from decimal import Decimal

import grpc
import pytest
from PIL import Image as Drawing

import pictor
from both_clients import BOTH, connected
from cable import cable
from gateway import GPT, NANO, gateway
from pictord import app


@pytest.fixture
async def running():
    async with gateway() as started:
        yield started


@pytest.fixture(params=BOTH)
def kind(request):
    return request.param


@pytest.fixture
async def client(running, kind):
    async with connected(kind, running.app.address) as one:
        yield one


def drawn(mode, colour, size=(512, 512)):
    """A picture, encoded as PNG."""
    buffer = io.BytesIO()
    Drawing.new(mode, size, colour).save(buffer, "PNG")
    return buffer.getvalue()


async def collect(events):
    return [event async for event in events]


async def test_one_call_makes_a_picture(running, client):
    """A prompt is enough; the picture is whole, the cost is what the engine billed, and the sandbox is said."""
    made = await client.generate("a red fox")

    assert hashlib.sha256(made.picture.data).hexdigest() == made.picture.message.sha256
    assert (made.row, made.picture.message.model, made.is_sandbox, made.is_complete) == ("standard", NANO, True, True)
    assert made.cost_usd == Decimal(running.charged_nanos()).scaleb(-9)


async def test_a_pro_stream_shows_previews_first(client):
    """Previews are pictures of their own; the finished one comes last, then the generation."""
    events = await collect(client.stream("a red fox", tier="pro", preview_count=2))

    previews = [event for event in events if isinstance(event, pictor.Preview)]
    assert [Drawing.open(io.BytesIO(each.data)).format for each in previews] == ["PNG", "PNG"]
    assert isinstance(events[-2], pictor.Image)
    assert isinstance(events[-1], pictor.Completed)
    assert events[-1].generation.picture.message.model == GPT


async def test_a_4k_picture_arrives_whole(client):
    """Pictures beyond every message limit come in one piece, from the stream as from the unary call."""
    made = await client.generate("a wide sea", resolution="4k", ratio="16:9", max_inline_bytes=0)

    assert made.picture.message.width_px >= 3840
    assert len(made.picture.data) == made.picture.message.size_bytes


async def test_a_masked_edit_names_its_adaptation(client):
    """By default the mask is kept exactly; with ADAPT the cheap engine serves it and says how."""
    image, mask = drawn("RGB", "red", (1024, 1024)), drawn("RGBA", (0, 0, 0, 0), (1024, 1024))

    exact = await client.edit("make it blue", image, mask)
    adapted = await client.edit("make it blue", image, mask, fidelity="adapt")

    assert (exact.picture.message.model, exact.adaptations) == (GPT, ())
    assert (adapted.picture.message.model, adapted.adaptations) == (NANO, ("mask_as_prompt",))


async def test_a_picture_is_input_of_the_next_call(client):
    """What was made or uploaded is named by id, and downloaded again byte for byte."""
    uploaded = await client.upload(drawn("RGB", "green"))
    first = await client.edit("add a fox", uploaded.id)

    second = await client.edit("add a hat", first.picture)

    assert (await client.download(second.picture.id)).data == second.picture.data


async def test_a_reroll_takes_the_other_engine(client):
    """The lineage is kept."""
    made = await client.generate("a red fox")

    events = await collect(client.stream_reroll(made.id))

    again = events[-1].generation
    assert (made.picture.message.model, again.picture.message.model) == (NANO, GPT)
    assert again.message.lineage.reroll_of == made.id


async def test_a_set_brings_every_item_on_every_model(client):
    """Items times models, each picture whole, one summary."""
    steps = await collect(client.generate_set("a fox", {"a": "at dawn", "b": "at dusk"}, [GPT, NANO], preview_count=0))

    pictures = [
        (s.item_key, s.model) for s in steps if isinstance(s, pictor.SetStep) and isinstance(s.event, pictor.Image)
    ]
    assert sorted(pictures) == [("a", NANO), ("a", GPT), ("b", NANO), ("b", GPT)]
    assert isinstance(steps[0], pictor.SetAccepted)
    assert steps[-1].raw.summary.succeeded_count == 4
    listed = [made.message.lineage.item_key async for made in client.history(set_id=steps[0].set_id)]
    assert sorted(listed) == ["a", "a", "b", "b"]


async def test_a_repeated_set_brings_its_pictures_after_the_logs_are_gone():
    """The same set under the same `request_id`, minutes after its end: every picture again, none paid again."""
    later_s = 0.0
    started = gateway(outside=app.Outside(clock=lambda: time.monotonic() + later_s))
    async with started as running, pictor.Client(running.app.address) as client:

        async def pictures():
            steps = client.generate_set("a fox", {"a": "at dawn", "b": "at dusk"}, request_id="s", preview_count=0)
            events = [(s.item_key, s.event) async for s in steps if isinstance(s, pictor.SetStep)]
            return {key: event.data for key, event in events if isinstance(event, pictor.Image)}

        first = await pictures()
        later_s = 301.0
        again = await pictures()

    assert sorted(first) == ["a", "b"]
    assert again == first
    assert len(running.sandbox.charges) == 2


async def test_watching_brings_what_the_stream_brought(client):
    """A second reader sees the same log; one who comes back sees only what is new."""
    events = await collect(client.stream("a red fox", preview_count=0))
    generation_id = events[0].generation_id

    again = await collect(client.watch(generation_id))
    rest = await collect(client.watch(generation_id, after_sequence=events[-2].sequence))

    assert [event.raw for event in again] == [event.raw for event in events]
    assert [type(event) for event in rest] == [pictor.Completed]


async def test_a_reader_that_leaves_finds_its_picture_later(running, client):
    """Leaving after the engine was called does not stop it; `watch` brings the picture, and it was paid for once."""
    stream = client.stream("a red fox", tier="pro")
    async for event in stream:
        if isinstance(event, pictor.Preview):
            break
    await stream.aclose()

    events = await collect(client.watch((await anext(client.history())).id))

    assert next(each for each in events if isinstance(each, pictor.Image)).data
    assert len([charge for charge in running.sandbox.charges if charge.billed]) == 1


async def test_the_same_request_id_is_paid_once(running, client):
    """Two calls at once join, a later one replays."""
    first, second = await asyncio.gather(
        client.generate("a red fox", request_id="mine"), client.generate("a red fox", request_id="mine")
    )
    third = await client.generate("a red fox", request_id="mine")

    assert first.id == second.id == third.id == (await client.get(request_id="mine")).id
    assert third.message.replayed
    assert len([charge for charge in running.sandbox.charges if charge.billed]) == 1


async def test_a_lost_connection_brings_the_picture_and_pays_once(running, kind):
    """The line breaks while the engine draws: a unary call goes on by its id over a new one."""
    running.sandbox.faults.add("stall", times=1)
    async with cable(running.app.address) as line, connected(kind, line.address) as client:
        pending = asyncio.ensure_future(client.generate("a red fox"))
        await running.sandbox.wait_for_stalls(1)
        line.cut()
        running.sandbox.release_stalls()
        made = await pending

    assert hashlib.sha256(made.picture.data).hexdigest() == made.picture.message.sha256
    assert (made.state, len(running.sandbox.requests)) == ("succeeded", 1)


async def test_a_stream_whose_line_is_cut_goes_on(running, kind, monkeypatch):
    """Cut while the engine draws: every event comes once, in order, with previews and picture, and one send is paid."""
    watched, log = asyncio.Event(), running.app.jobs.log

    def noted(generation_id):
        watched.set()
        return log(generation_id)

    async def draw_on():
        await watched.wait()  # or the previews are old when the reader is back, and left out
        running.sandbox.release_stalls()

    monkeypatch.setattr(running.app.jobs, "log", noted)
    running.sandbox.faults.add("stall", times=1)
    async with cable(running.app.address) as line, connected(kind, line.address) as client:
        events = []
        async for event in client.stream("a red fox", tier="pro", preview_count=2):
            events.append(event)
            if isinstance(event, pictor.AttemptStarted):
                await running.sandbox.wait_for_stalls(1)
                line.cut()
                drawing_on = asyncio.create_task(draw_on())
        await drawing_on

    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [type(event).__name__ for event in events[-4:]] == ["Preview", "Preview", "Image", "Completed"]
    assert all(event.data for event in events[-4:-1])
    assert len(running.sandbox.requests) == 1


async def test_a_download_whose_line_is_cut_goes_on_into_its_file(running, kind, tmp_path):
    """A large picture, cut on the way: the file is the whole picture, and nothing else lies beside it."""
    async with cable(running.app.address) as line, connected(kind, line.address) as client:
        made = await client.generate("a wide sea", resolution="4k", ratio="16:9", fetch=False, max_inline_bytes=0)
        line.cut_after(2**20)
        path = await client.download_to(made.picture.id, tmp_path / "sea.jpg")
        assert line.cuts == 1

    assert hashlib.sha256(path.read_bytes()).hexdigest() == made.picture.message.sha256
    assert list(tmp_path.iterdir()) == [path]


async def test_a_gateway_that_forgot_a_generation_is_not_asked_to_draw_it_again(running, kind):
    """A lost call finds another process at its address: the error says that money may be spent, and no more is."""
    running.sandbox.faults.add("stall", times=1)
    async with (
        gateway() as restarted,
        cable(running.app.address) as line,
        connected(kind, line.address) as client,
    ):
        pending = asyncio.ensure_future(client.generate("a red fox"))
        await running.sandbox.wait_for_stalls(1)
        line.plug(restarted.app.address)
        line.cut()
        with pytest.raises(pictor.PictorError, match="does not know generation") as caught:
            await pending

    assert (caught.value.code, caught.value.paid) == (grpc.StatusCode.UNAVAILABLE, True)
    assert (len(running.sandbox.requests), len(restarted.sandbox.requests)) == (1, 0)


async def test_errors_name_reason_and_field(client):
    """What the gateway refuses comes as one exception with everything in it."""
    with pytest.raises(pictor.PictorError) as caught:
        await client.generate("a red fox", ratio="99:1")

    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "RATIO_INVALID")
    assert [violation.field for violation in error.violations] == ["canvas.ratio"]


async def test_plan_names_candidates_and_spends_nothing(running, client):
    """The same options as `generate`; nothing is sent."""
    answer = await client.plan("a red fox", tier="pro", excluded_models=[GPT])

    assert [(each.model, each.reason) for each in answer.plan.exclusions] == [(GPT, "caller_excluded")]
    assert [each.model for each in answer.plan.candidates] == [NANO]
    assert running.charged_nanos() == 0


async def test_operators_switch_providers(client):
    """A disabled provider is no candidate until it is enabled again."""
    await client.set_provider_state(provider="gemini", state="disabled", reason="bad pictures", for_s=60)
    away = await client.plan("a red fox")
    await client.set_provider_state("gemini", "enabled")
    back = await client.plan("a red fox")

    assert away.plan.candidates[0].model == GPT
    assert back.plan.candidates[0].model == NANO
    assert [each.sandbox for each in (await client.providers()).providers] == [True, True]
    assert {each.id for each in (await client.models()).models} >= {GPT, NANO}
    assert "instagram/story" in {each.id for each in (await client.formats()).formats}


# --- a set whose line is cut


SMALL = {"resolution": "512", "model": NANO, "preview_count": 0}
ITEMS = {f"slide-{number}": f"a fox on slide {number}" for number in range(1, 7)}


def drawn_once(running, steps):
    """Whether each item came once, whole, in order and was paid for once."""
    images = [s for s in steps if isinstance(s, pictor.SetStep) and isinstance(s.event, pictor.Image)]
    ends = [s.item_key for s in steps if isinstance(s, pictor.SetStep) and isinstance(s.event, pictor.Completed)]
    assert sorted(step.item_key for step in images) == sorted(ends) == sorted(ITEMS)
    for step in images:
        assert hashlib.sha256(step.event.data).hexdigest() == step.event.picture.message.sha256
    assert [type(step) for step in steps].count(pictor.SetAccepted) == 1
    assert [type(step) for step in steps].count(pictor.SetItemFailed) == 0
    assert isinstance(steps[-1], pictor.SetSummary)
    assert (steps[-1].raw.summary.succeeded_count, steps[-1].raw.summary.failed_count) == (len(ITEMS), 0)
    for generation_id in {step.generation_id for step in steps if isinstance(step, pictor.SetStep)}:
        own = [s.event.sequence for s in steps if isinstance(s, pictor.SetStep) and s.generation_id == generation_id]
        assert own == list(range(1, len(own) + 1))
    charged = Counter(request.prompt for request in running.sandbox.requests)
    assert charged == dict.fromkeys(ITEMS.values(), 1)
    assert [charge.billed for charge in running.sandbox.charges] == [True] * len(ITEMS)
    assert steps[-1].raw.summary.cost.amount.nanos == running.charged_nanos()


@pytest.mark.parametrize("size_bytes", [2**12, 2**14, 2**16, 2**17, 2**18])
async def test_a_set_whose_line_is_cut_on_the_way_brings_every_item_once(running, kind, size_bytes):
    """Wherever it breaks: the rest comes over a new connection, nothing twice, one charge for each item."""
    async with cable(running.app.address) as line, connected(kind, line.address) as client:
        line.cut_after(size_bytes)
        steps = await collect(client.generate_set("a fox", ITEMS, **SMALL))

    assert line.cuts == 2  # and when it was taken away
    drawn_once(running, steps)


async def test_a_set_that_is_cut_while_every_engine_draws_is_joined(running, kind):
    """All items are sent and none is there; the set that is asked for again waits for the same calls."""
    running.sandbox.faults.add("stall", times=len(ITEMS))
    async with cable(running.app.address) as line, connected(kind, line.address) as client:
        pending = asyncio.ensure_future(collect(client.generate_set("a fox", ITEMS, **SMALL)))
        await running.sandbox.wait_for_stalls(len(ITEMS))
        line.cut()
        running.sandbox.release_stalls()
        steps = await pending

    drawn_once(running, steps)


async def test_what_was_not_sent_when_the_line_was_cut_is_drawn_after_it(running, kind):
    """The gateway took us for gone and cancelled what waited; nobody is told so, and everything is drawn once."""
    running.sandbox.faults.add("rate_limit", provider="gemini", times=1, args={"retry_delay": "20s"})
    steps, all_wait = [], asyncio.Event()

    async def draw(client):
        async for step in client.generate_set("a fox", ITEMS, **SMALL):
            steps.append(step)
            queued = [s for s in steps if isinstance(s, pictor.SetStep) and isinstance(s.event, pictor.Queued)]
            if len(queued) == len(ITEMS):
                all_wait.set()

    async with cable(running.app.address) as line, connected(kind, line.address) as client:
        with pytest.raises(pictor.PictorError):
            await client.generate("the first, which the engine answers by asking for a pause", **SMALL)
        drawing = asyncio.create_task(draw(client))
        await all_wait.wait()
        line.cut()
        for generation_id in {step.generation_id for step in steps if isinstance(step, pictor.SetStep)}:
            await running.app.jobs.log(generation_id).completed()
        async with pictor.Client(running.app.address) as operator:
            await operator.set_provider_state("gemini", "enabled")  # ends the pause
        await drawing

    images = [s for s in steps if isinstance(s, pictor.SetStep) and isinstance(s.event, pictor.Image)]
    assert sorted(step.item_key for step in images) == sorted(ITEMS)
    assert [type(step) for step in steps].count(pictor.SetItemFailed) == 0
    assert (steps[-1].raw.summary.succeeded_count, steps[-1].raw.summary.failed_count) == (len(ITEMS), 0)
    charged = Counter(request.prompt for request in running.sandbox.requests if request.prompt in ITEMS.values())
    assert charged == dict.fromkeys(ITEMS.values(), 1)
    assert sum(charge.billed for charge in running.sandbox.charges) == len(ITEMS)


async def test_a_set_of_a_gateway_that_forgot_it_is_not_drawn_again(running, kind):
    """Another process at the address: the error names set and request id, says that money may be spent; none is."""
    running.sandbox.faults.add("stall", times=len(ITEMS))
    async with (
        gateway() as restarted,
        cable(running.app.address) as line,
        connected(kind, line.address) as client,
    ):
        pending = asyncio.ensure_future(collect(client.generate_set("a fox", ITEMS, request_id="slides", **SMALL)))
        await running.sandbox.wait_for_stalls(len(ITEMS))
        line.plug(restarted.app.address)
        line.cut()
        with pytest.raises(
            pictor.Unavailable, match="the connection was lost, and the gateway that answers now does not know set"
        ) as caught:
            await pending

    error = caught.value
    assert (error.paid, error.request_id, error.metadata["request_id"]) == (True, "slides", "slides")
    assert error.metadata["set_id"].startswith("set_")
    assert error.metadata["set_id"] in error.message
    assert len(restarted.sandbox.requests) == 0
