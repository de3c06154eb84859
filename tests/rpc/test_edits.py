"""Edits through the door: masks that hold or are told, where the picture comes from, and drawing an edit again."""

import io
from collections.abc import AsyncIterator

import grpc
import pytest
from PIL import Image as Picture
from PIL import ImageChops, ImageDraw

from gateway import GPT, NANO, Gateway, gateway, refusal
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1.generation_pb2 import Adaptation, Generation

SIZE = (1024, 1024)
"""What both engines draw for 1:1 at 1K, so that an edit keeps the picture's pixels."""
HOLE = (256, 128, 640, 448)
"""The box that the mask opens: left, top, right, bottom; right and bottom are outside."""
PROMPT = "  Put a sign into the marked place — „OPEN“\n"


@pytest.fixture
async def pictor() -> AsyncIterator[Gateway]:
    async with gateway() as running:
        yield running


def png(picture: Picture.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def photo(size=SIZE) -> Picture.Image:
    """Noise: every pixel that is painted over shows."""
    return Picture.merge("RGB", [Picture.effect_noise(size, 90) for _ in range(3)])


PHOTO = png(photo())


def mask(size=SIZE, hole=HOLE) -> bytes:
    """Opaque, which protects, with a transparent hole."""
    picture = Picture.new("RGBA", size, (0, 0, 0, 255))
    ImageDraw.Draw(picture).rectangle((hole[0], hole[1], hole[2] - 1, hole[3] - 1), fill=(0, 0, 0, 0))
    return png(picture)


def opened(data: bytes) -> Picture.Image:
    return Picture.open(io.BytesIO(data))


def given(source: bytes | str) -> image.ImageInput:
    return image.ImageInput(data=source) if isinstance(source, bytes) else image.ImageInput(image_id=source)


async def edited(pictor: Gateway, picture=PHOTO, *, mask=None, metadata=None, **fields) -> Generation:
    request = service.GenerateRequest(**({"prompt": PROMPT, "max_inline_bytes": 2**30} | fields))
    masked = given(mask) if mask is not None else None
    edit = service.EditRequest(request=request, image=given(picture), mask=masked)
    return (await pictor.images.Edit(edit, metadata=metadata)).generation


def drawn(generation: Generation) -> image.Image:
    return generation.outputs[0].image


def kinds(generation: Generation) -> list[str]:
    return [Adaptation.Kind.Name(each.kind).removeprefix("KIND_") for each in generation.adaptations]


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


# Masks


async def test_a_masked_edit_repaints_the_hole_and_not_one_pixel_more(pictor):
    """Unless asked otherwise a mask goes to the engine that enforces it: what it protects is bit-identical."""
    generation = await edited(pictor, mask=mask())

    after, before = opened(drawn(generation).data).convert("RGB"), opened(PHOTO)
    changed = ImageChops.difference(after, before).getbbox()
    assert (generation.decision.row, drawn(generation).model, kinds(generation)) == ("edit", GPT, [])
    assert generation.request.fidelity == image.FIDELITY_EXACT
    assert after.size == before.size == SIZE
    assert changed == HOLE


@pytest.mark.parametrize("size", [(1376, 768), (768, 1376), (1024, 640), (1184, 976)], ids="{0[0]}x{0[1]}".format)
async def test_what_a_mask_protects_stays_where_it_is(pictor, size):
    """Whatever its size on the engine's grid, the picture comes back at it: not one protected pixel moves."""
    before = photo(size)
    generation = await edited(pictor, png(before), mask=mask(size))

    after = opened(drawn(generation).data).convert("RGB")
    assert (drawn(generation).width_px, drawn(generation).height_px) == after.size == size
    assert ImageChops.difference(after, before).getbbox() == HOLE
    assert kinds(generation) == []
    assert generation.cost.amount.nanos == pictor.charged_nanos()


async def test_a_picture_that_would_be_rescaled_is_refused_before_money(pictor):
    """Off the engine's grid no protected pixel could stay, so EXACT refuses, with the nearest size that works."""
    size = (1000, 1000)
    error = await refused(edited(pictor, png(photo(size)), mask=mask(size)))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "NO_EXACT_CANDIDATE")
    assert "SIZE_CHANGED (1000x1000 → 992x992)" in error.text
    assert "or a picture and mask of 992x992" in error.text
    assert list(pictor.sandbox.requests) == []


async def test_a_picture_that_is_rescaled_with_adapt_says_so(pictor):
    """With ADAPT the nearest size is drawn, and the generation tells it from the picture's."""
    size = (1000, 1000)
    generation = await edited(pictor, png(photo(size)), mask=mask(size), fidelity=image.FIDELITY_ADAPT, model=GPT)

    (said,) = generation.adaptations
    assert (drawn(generation).width_px, drawn(generation).height_px) == (992, 992)
    assert (kinds(generation), said.asked, said.delivered) == (["SIZE_CHANGED"], "1000x1000", "992x992")


async def test_a_mask_is_told_to_an_engine_that_cannot_enforce_it(pictor):
    """With ADAPT Nano Banana 2 gets picture, mask and an instruction; the caller's prompt stays a part of its own."""
    masked = mask()
    generation = await edited(pictor, mask=masked, fidelity=image.FIDELITY_ADAPT)

    (sent,) = pictor.sandbox.requests
    assert (sent.provider, drawn(generation).model, kinds(generation)) == ("gemini", NANO, ["MASK_AS_PROMPT"])
    assert sent.texts[-1] == PROMPT
    assert len(sent.texts) == 2
    assert PROMPT.strip() not in sent.texts[0]
    assert sent.image_sha256 == [generation.request.image_sha256, generation.request.mask_sha256]


async def test_the_instruction_is_the_same_whatever_is_asked(pictor):
    """The added part depends on nothing of the request, so equal requests stay equal."""
    for prompt in ("a hat", "another hat"):
        await edited(pictor, mask=mask(), fidelity=image.FIDELITY_ADAPT, prompt=prompt)

    assert len({sent.texts[0] for sent in pictor.sandbox.requests}) == 1
    assert [sent.texts[1] for sent in pictor.sandbox.requests] == ["a hat", "another hat"]


async def test_a_masked_edit_never_falls_to_an_engine_that_would_repaint_all(pictor):
    """When gpt-image-2 fails, an exact masked edit fails with it."""
    error = await refused(edited(pictor, mask=mask(), metadata=[("x-sandbox-fault", "openai:overloaded")]))

    assert (error.code, error.reason) == ("UNAVAILABLE", "PROVIDERS_UNAVAILABLE")
    assert [sent.provider for sent in pictor.sandbox.requests] == ["openai"]


async def test_an_edit_with_adapt_falls_back_and_tells_what_changed(pictor):
    """Asked for ADAPT and sent to gpt-image-2 by the operator's choice, the fallback explains the mask instead."""
    async with gateway(edit_provider="openai") as other:
        failing = [("x-sandbox-fault", "openai:overloaded")]
        generation = await edited(other, mask=mask(), fidelity=image.FIDELITY_ADAPT, metadata=failing)

        assert [(each.model, each.outcome) for each in generation.attempts] == [(GPT, "overloaded"), (NANO, "image")]
        assert kinds(generation) == ["MASK_AS_PROMPT"]


async def test_without_the_exact_engine_a_masked_edit_is_refused_with_what_would_help():
    """No OpenAI credentials: NO_EXACT_CANDIDATE names the adaptation that ADAPT would allow; ADAPT then works."""
    async with gateway(real=True, openai=None) as pictor:
        error = await refused(edited(pictor, mask=mask()))
        adapted = await edited(pictor, mask=mask(), fidelity=image.FIDELITY_ADAPT)

        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "NO_EXACT_CANDIDATE")
        assert "MASK_AS_PROMPT" in error.text
        assert "fidelity ADAPT" in error.text
        assert kinds(adapted) == ["MASK_AS_PROMPT"]
        assert len(pictor.sandbox.requests) == 1


# Which engine


async def test_edits_go_to_the_provider_that_the_operator_chose():
    """Gemini unless IMAGE_EDIT_PROVIDER says openai, whatever the tier; the other one is the fallback."""
    for chosen, models in (("gemini", [NANO, GPT]), ("openai", [GPT, NANO])):
        async with gateway(edit_provider=chosen) as pictor:
            for tier in (image.TIER_STANDARD, image.TIER_PRO):
                generation = await edited(pictor, tier=tier)

                assert generation.decision.row == "edit"
                assert [each.model for each in generation.decision.candidates] == models
                assert drawn(generation).model == models[0]


async def test_an_edit_keeps_the_shape_of_its_picture(pictor):
    """Without a canvas the result is shaped like the picture that was given; where that cannot be, it is said."""
    for size, said in (((600, 800), []), ((1376, 768), []), ((1024, 640), ["RATIO_SNAPPED"])):
        generation = await edited(pictor, png(photo(size)))
        picture = drawn(generation)

        off = picture.width_px / picture.height_px / (size[0] / size[1]) - 1
        assert (kinds(generation), abs(off) < 0.02) == (said, not said)


# Where pictures come from


async def uploaded(pictor: Gateway, data: bytes) -> str:
    call = pictor.history.UploadImage()
    for start in range(0, len(data), 2**20):
        await call.write(history.UploadImageRequest(data=data[start : start + 2**20]))
    await call.done_writing()
    return (await call).image.id


async def test_pictures_are_named_by_the_ids_of_outputs_and_uploads(pictor):
    """An output and uploads are used without sending their bytes again, byte for byte what they were."""
    generate = service.GenerateRequest(prompt="a fox", canvas={"ratio": "8:5"}, model=GPT)
    first = drawn((await pictor.images.Generate(generate)).generation)
    hole = await uploaded(pictor, mask((first.width_px, first.height_px)))
    friend = await uploaded(pictor, PHOTO)
    generation = await edited(pictor, first.id, mask=hole, references=[given(friend)])

    sent = pictor.sandbox.requests[-1]
    echo = generation.request
    assert sent.image_sha256 == [first.sha256, *echo.reference_sha256s] == [echo.image_sha256, *echo.reference_sha256s]
    assert sent.mask_sha256 == echo.mask_sha256
    after, before = opened(drawn(generation).data).convert("RGB"), opened(first.data).convert("RGB")
    assert ImageChops.difference(after, before).getbbox() == HOLE


async def test_an_edit_of_an_edit_of_an_edit(pictor):
    """Each output is the next one's input."""
    picture: bytes | str = PHOTO
    for step in range(3):
        generation = await edited(pictor, picture, prompt=f"step {step}")
        picture = drawn(generation).id

    hashes = [sent.image_sha256[0] for sent in pictor.sandbox.requests]
    assert len(set(hashes)) == 3
    assert generation.request.image_sha256 == hashes[-1]


async def test_sixteen_pictures_for_gpt_image_2_arrive_in_their_order(pictor):
    """The picture to change and fifteen references are the sixteen that the engine takes."""
    references = [png(Picture.new("RGB", (64, 64), (number * 16, 0, 0))) for number in range(15)]
    generation = await edited(pictor, model=GPT, references=[given(each) for each in references])

    (sent,) = pictor.sandbox.requests
    assert len(sent.image_sha256) == 16
    assert sent.image_sha256 == [generation.request.image_sha256, *generation.request.reference_sha256s]


async def test_sixteen_references_leave_only_the_engine_that_takes_them(pictor):
    """Nano Banana 2 takes 14 pictures: with 16 references a standard request goes to gpt-image-2, and says why."""
    references = [given(png(Picture.new("RGB", (64, 64), (0, number * 16, 0)))) for number in range(16)]
    request = service.GenerateRequest(prompt="a group photo", references=references)
    generation = (await pictor.images.Generate(request)).generation

    excluded = {each.model: each.reason for each in generation.decision.exclusions}
    assert (drawn(generation).model, excluded[NANO]) == (GPT, "too_many_references")
    assert len(pictor.sandbox.requests[0].image_sha256) == 16


async def test_fourteen_references_reach_nano_banana_2(pictor):
    """Up to 14 the standard engine serves it, pictures first and the prompt unchanged."""
    references = [given(png(Picture.new("RGB", (64, 64), (0, 0, number * 16)))) for number in range(14)]
    request = service.GenerateRequest(prompt=PROMPT, references=references)
    generation = (await pictor.images.Generate(request)).generation

    (sent,) = pictor.sandbox.requests
    assert (drawn(generation).model, sent.texts) == (NANO, [PROMPT])
    assert sent.image_sha256 == list(generation.request.reference_sha256s)


# Again


async def rerolled(pictor: Gateway, generation_id: str, **fields) -> Generation:
    call = pictor.images.Reroll(service.RerollRequest(generation_id=generation_id, **fields))
    events = [message.event async for message in call]
    return events[-1].completed.generation


async def test_an_edit_is_drawn_again_from_pictures_that_were_given_inline(pictor):
    """Nothing is sent again by the caller: picture and references are kept, and the other engine gets the same."""
    first = await edited(pictor, references=[given(png(Picture.new("RGB", (64, 64), "red")))])
    second = await rerolled(pictor, first.id)

    one, other = pictor.sandbox.requests
    assert (drawn(first).model, drawn(second).model, second.lineage.reroll_of) == (NANO, GPT, first.id)
    assert (one.image_sha256, one.prompt) == (other.image_sha256, other.prompt)


async def test_a_masked_edit_drawn_again_is_still_exact(pictor):
    """The other engine cannot enforce the mask, so re-rolling there is refused; on the same engine it works."""
    first = await edited(pictor, mask=mask())
    call = pictor.images.Reroll(service.RerollRequest(generation_id=first.id))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    again = await rerolled(pictor, first.id, model=GPT)

    assert refusal(caught.value).reason == "NO_EXACT_CANDIDATE"
    assert pictor.sandbox.requests[-1].mask_sha256 == first.request.mask_sha256
    assert again.lineage.reroll_of == first.id
    data = b""
    async for message in pictor.history.DownloadImage(history.DownloadImageRequest(image_id=drawn(again).id)):
        data += message.chunk.data
    assert ImageChops.difference(opened(data).convert("RGB"), opened(PHOTO)).getbbox() == HOLE


async def test_a_streamed_masked_edit_shows_previews_and_holds_the_mask(pictor):
    """EditStream brings partial pictures while it runs, and the same protected pixels at the end."""
    request = service.EditRequest(
        request=service.GenerateRequest(prompt=PROMPT, preview_count=2), image=given(PHOTO), mask=given(mask())
    )
    events = [message.event async for message in pictor.images.EditStream(service.EditStreamRequest(request=request))]

    previews = [event.preview for event in events if event.HasField("preview")]
    data = b"".join(event.image_chunk.data for event in events if event.HasField("image_chunk"))
    assert [(each.index, each.omitted) for each in previews] == [(0, False), (1, False)]
    assert ImageChops.difference(opened(data).convert("RGB"), opened(PHOTO)).getbbox() == HOLE
    assert events[-1].completed.generation.cost.amount.nanos == pictor.charged_nanos()
