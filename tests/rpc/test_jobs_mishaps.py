"""What happens around a paid picture when something else goes wrong: nobody hangs, nothing is hidden, nothing leaks."""

import asyncio
import errno
import gc
import io
import logging
from functools import partial

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

import gateway as door
from full_disk import filling_disk
from gateway import GPT, NANO, Gateway, gateway, openai_account, refusal
from pictor.v1 import image_pb2
from pictor.v1.generation_pb2 import Adaptation
from pictor.v1.generation_pb2 import Generation as GenerationMessage
from pictor.v1.history_service_pb2 import (
    CancelGenerationRequest,
    DeleteGenerationsRequest,
    DownloadImageRequest,
    GetGenerationRequest,
    ListGenerationsRequest,
    WatchGenerationRequest,
)
from pictor.v1.image_service_pb2 import EditRequest, EditStreamRequest, GenerateRequest, GenerateStreamRequest
from pictord.app import Outside
from pictord.jobs.crash_points import CrashPoint
from pictord.settings import OpenAIAccount, Quota
from turn import Turn

DONE, FAILED = GenerationMessage.STATE_SUCCEEDED, GenerationMessage.STATE_FAILED


def fault(text: str) -> tuple[tuple[str, str], ...]:
    return (("x-sandbox-fault", text),)


async def draw(pictor: Gateway, *, metadata=None, timeout=None, **fields) -> GenerationMessage:
    request = GenerateRequest(**({"prompt": "a red fox"} | fields))
    return (await pictor.images.Generate(request, metadata=metadata, timeout=timeout)).generation


def streamed(prompt: str, **fields) -> GenerateStreamRequest:
    return GenerateStreamRequest(request=GenerateRequest(prompt=prompt, **fields))


async def download(pictor: Gateway, generation: GenerationMessage) -> bytes:
    parts = pictor.history.DownloadImage(DownloadImageRequest(image_id=generation.outputs[0].image.id))
    return b"".join([part.chunk.data async for part in parts])


async def error_of(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def refused(call) -> door.Refusal:
    return refusal(await error_of(call))


async def read(call) -> list[str]:
    return [response.event.WhichOneof("event") async for response in call]


def retry_info_s(error: grpc.aio.AioRpcError) -> float | None:
    """The seconds of the RetryInfo among the error's details."""
    for detail in rpc_status.from_call(error).details:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.ToTimedelta().total_seconds()
    return None


def png(size: int = 64) -> bytes:
    holder = io.BytesIO()
    Image.new("RGB", (size, size), "red").save(holder, "PNG")
    return holder.getvalue()


def failing(error: OSError):
    async def fail(*_, **__):
        raise error

    return fail


FULL = OSError(errno.ENOSPC, "No space left on device")


# The store


async def test_a_store_that_fails_at_the_end_keeps_nobody_waiting():
    """The picture is paid and at hand: the caller and the watchers get it, whatever the record says."""
    async with gateway() as pictor:
        pictor.app.store.finish = failing(OSError(errno.EIO, "Input/output error"))

        generation = await draw(pictor, request_id="r-1")

        watching = pictor.history.WatchGeneration(WatchGenerationRequest(generation_id=generation.id))
        assert (await read(watching))[-1] == "completed"
    assert generation.state == DONE
    assert generation.outputs[0].image.data
    assert generation.cost.amount.nanos == pictor.charged_nanos()


async def test_a_picture_that_cannot_be_stored_is_delivered_and_raises_the_alarm(caplog):
    """It is paid for: whoever waits gets it, and a person is told."""
    async with gateway() as pictor:
        pictor.app.store._pictures._assets.put = failing(FULL)

        generation = await draw(pictor)

    assert generation.outputs[0].image.data
    (alarm,) = [each for each in caplog.records if each.getMessage().startswith("ALERT not_stored")]
    assert "No space left on device" in alarm.getMessage()


async def test_a_picture_that_cannot_be_stored_is_stored_by_the_next_start(tmp_path):
    """It had been written down as arrived, so a disk or a bucket that was full for a moment loses nothing."""
    async with gateway(data_dir=tmp_path) as pictor:
        pictor.app.store._pictures._assets.put = failing(FULL)
        drawn = await draw(pictor)

    async with gateway(data_dir=tmp_path) as pictor:
        data = await download(pictor, drawn)

    assert data == drawn.outputs[0].image.data
    assert [*(tmp_path / "arrived").iterdir()] == []


async def test_a_picture_that_could_not_be_stored_is_stored_once_there_is_room(tmp_path):
    """Nobody need restart anything; until then its generation has not ended, and is not deleted."""
    turn = Turn()
    async with gateway(data_dir=tmp_path, outside=Outside(sleep=turn.wait)) as pictor:
        pictures = pictor.app.store._pictures._assets
        put, pictures.put = pictures.put, failing(FULL)
        drawn = await draw(pictor)
        asked = DeleteGenerationsRequest(generation_ids=[drawn.id])
        deleted = await pictor.history.DeleteGenerations(asked)
        pictures.put = put
        turn.comes.set()
        await pictor.app.jobs.running_ended()
        found = await pictor.history.GetGeneration(GetGenerationRequest(generation_id=drawn.id, max_inline_bytes=10**8))
        await pictor.history.DeleteGenerations(asked)
        gone = await refused(download(pictor, drawn))

        assert [each.kind for each in drawn.adaptations] == [Adaptation.KIND_NOT_STORED]
        assert list(deleted.running_ids) == [drawn.id]
        assert found.generation.outputs[0].image.data == drawn.outputs[0].image.data
        assert not found.generation.adaptations
        assert [*(tmp_path / "arrived").iterdir()] == []
        assert gone.reason == "EXPIRED"


async def test_on_a_disk_that_fills_up_nothing_paid_is_lost(tmp_path, caplog):
    """Database and pictures on one disk: whoever waits gets the picture, and all is kept once there is room again."""
    turn = Turn()
    with filling_disk(tmp_path / "disk", 24 * 2**20) as disk:
        data, is_reached = disk.path / "data", []

        def fill(point: CrashPoint) -> None:
            if point is CrashPoint.AFTER_RESPONSE and not is_reached:
                is_reached.append(True)
                disk.fill()

        outside = Outside(sleep=turn.wait, reached=fill, free_share=lambda _: 0.0 if disk.is_full else 1.0)
        async with gateway(data_dir=data, outside=outside) as pictor:
            told = [each.event async for each in pictor.images.GenerateStream(streamed("kept", request_id="r-1"))]
            joined = await draw(pictor, prompt="kept", request_id="r-1")
            running = await pictor.get(joined.id)
            from_memory = await download(pictor, joined)
            too_late = await refused(draw(pictor, prompt="another"))
            left = [*(data / "arrived").iterdir()]
            disk.make_room()
            turn.comes.set()
            await pictor.app.jobs.running_ended()
            replayed = await draw(pictor, prompt="kept", request_id="r-1")

            assert told[-1].completed.generation.id == joined.id == replayed.id
            assert [each.kind for each in joined.adaptations] == [Adaptation.KIND_NOT_STORED]
            assert b"".join(each.image_chunk.data for each in told) == joined.outputs[0].image.data != b""
            assert from_memory == joined.outputs[0].image.data
            assert (running.state, left) == (GenerationMessage.STATE_RUNNING, [])
            assert (too_late.reason, "paid" in too_late.metadata) == ("STORE_FULL", False)
            assert (replayed.state, replayed.replayed, [*replayed.adaptations]) == (DONE, True, [])
            assert await download(pictor, replayed) == joined.outputs[0].image.data
            assert replayed.cost.amount.nanos == joined.cost.amount.nanos == pictor.charged_nanos() > 0
            assert len(pictor.sandbox.charges) == 1
    assert len([each for each in caplog.records if each.getMessage().startswith("ALERT not_stored")]) == 1


async def test_a_picture_that_cannot_be_stored_waits_for_its_sibling_to_be_told():
    """A generation of two is answered when there is something to say of both, and ends when both are kept."""
    turn, go_on = Turn(), asyncio.Event()
    async with gateway(outside=Outside(sleep=turn.wait)) as pictor:
        store, pictures, sends = pictor.app.store, pictor.app.store._pictures._assets, []
        mark_sent, (put, pictures.put) = store.mark_sent, (pictures.put, failing(FULL))

        async def second_waits(*arguments) -> None:
            sends.append(arguments)
            if len(sends) == 2:
                await go_on.wait()
            await mark_sent(*arguments)

        store.mark_sent = second_waits
        asked = asyncio.ensure_future(pictor.images.Generate(GenerateRequest(prompt="two", count=2)))
        await turn.is_awaited.wait()
        (running,) = (await pictor.history.ListGenerations(ListGenerationsRequest())).generations
        log = pictor.app.jobs.log(running.id)
        was_told = log.is_complete
        go_on.set()
        told = (await asked).generation
        pictures.put = put
        turn.comes.set()
        await pictor.app.jobs.running_ended()
        kept = await pictor.get(told.id)

        assert not was_told
        assert [bool(output.image.data) for output in told.outputs] == [True, True]
        assert (kept.state, kept.cost.amount.nanos) == (DONE, pictor.charged_nanos())
        assert [each.image.sha256 for each in kept.outputs] == [each.image.sha256 for each in told.outputs]


async def test_a_picture_is_told_of_only_after_its_reader_has_it():
    """Of two that cannot be stored, one is refused for long before the other is refused at all."""
    turn, shas = Turn(), []
    async with gateway(outside=Outside(sleep=turn.wait)) as pictor:
        pictures = pictor.app.store._pictures._assets

        async def first_fails_first(_data: bytes, sha256: str) -> None:
            shas.append(sha256)
            if sha256 != shas[0]:
                await turn.is_awaited.wait()
            raise FULL

        put, pictures.put = pictures.put, first_fails_first
        request = streamed("two", count=2)
        events = [each.event async for each in pictor.images.GenerateStream(request)]
        told = events[-1].completed.generation
        pictures.put = put
        turn.comes.set()
        await pictor.app.jobs.running_ended()
        kept = await pictor.get(told.id)

        shown = {each.image.image.id for each in events if each.WhichOneof("event") == "image"}
        assert shown == {output.image.id for output in told.outputs} == {output.image.id for output in kept.outputs}
        assert (kept.state, kept.cost.amount.nanos) == (DONE, pictor.charged_nanos())


async def test_who_waits_when_the_process_ends_gets_the_picture_that_could_not_be_stored():
    """However short the store has been away."""
    turn = Turn(patience_s=0.0)
    async with gateway(outside=Outside(sleep=turn.wait)) as pictor:
        pictor.app.store._pictures._assets.put = failing(FULL)
        asked = asyncio.ensure_future(draw(pictor))
        await turn.is_awaited.wait()
        await pictor.app.drain()

        assert (await asked).outputs[0].image.data


async def test_what_is_not_kept_when_the_process_ends_is_told_and_never_called_a_success(tmp_path):
    """Neither disk nor `arrived` took it: it stays unknown at its estimate, and its caller has had it."""
    async with gateway(data_dir=tmp_path, outside=Outside(sleep=Turn().wait)) as pictor:
        pictor.app.store._pictures._assets.put = failing(FULL)
        (tmp_path / "arrived").rmdir()
        drawn = await draw(pictor)
        (tmp_path / "arrived").mkdir()

    async with gateway(data_dir=tmp_path) as pictor:
        found = await pictor.get(drawn.id)

    assert drawn.outputs[0].image.data
    assert (found.state, found.reason) == (FAILED, "SHUTTING_DOWN")
    assert found.cost.basis == image_pb2.COST_BASIS_UNKNOWN


async def test_an_edit_whose_pictures_cannot_be_stored_is_not_sent():
    """Nothing is paid for what could not be drawn again."""
    async with gateway() as pictor:
        pictor.app.store._pictures._assets.put = failing(FULL)
        request = EditRequest(request=GenerateRequest(prompt="a hat"), image=image_pb2.ImageInput(data=png()))

        error = await refused(pictor.images.Edit(request))

        assert error.reason == "STORE_FULL"
        assert len(pictor.sandbox.requests) == 0


# Failover and waiting


async def test_an_unreachable_engine_is_replaced_under_an_ordinary_deadline():
    """The second try at the first engine would not fit into the deadline; the other engine does."""
    nowhere = OpenAIAccount("sk-test", base_url="http://127.0.0.1:1/v1")
    async with gateway(real=True, openai=nowhere) as pictor:
        generation = await draw(pictor, tier=image_pb2.TIER_PRO, timeout=180)

    assert [(each.model, each.outcome) for each in generation.attempts] == [(GPT, "unreachable"), (NANO, "image")]
    assert not generation.attempts[0].HasField("sent_time")
    assert "127.0.0.1" not in str(generation)


async def test_who_joins_keeps_the_fallback_when_the_first_client_leaves():
    """As long as one client waits, its work goes on as if it had been the first."""
    async with gateway() as pictor:
        pictor.sandbox.faults.add("stall", provider="gemini", times=1)
        first = pictor.images.GenerateStream(
            GenerateStreamRequest(request=GenerateRequest(prompt="slow", request_id="r-1")), metadata=None
        )
        generation_id = dict(await first.initial_metadata())["pictor-generation-id"]
        await pictor.sandbox.wait_for_stalls(1)
        second = pictor.images.GenerateStream(
            GenerateStreamRequest(request=GenerateRequest(prompt="slow", request_id="r-1"))
        )
        await second.initial_metadata()
        job = pictor.app.jobs._running[generation_id]

        first.cancel()
        while job._submitters > 1:  # noqa: ASYNC110 - turns of the loop, no wait
            await asyncio.sleep(0)

        assert not job._outputs[0]._withdrawn
        second.cancel()
        while job._submitters:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0)
        assert job._outputs[0]._withdrawn
        pictor.sandbox.release_stalls()


async def test_finish_waits_for_a_slot_longer_than_the_deadline_of_who_left():
    """Submit and leave: the deadline was for the wait of the client."""
    account = partial(openai_account, quota=Quota(max_concurrency=1))
    async with gateway(real=True, gemini=None, openai=account) as pictor:
        await draw(pictor, model=GPT)  # so that the wait for a slot is predicted to be short
        pictor.sandbox.faults.add("stall", times=1)
        running = asyncio.ensure_future(draw(pictor, model=GPT, prompt="slow"))
        await pictor.sandbox.wait_for_stalls(1)
        request = GenerateRequest(prompt="queued", model=GPT, on_disconnect=image_pb2.ON_DISCONNECT_FINISH)
        queued = pictor.images.GenerateStream(GenerateStreamRequest(request=request), timeout=200)
        generation_id = dict(await queued.initial_metadata())["pictor-generation-id"]
        async for response in queued:
            if response.event.WhichOneof("event") == "queued":
                break
        queued.cancel()

        assert pictor.app.jobs._running[generation_id]._outputs[0]._deadline is None
        pictor.sandbox.release_stalls()
        await running
        watching = pictor.history.WatchGeneration(WatchGenerationRequest(generation_id=generation_id))
        assert (await read(watching))[-1] == "completed"


async def test_cancelling_before_the_queue_is_entered_does_not_queue():
    """While the pictures of an edit are being stored it can be withdrawn as well as in the queue."""
    async with gateway() as pictor:
        pictor.app.guards.disable("openai", "for this test")
        pictor.sandbox.faults.add("rate_limit", provider="gemini", times=1, args={"retry_delay": "20s"})
        await error_of(draw(pictor))
        stored, put = asyncio.Event(), pictor.app.store._pictures._assets.put

        async def slow(data: bytes) -> str:
            await stored.wait()
            return await put(data)

        pictor.app.store._pictures._assets.put = slow
        request = EditRequest(request=GenerateRequest(prompt="a hat"), image=image_pb2.ImageInput(data=png()))
        editing = pictor.images.EditStream(EditStreamRequest(request=request))
        generation_id = dict(await editing.initial_metadata())["pictor-generation-id"]
        cancelling = asyncio.ensure_future(
            pictor.history.CancelGeneration(CancelGenerationRequest(generation_id=generation_id))
        )
        while not pictor.app.jobs._running[generation_id]._outputs[0]._withdrawn:  # noqa: ASYNC110 - turns of the loop
            await asyncio.sleep(0)
        stored.set()

        async with asyncio.timeout(10):  # the freeze lasts 20 s
            answer = await cancelling

        assert answer.generation.state == GenerationMessage.STATE_CANCELLED


async def test_a_call_that_waits_at_the_end_of_the_drain_may_try_another_server():
    """It cost nothing: UNAVAILABLE with SHUTTING_DOWN, not CANCELLED."""
    async with gateway(drain_s=0.0) as pictor:
        pictor.app.guards.disable("openai", "for this test")
        pictor.sandbox.faults.add("rate_limit", provider="gemini", times=1, args={"retry_delay": "20s"})
        await error_of(draw(pictor))
        queued = pictor.images.GenerateStream(GenerateStreamRequest(request=GenerateRequest(prompt="queued")))
        async for response in queued:
            if response.event.WhichOneof("event") == "queued":
                break

        await pictor.app.drain()

        error = await refused(read(queued))
        assert (error.code, error.reason) == ("UNAVAILABLE", "SHUTTING_DOWN")


# What callers are told


async def test_a_rate_limit_at_the_engine_says_when_to_come_back():
    """RetryInfo carries what the engine asked for, also after the call was accepted."""
    async with gateway() as pictor:
        error = await error_of(draw(pictor, model=NANO, metadata=fault("gemini:rate_limit;retry_delay=7s")))

        assert refusal(error).reason == "RATE_LIMITED"
        assert retry_info_s(error) == pytest.approx(7.0, abs=0.1)


async def test_money_that_may_be_spent_invites_nobody_back():
    """After a lost answer there is no RetryInfo, whatever the other engine said."""
    async with gateway() as pictor:
        pictor.sandbox.faults.add("reset_before_response", provider="gemini", times=1)
        pictor.sandbox.faults.add("rate_limit", provider="openai", times=1, args={"retry_after": "7"})
        error = await error_of(draw(pictor))

        assert refusal(error).reason == "PROVIDER_FAILED"
        assert retry_info_s(error) is None


async def test_what_engines_say_about_our_account_stays_with_us(caplog):
    """The caller learns what it means for him; the words are in the log."""
    caplog.set_level(logging.INFO)
    async with gateway() as pictor:
        error = await refused(draw(pictor, model=GPT, metadata=fault("openai:rate_limit;retry_after=7")))

        assert "organization" not in error.text
        assert "the engine's rate limit is reached" in error.text
        record = await pictor.history.GetGeneration(
            GetGenerationRequest(generation_id=error.trailers["pictor-generation-id"])
        )
        assert "organization" not in str(record)
    assert any("organization" in each.getMessage() for each in caplog.records)


async def test_a_picture_of_other_pixels_than_planned_says_so(caplog):
    """The engine drew what it liked: the answer names the difference, and with EXACT a person is told."""
    async with gateway() as pictor:
        generation = await draw(
            pictor, metadata=fault("gemini:odd_pixels"), fidelity=image_pb2.FIDELITY_EXACT, model=NANO
        )

    picture = generation.outputs[0].image
    (difference,) = generation.adaptations
    assert difference.kind == Adaptation.KIND_SIZE_CHANGED
    assert difference.delivered == f"{picture.width_px}x{picture.height_px}"
    assert any("ALERT not_as_planned" in each.getMessage() for each in caplog.records)


async def test_a_drain_waits_for_what_is_being_accepted():
    """Nor is anything accepted that only asked whether it had been there before."""
    async with gateway(drain_s=30.0) as pictor:
        store = pictor.app.store
        has_come, asked, go_on, wait = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()
        open_, claimed = store.open, store.claimed

        async def opens_late(opening):
            has_come.set()
            await go_on.wait()
            return await open_(opening)

        async def answers_late(*arguments):
            asked.set()
            await wait.wait()
            return await claimed(*arguments)

        store.open, store.claimed = opens_late, answers_late
        accepted = asyncio.ensure_future(pictor.images.Generate(GenerateRequest(prompt="a fox")))
        too_late = asyncio.ensure_future(pictor.images.Generate(GenerateRequest(prompt="a fox", request_id="r1")))
        await asyncio.gather(has_come.wait(), asked.wait())

        draining = asyncio.create_task(pictor.app.jobs.drain(30.0))
        await asyncio.sleep(0)
        go_on.set()
        await draining

        assert pictor.app.jobs.running_count == 0
        assert (await accepted).generation.state == DONE
        wait.set()
        assert refusal(await error_of(too_late)).reason == "SHUTTING_DOWN"
        assert len(pictor.sandbox.charges) == 1


async def test_what_has_ended_leaves_no_cycle():
    """It is freed at once: a garbage collection that has to free what thousands of calls left stops everybody."""
    async with gateway() as pictor:
        await draw(pictor)
        await pictor.app.jobs.running_ended()
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(5):
                await draw(pictor)
            await pictor.app.jobs.running_ended()
            gc.collect()
            ours = [type(each).__name__ for each in gc.garbage if type(each).__module__.startswith("pictord.")]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    assert ours == []
