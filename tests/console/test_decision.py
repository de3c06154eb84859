"""The page of one generation: why this engine, who else, what attempts cost; and the stream of one that is drawn."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import httpx2

import samples
from browsing import DESKTOP
from gateway import GPT, NANO, gateway
from pictor.v1.image_pb2 import TIER_PRO
from pictor.v1.image_service_pb2 import GenerateRequest, GenerateStreamRequest, RerollRequest
from pictord.auth.callers import hash_key
from pictord.catalog import catalog
from pictord.console.pages.decision import sentence, spans, tried
from pictord.domain.generation import Timings
from pictord.domain.money import format_usd
from pictord.sandbox import SandboxSettings
from pictord.settings import CallerTable
from served import serving

MODELS = catalog.load().models
WEB, OTHER = "pictor_web-key", "pictor_other-key"
CALLERS = (CallerTable("web", (hash_key(WEB),)), CallerTable("other", (hash_key(OTHER),)))


# --- in words


def test_the_sentence_says_who_drew_and_why():
    """The first choice, the fallback, and nobody."""
    first, other = samples.candidate(), samples.candidate(model=NANO, provider="gemini")
    generation = samples.generation(plan=replace(samples.plan(first, other), row="pro"))

    def drawn_by(model):
        image = samples.image(model=model)
        return sentence(replace(generation, outputs=(replace(generation.outputs[0], image=image),)), MODELS)

    begin = "Row pro matched (tier Pro, or high quality is asked for), so GPT Image 2 comes first"
    assert sentence(generation, MODELS) == f"{begin}."
    assert drawn_by(GPT) == f"{begin}, and drew."
    assert drawn_by(NANO) == f"{begin}; it brought nothing, so Nano Banana 2 drew."


def test_the_time_is_shown_in_its_parts():
    """They fill the bar exactly; a generation that is drawn has none."""
    timings = Timings(queue_s=1.0, provider_s=6.0, store_s=2.0, overhead_s=1.0)
    ended = samples.generation(timings=timings, finish_time=samples.NOON + timedelta(seconds=10))

    assert [(each.name, each.start, each.width) for each in spans(ended)] == [
        ("queue", 0.0, 10.0),
        ("engine", 10.0, 60.0),
        ("store", 70.0, 20.0),
        ("gateway", 90.0, 10.0),
    ]
    assert spans(replace(ended, finish_time=None)) == []


def test_attempts_are_in_order_with_the_time_since_they_were_sent():
    """One that was never sent has none."""
    sent = samples.attempt("att_2", index=1, sent_time=samples.NOON, finish_time=samples.NOON + timedelta(seconds=3))
    generation = samples.generation(attempts=(sent, samples.attempt("att_1")))

    assert [(each.attempt.id, each.seconds) for each in tried(generation, MODELS)] == [("att_1", None), ("att_2", 3.0)]


# --- the page


def test_everything_about_a_failover_is_there(browser):
    """Row, candidates with prices, the failed attempt and the one that drew, the adaptation, and who came of it."""

    async def draw(running):
        running.sandbox.faults.add("overloaded", provider="openai", times=1)
        answer = await running.images.Generate(GenerateRequest(prompt="over to you", tier=TIER_PRO, max_inline_bytes=0))
        async for response in running.images.Reroll(RerollRequest(generation_id=answer.generation.id, model=GPT)):
            child = response.event.completed.generation.id or ""
        return answer.generation, child

    with serving(sandbox=SandboxSettings(time_scale=0)) as served:
        generation, child = served.run(draw)
        browser.look_like(DESKTOP)
        browser.forget()
        browser.open(f"{served.url}/generations/{generation.id}")
        browser.until(browser.pictures_shown, "the picture")

        told = browser.read(".told")
        assert "so GPT Image 2 comes first; it brought nothing, so Nano Banana 2 drew." in told
        assert "overloaded" in told
        assert format_usd(generation.cost.amount.nanos) in told
        assert "Not at the best quality" in told
        assert generation.id in told
        assert len(browser.all("[aria-labelledby=attempts] li")) == 2
        assert browser.one(".relatives .mat").attribute("href") == f"/generations/{child}"
        assert browser.complaints() == []


def test_one_that_is_drawn_is_shown_live_and_then_whole(browser):
    """The page becomes that of the finished picture by itself."""

    async def begin(running):
        running.sandbox.faults.add("stall", times=1)
        call = running.images.GenerateStream(stream_of("slow fox"))
        await running.sandbox.wait_for_stalls(1)
        return call, dict(await call.initial_metadata())["pictor-generation-id"]

    async def end(running):
        running.sandbox.release_stalls()

    with serving(sandbox=SandboxSettings(time_scale=0)) as served:
        _call, generation_id = served.run(begin)
        browser.look_like(DESKTOP)
        browser.forget()
        browser.open(f"{served.url}/generations/{generation_id}")
        browser.until(lambda: browser.shows("Nano Banana 2 is drawing"), "the drawing")
        served.run(end)
        browser.until(lambda: browser.shows("Where the time went"), "the end")
        browser.until(browser.pictures_shown, "the picture")
        assert "Succeeded" in browser.read(".told")
        assert browser.complaints() == []


def stream_of(prompt, **options):
    return GenerateStreamRequest(request=GenerateRequest(prompt=prompt, max_inline_bytes=0, **options))


# --- the stream


@asynccontextmanager
async def console(**settings):
    async with (
        gateway(http_listen="127.0.0.1:0", **settings) as running,
        httpx2.AsyncClient(base_url=f"http://{running.app.http_address}") as client,
    ):
        yield running, client


def events(text):
    """The stream as (id, event) pairs; its comments are left out."""
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()[:2]) for block in text.strip().split("\n\n")]
    return [(int(each["id"]), each["event"]) for each in blocks if "id" in each]


async def test_the_stream_tells_the_log_and_goes_on_where_it_was_left():
    """By the browser's own Last-Event-ID; whoever has seen everything gets the end once more."""
    async with console() as (running, client):
        answer = await running.images.Generate(GenerateRequest(prompt="told", tier=TIER_PRO, preview_count=2))
        path = f"/generations/{answer.generation.id}/events"
        whole = await client.get(path)
        rest = await client.get(path, headers={"Last-Event-ID": "4"})
        again = await client.get(path, headers={"Last-Event-ID": "99"})
        odd = await client.get(path, headers={"Last-Event-ID": "-1"})

        told = events(whole.text)
        assert whole.headers["content-type"].startswith("text/event-stream")
        assert told[0] == (1, "progress")
        assert [name for _, name in told].count("stage-0") == 4  # an empty canvas, two previews, the picture
        assert told[-1][1] == "completed"
        assert events(rest.text) == [each for each in told if each[0] > 4]
        assert events(again.text) == told[-1:]
        assert events(odd.text) == told


async def test_previews_are_bytes_of_the_log_and_nothing_else_is():
    """Byte for byte while it is drawn; a finished picture is no preview, and no sequence is waited for."""
    async with console() as (running, client):
        call = running.images.GenerateStream(stream_of("shown early", tier=TIER_PRO, preview_count=1))
        seen, generation_id = {}, None
        async for response in call:
            event = response.event
            if event.HasField("accepted"):
                generation_id = event.accepted.generation_id
            if event.HasField("image"):
                path = f"/generations/{generation_id}/previews/{event.sequence}"
                assert (await client.get(path)).status_code == 404
            if event.HasField("preview_chunk"):
                seen.setdefault(event.sequence, b"")
                seen[event.sequence] += event.preview_chunk.data
                if event.preview_chunk.last:
                    shown = await client.get(f"/generations/{generation_id}/previews/{event.sequence}")
                    assert shown.content == seen[event.sequence]
                    assert shown.headers["content-type"] == "image/png"
        assert len(seen) == 1
        for sequence in (0, 1, 99):
            assert (await client.get(f"/generations/{generation_id}/previews/{sequence}")).status_code == 404


async def test_anothers_generation_does_not_exist():
    """Neither its page, nor its events, nor its previews; and it cannot be stopped or asked for again."""
    async with console(callers=CALLERS) as (running, client):
        request = GenerateRequest(prompt="mine", max_inline_bytes=0)
        answer = await running.images.Generate(request, metadata=(("x-api-key", OTHER),))
        page = await client.get("/sign-in")
        token = page.text.partition('"X-Form-Token": "')[2].partition('"')[0]
        await client.post("/sign-in", data={"form_token": token, "key": WEB})
        page = await client.get("/history")
        token = page.text.partition('"X-Form-Token": "')[2].partition('"')[0]

        base = f"/generations/{answer.generation.id}"
        for path in (base, f"{base}/events", f"{base}/previews/3", f"/create?from={answer.generation.id}"):
            assert (await client.get(path)).status_code == 404, path
        assert (await client.post(f"{base}/cancel", headers={"X-Form-Token": token})).status_code == 404
