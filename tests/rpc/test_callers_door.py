"""Callers as configured, through the door: what each may ask, pay and see, and that nobody meets another's work."""

import io
import json
from dataclasses import asdict

import grpc
import pytest
import pytest_asyncio
from PIL import Image as Picture

from gateway import GPT, NANO, Gateway, Refusal, gateway, refusal
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1.generation_pb2 import Generation
from pictord import settings
from pictord.auth.callers import hash_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL = {"canvas": {"resolution": image.RESOLUTION_512}, "model": NANO}
KEYS = {name: f"pictor_{name}-key-5d1e" for name in ("studio", "shop", "thrifty", "reader", "operator")}
STUDIO, SHOP, THRIFTY, READER, OPERATOR = ([("x-api-key", key)] for key in KEYS.values())

CONFIG = """
[[callers]]
name = "studio"
keys = ["{studio}"]
default_tier = "pro"

[[callers]]
name = "shop"
keys = ["{shop}"]
tiers = ["free", "standard"]
models = ["gemini-3.1-flash-image"]

[[callers]]
name = "thrifty"
keys = ["{thrifty}"]
max_picture_usd = "0.08"

[[callers]]
name = "reader"
keys = ["{reader}"]
may_read_others = true

[[callers]]
name = "platform"
keys = ["{operator}"]
role = "operator"
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pictor(tmp_path_factory):
    """A gateway whose callers come from a file, with the hashes of their keys."""
    file = tmp_path_factory.mktemp("config") / "pictor.toml"
    file.write_text(CONFIG.format(**{name: hash_key(key) for name, key in KEYS.items()}))
    loaded = settings.load({"PICTOR_CONFIG": str(file), "PICTOR_SANDBOX": "1"})
    async with gateway(callers=loaded.callers) as running:
        yield running


async def draw(pictor: Gateway, who, prompt="a fox", **fields) -> Generation:
    request = service.GenerateRequest(**({"prompt": prompt} | fields))
    return (await pictor.images.Generate(request, metadata=who)).generation


async def refused(call) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [each async for each in call] if hasattr(call, "__aiter__") else await call
    return refusal(caught.value)


# What each may ask and pay


async def test_the_files_words_become_each_callers_policy(pictor: Gateway):
    """Default tier and allowed tiers are what the file says."""
    assert (await draw(pictor, STUDIO, **SMALL)).request.tier == image.TIER_PRO
    assert (await refused(draw(pictor, SHOP, tier=image.TIER_PRO))).reason == "TIER_NOT_ALLOWED"


async def test_a_caller_is_served_by_the_models_it_may_use(pictor: Gateway):
    """What a caller may not use is no candidate, however it is asked for."""
    generation = await draw(pictor, SHOP)
    by_name = await refused(draw(pictor, SHOP, model=GPT))
    edit = service.EditRequest(
        request=service.GenerateRequest(prompt="a hat"),
        image={"data": png("RGB")},
        mask={"data": png("RGBA")},
    )
    masked = await refused(pictor.images.Edit(edit, metadata=SHOP))

    reasons = {each.model: each.reason for each in generation.decision.exclusions}
    assert [each.model for each in generation.decision.candidates] == [NANO]
    assert reasons[GPT] == "model_not_allowed"
    assert (by_name.code, by_name.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
    assert (masked.code, masked.reason) == ("FAILED_PRECONDITION", "NO_EXACT_CANDIDATE")


async def test_a_callers_price_ceiling_holds_for_every_picture(pictor: Gateway):
    """Too dear an engine is skipped for a cheaper one; if all are too dear the call is refused, with the price."""
    sent = len(pictor.sandbox.requests)
    cheap = await draw(pictor, THRIFTY, tier=image.TIER_PRO)
    dear = await refused(draw(pictor, THRIFTY, canvas={"resolution": image.RESOLUTION_4K}))

    assert cheap.attempts[0].model == NANO
    assert {each.model: each.reason for each in cheap.decision.exclusions}[GPT] == "price_ceiling"
    assert (dear.code, dear.reason) == ("FAILED_PRECONDITION", "PRICE_CEILING")
    assert "$0.08" in dear.text
    assert int(dear.metadata["needs_nanos"]) > 80_000_000
    assert len(pictor.sandbox.requests) == sent + 1


async def test_the_policy_holds_inside_a_set(pictor: Gateway):
    """A set is no way around: members on a forbidden model fail alone."""
    request = service.GenerateSetRequest(
        brief=service.GenerateRequest(prompt="a fox", preview_count=0), items=[{"key": "a"}], models=[NANO, GPT]
    )
    steps = [step async for step in pictor.images.GenerateSet(request, metadata=SHOP)]

    failures = {step.model: step.item_failed.reason for step in steps if step.HasField("item_failed")}
    assert failures == {GPT: "PERMISSION_DENIED"}
    assert steps[-1].summary.succeeded_count == 1


# What belongs to others


def png(mode: str) -> bytes:
    """A picture of a size that both engines draw, so that it is never the size that is refused."""
    file = io.BytesIO()
    Picture.new(mode, (1024, 1024)).save(file, "PNG")
    return file.getvalue()


async def uploaded(pictor: Gateway, who, data: bytes) -> str:
    call = pictor.history.UploadImage(iter([history.UploadImageRequest(data=data)]), metadata=who)
    return (await call).image.id


async def test_an_upload_exists_for_its_caller_alone(pictor: Gateway):
    """The same bytes from two callers are two pictures, and neither can use or fetch the other's, in any role."""
    mine, theirs = [await uploaded(pictor, who, png("RGB")) for who in (STUDIO, SHOP)]
    named, prompt = {"image_id": mine}, service.GenerateRequest(prompt="a hat")
    given = {"data": png("RGB")}
    calls = [
        pictor.history.DownloadImage(history.DownloadImageRequest(image_id=mine), metadata=SHOP),
        pictor.images.Edit(service.EditRequest(request=prompt, image=named), metadata=SHOP),
        pictor.images.Edit(service.EditRequest(request=prompt, image=given, mask=named), metadata=SHOP),
        pictor.images.Generate(service.GenerateRequest(prompt="a hat", references=[named]), metadata=SHOP),
        pictor.images.Plan(service.PlanRequest(edit={"request": prompt, "image": named}), metadata=SHOP),
    ]

    assert mine != theirs
    found = [await refused(call) for call in calls]
    assert {(each.code, each.reason) for each in found} == {("NOT_FOUND", "NOT_FOUND")}
    missing = history.DownloadImageRequest(image_id="img_never")
    never = await refused(pictor.history.DownloadImage(missing, metadata=SHOP))
    assert found[0].text.replace(mine, "…") == never.text.replace("img_never", "…")


async def test_request_ids_of_two_callers_never_meet(pictor: Gateway):
    """Two callers may use the same id, for single calls and for sets, and each pays for its own."""
    before = len(pictor.sandbox.charges)
    a_set = service.GenerateSetRequest(
        brief=service.GenerateRequest(prompt="a fox", request_id="same", **SMALL), items=[{"key": "a"}]
    )
    single = [await draw(pictor, who, request_id="same", **SMALL) for who in (STUDIO, SHOP)]
    sets = [
        [step async for step in pictor.images.GenerateSet(a_set, metadata=who)][-1].summary.set_id
        for who in (STUDIO, SHOP)
    ]

    assert len({each.id for each in single}) == 2
    assert not any(each.replayed for each in single)
    assert len(set(sets)) == 2
    assert len(pictor.sandbox.charges) == before + 4


async def test_whoever_may_read_others_may_not_stop_them(pictor: Gateway):
    """Reading is not owning: a reader may not cancel, the owner and an operator may."""
    made = await draw(pictor, STUDIO, **SMALL)
    wanted = history.CancelGenerationRequest(generation_id=made.id)
    found = await refused(pictor.history.CancelGeneration(wanted, metadata=READER))
    stranger = await refused(pictor.history.CancelGeneration(wanted, metadata=SHOP))
    answers = [await pictor.history.CancelGeneration(wanted, metadata=who) for who in (STUDIO, OPERATOR)]

    assert (found.code, found.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
    assert (stranger.code, stranger.reason) == ("NOT_FOUND", "NOT_FOUND")
    assert [each.generation.state for each in answers] == [Generation.STATE_SUCCEEDED] * 2


async def test_a_reroll_of_anothers_work_is_ones_own(pictor: Gateway):
    """Who may read a generation may draw it again, on its own account and under its own name."""
    made = await draw(pictor, SHOP, **SMALL)
    request = service.RerollRequest(generation_id=made.id, model=NANO)
    events = [message.event async for message in pictor.images.Reroll(request, metadata=READER)]

    again = events[-1].completed.generation
    assert (again.caller, again.lineage.reroll_of) == ("reader", made.id)
    assert (
        await refused(pictor.images.Reroll(service.RerollRequest(generation_id=again.id), metadata=SHOP))
    ).reason == ("NOT_FOUND")


# What leaves the house


async def test_end_users_leave_only_as_hashes_that_nobody_can_link(pictor: Gateway):
    """The same end user is the same hash for one caller and another for the next, and its name is never sent."""
    first = len(pictor.sandbox.requests)
    asked = {"model": GPT, "quality": image.QUALITY_LOW, "end_user": "maria@example.org"}
    for who in (STUDIO, STUDIO, THRIFTY):
        await draw(pictor, who, **asked)

    sent = list(pictor.sandbox.requests)[first:]
    one, same, other = (request.params["safety_identifier"] for request in sent)
    assert one == same != other
    assert len(one) == 64
    assert "maria" not in json.dumps([asdict(request) for request in sent])


async def test_keys_stay_inside(pictor: Gateway, caplog):
    """No caller's key, right or wrong, reaches an engine, a log line, a record or an error's text."""
    wrong = "pictor_wrong-key-5d1e"
    found = await refused(draw(pictor, [("x-api-key", wrong)]))
    made = await draw(pictor, STUDIO, **SMALL)

    said = [found.text, str(found.metadata), str(made), caplog.text]
    said += [json.dumps(asdict(request)) for request in pictor.sandbox.requests]
    assert (found.code, found.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    assert [text for text in said if "key-5d1e" in text] == []
