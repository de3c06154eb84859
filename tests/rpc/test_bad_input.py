"""Bad input is told plainly and costs nothing: what would help, no word of the inside, and nobody left hanging.

Codes and paths of the common mistakes stand in test_contract_input; here are the odd ones, the helpful texts, and what
comes out when something breaks inside.
"""

import asyncio
import io
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
import pytest_asyncio
from PIL import Image as Picture

from gateway import GPT, NANO, Gateway, Refusal, gateway, refusal
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1.generation_pb2 import Generation
from pictord.store.recovery import Recovered

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "secret-7f3a"
INSIDE = ("Traceback", "pictord", ".py", " at 0x", "Error(", SECRET)
"""What no text for a caller may hold."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pictor():
    async with gateway() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def nothing_sent(pictor: Gateway):
    """No engine hears of what the test does."""
    before = len(pictor.sandbox.requests)
    yield
    assert len(pictor.sandbox.requests) == before


def encoded(width=64, height=64, mode="RGB", kind="PNG") -> image.ImageInput:
    file = io.BytesIO()
    Picture.new(mode, (width, height)).save(file, kind)
    return image.ImageInput(data=file.getvalue())


def generate(**fields) -> service.GenerateRequest:
    return service.GenerateRequest(**({"prompt": "a fox"} | fields))


def edit(*, image=None, mask=None, **fields) -> service.EditRequest:
    return service.EditRequest(request=generate(**fields), image=image or encoded(), mask=mask)


async def refused(call) -> Refusal:
    """The error of a unary call or of a stream, which says nothing of the inside."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [each async for each in call] if hasattr(call, "__aiter__") else await call
    found = refusal(caught.value)
    said = [found.text, *found.fields, *found.metadata.values(), *found.trailers.values()]
    assert [word for word in INSIDE if any(word in text for text in said)] == []
    return found


# Mistakes in one field


FIELDS = [
    pytest.param({"canvas": {"ratio": "0:1"}}, "RATIO_INVALID", "canvas.ratio", "0:1", id="a width of nothing"),
    pytest.param({"canvas": {"ratio": "-16:9"}}, "RATIO_INVALID", "canvas.ratio", "-16:9", id="a negative width"),
    pytest.param({"canvas": {"ratio": "16:9:4"}}, "RATIO_INVALID", "canvas.ratio", "16:9:4", id="three numbers"),
    pytest.param({"canvas": {"ratio": "16:9\n"}}, "RATIO_INVALID", "canvas.ratio", "16:9", id="a line break behind"),
    pytest.param({"canvas": {"ratio": "\uff11:\uff11"}}, "RATIO_INVALID", "canvas.ratio", "ratio", id="wide digits"),
    pytest.param({"canvas": {"ratio": "9" * 400 + ":1"}}, "RATIO_INVALID", "canvas.ratio", "ratio", id="a long number"),
    pytest.param({"canvas": {"format": ""}}, "FORMAT_UNKNOWN", "canvas.format", "ListFormats", id="no format's name"),
    pytest.param({"canvas": {"format": "instagram/storry"}}, "FORMAT_UNKNOWN", "canvas.format", "story", id="a typo"),
    pytest.param({"model": "gpt-image-9"}, "MODEL_UNKNOWN", "model", GPT, id="a model that is not there"),
    pytest.param({"model": GPT, "excluded_models": [GPT]}, "INVALID_FIELD", "excluded_models[0]", "", id="both ways"),
    pytest.param({"workflow": 77}, "INVALID_FIELD", "workflow", "WORKFLOW_CAROUSEL", id="unknown workflow"),
    pytest.param({"model": GPT, "quality": 9}, "INVALID_FIELD", "quality", "QUALITY_HIGH", id="unknown quality"),
    pytest.param({"output_format": 9}, "INVALID_FIELD", "output_format", "OUTPUT_FORMAT_PNG", id="unknown encoding"),
    pytest.param({"background": 9}, "INVALID_FIELD", "background", "BACKGROUND_OPAQUE", id="unknown background"),
    pytest.param({"fidelity": -1}, "INVALID_FIELD", "fidelity", "FIDELITY_EXACT", id="unknown fidelity"),
    pytest.param({"on_disconnect": 3}, "INVALID_FIELD", "on_disconnect", "ON_DISCONNECT_FINISH", id="unknown leaving"),
    pytest.param({"seed": -1}, "INVALID_FIELD", "seed", "2147483647", id="negative seed"),
    pytest.param({"seed": 2**40}, "INVALID_FIELD", "seed", "2147483647", id="a seed of 41 bits"),
    pytest.param(
        {"output_format": image.OUTPUT_FORMAT_JPEG, "output_compression": 101},
        "INVALID_FIELD", "output_compression", "0 to 100", id="compression 101",
    ),
    pytest.param(
        {"output_format": image.OUTPUT_FORMAT_PNG, "output_compression": 50},
        "INVALID_FIELD", "output_compression", "JPEG or WEBP", id="compressed PNG",
    ),
    pytest.param(
        {"output_format": image.OUTPUT_FORMAT_JPEG, "background": image.BACKGROUND_TRANSPARENT},
        "INVALID_FIELD", "background", "PNG or WEBP", id="transparent JPEG",
    ),
    pytest.param({"labels": {"": "x"}}, "INVALID_FIELD", "labels[]", "1 to 64", id="a label without a name"),
    pytest.param({"max_cost": {"nanos": -5}}, "INVALID_FIELD", "max_cost", "negative", id="less than nothing"),
    pytest.param({"max_cost": {"nanos": 2**30}}, "INVALID_FIELD", "max_cost", "999,999,999", id="too many nanos"),
    pytest.param({"max_cost": {"units": 1, "nanos": -1}}, "INVALID_FIELD", "max_cost", "sign", id="two signs"),
    pytest.param({"max_cost": {"units": 2**62}}, "INVALID_FIELD", "max_cost", "$9,223,372,036", id="all the money"),
    pytest.param({"request_id": "é" * 65}, "INVALID_FIELD", "request_id", "128 bytes", id="130 bytes of request id"),
    pytest.param(
        {"references": [encoded(60_000, 1)]}, "IMAGE_TOO_LARGE", "references[0]", "8192", id="60,000 px wide"
    ),
    pytest.param(
        {"references": [encoded(5000, 4000)]}, "IMAGE_TOO_LARGE", "references[0]", "16777216", id="20 megapixels"
    ),
    pytest.param(
        {"references": [image.ImageInput(data=b"GIF89a" + bytes(100))]},
        "IMAGE_INVALID", "references[0]", "PNG, JPEG and WebP", id="a GIF",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "reason", "path", "word"), FIELDS)
@pytest.mark.usefixtures("nothing_sent")
async def test_a_mistake_is_named_with_what_would_work(pictor: Gateway, fields, reason, path, word):
    """Code, reason and path name the mistake, the text what would do instead; no engine hears of it."""
    found = await refused(pictor.images.Generate(generate(**fields)))

    assert (found.code, found.reason, found.fields) == ("INVALID_ARGUMENT", reason, (path,))
    assert word in found.text


MASKS = [
    pytest.param(encoded(kind="JPEG"), "PNG with an alpha channel", id="a JPEG"),
    pytest.param(encoded(), "PNG with an alpha channel", id="no alpha"),
    pytest.param(encoded(mode="RGBA", kind="WEBP"), "PNG with an alpha channel", id="a WebP with alpha"),
    pytest.param(encoded(64, 63, "RGBA"), "must be 64x64 like the picture, is 64x63", id="one line short"),
]


@pytest.mark.parametrize(("mask", "words"), MASKS)
@pytest.mark.usefixtures("nothing_sent")
async def test_a_mask_that_does_not_fit_is_refused_at_its_field(pictor: Gateway, mask, words):
    """A mask is a PNG with alpha of the picture's size, whoever would draw and however faithfully."""
    for fields in ({}, {"fidelity": image.FIDELITY_ADAPT, "model": NANO}):
        found = await refused(pictor.images.Edit(edit(mask=mask, **fields)))

        assert (found.code, found.reason, found.fields) == ("INVALID_ARGUMENT", "MASK_INVALID", ("mask",))
        assert words in found.text


@pytest.mark.usefixtures("nothing_sent")
async def test_every_mistake_is_told_at_once(pictor: Gateway):
    """Whoever made several mistakes learns of all of them in one answer."""
    fields = {"tier": 9, "workflow": 77, "canvas": {"ratio": "x", "resolution": 9}, "max_inline_bytes": -1}
    found = await refused(pictor.images.Generate(generate(**fields)))

    assert set(found.fields) == {"tier", "workflow", "canvas.ratio", "canvas.resolution", "max_inline_bytes"}


@pytest.mark.usefixtures("nothing_sent")
async def test_seventeen_pictures_for_an_edit_are_one_too_many(pictor: Gateway):
    """The picture to change counts: with sixteen references it is the seventeenth."""
    found = await refused(pictor.images.Edit(edit(references=[encoded()] * 16)))

    assert (found.reason, found.fields) == ("TOO_MANY_REFERENCES", ("request.references",))
    assert "at most 15" in found.text


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param(encoded(60_000, 1), "IMAGE_TOO_LARGE", id="60,000 px"),
        pytest.param(image.ImageInput(data=encoded(kind="JPEG").data[:300]), "IMAGE_INVALID", id="truncated JPEG"),
        pytest.param(image.ImageInput(data=b"a text file\n" * 100), "IMAGE_INVALID", id="a text file"),
    ],
)
@pytest.mark.usefixtures("nothing_sent")
async def test_pictures_are_looked_at_wherever_they_come_in(pictor: Gateway, given, reason):
    """The same picture is refused as picture to edit, as mask, as reference of a set, and in an upload."""
    a_set = service.GenerateSetRequest(brief=generate(references=[given]), items=[{"key": "a"}])
    upload = pictor.history.UploadImage(iter([history.UploadImageRequest(data=given.data)]))
    found = {
        "image": await refused(pictor.images.Edit(edit(image=given))),
        "mask": await refused(pictor.images.Edit(edit(mask=given))),
        "brief.references[0]": await refused(pictor.images.GenerateSet(a_set)),
        "data": await refused(upload),
    }

    assert {path: (each.reason, each.fields) for path, each in found.items()} == {
        path: (reason, (path,)) for path in found
    }


# Requests that are valid, and yet cannot be served


UNSERVABLE = [
    pytest.param(
        {"seed": 7, "model": GPT, "fidelity": image.FIDELITY_EXACT},
        "NO_EXACT_CANDIDATE", "fidelity ADAPT", id="exact, and needs adapting",
    ),
    pytest.param(
        {"canvas": {"ratio": "8:1", "resolution": image.RESOLUTION_2K}, "background": image.BACKGROUND_TRANSPARENT,
         "fidelity": image.FIDELITY_EXACT},
        "NO_EXACT_CANDIDATE", "BACKGROUND_OPAQUE", id="exact, and nobody has it",
    ),
    pytest.param(
        {"excluded_models": [GPT, NANO]},
        "NO_CAPABLE_MODEL", f"not excluding {NANO}", id="everybody excluded",
    ),
    pytest.param(
        {"model": NANO, "quality": image.QUALITY_HIGH},
        "NO_CAPABLE_MODEL", "no quality", id="a quality that the engine has not",
    ),
    pytest.param(
        {"model": NANO, "references": [encoded()] * 15},
        "NO_CAPABLE_MODEL", "up to 14 pictures", id="15 references for an engine of 14",
    ),
    pytest.param(
        {"model": GPT, "canvas": {"ratio": "4:1"}},
        "NO_CAPABLE_MODEL", "3:1", id="too wide for the engine",
    ),
    pytest.param(
        {"max_cost": {"nanos": 1}}, "PRICE_CEILING", "a max_cost of $", id="a billionth of a dollar"
    ),
    pytest.param(
        {"max_cost": {}}, "PRICE_CEILING", "max_cost is $0", id="nothing at all"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "reason", "word"), UNSERVABLE)
@pytest.mark.usefixtures("nothing_sent")
async def test_what_nobody_can_serve_is_refused_with_what_would_help(pictor: Gateway, fields, reason, word):
    """A valid request that no engine can serve is refused before money, and Plan says the same."""
    found = await refused(pictor.images.Generate(generate(**fields)))

    plan = await pictor.images.Plan(service.PlanRequest(generate=generate(**fields)))
    assert (found.code, found.reason) == ("FAILED_PRECONDITION", reason)
    assert word in found.text
    assert (plan.refusal.reason, plan.refusal.text) == (found.reason, found.text)
    assert pictor.app.jobs.running_count == 0


@pytest.mark.usefixtures("nothing_sent")
async def test_high_quality_is_not_for_everybody_on_the_free_plan(pictor: Gateway):
    """Unless the caller's policy permits it, FREE with high quality is refused, with what would work."""
    found = await refused(pictor.images.Generate(generate(tier=image.TIER_FREE, high_quality=True)))

    assert (found.code, found.reason) == ("PERMISSION_DENIED", "TIER_NOT_ALLOWED")
    assert "another tier" in found.text


@pytest.mark.parametrize("timeout", [0.05, 2.0], ids=["50 ms", "2 s"])
@pytest.mark.usefixtures("nothing_sent")
async def test_too_little_time_is_told_at_once_with_both_numbers(pictor: Gateway, timeout):
    """The refusal comes long before the deadline itself would end the call, and says what is needed."""
    found = await refused(pictor.images.Generate(generate(), timeout=timeout))

    assert found.code == "DEADLINE_EXCEEDED"
    assert (found.reason, "needs" in found.text) == ("DEADLINE_TOO_SHORT", True)
    assert float(found.metadata["needs_seconds"]) > timeout


# Metadata


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param([("traceparent", "00-zz-zz-01")], id="a broken trace"),
        pytest.param([("x-junk", "v" * 2000), ("x-junk", "again")], id="unknown names, twice"),
        pytest.param([("junk-bin", b"\xff\x00\xfe")], id="binary junk"),
        pytest.param([("pictor-generation-id", "gen_mine"), ("grpc-previous-rpc-attempts", "99")], id="our own names"),
    ],
)
async def test_junk_in_the_metadata_hurts_nobody(pictor: Gateway, metadata):
    """Names that mean nothing to the gateway change nothing."""
    plan = await pictor.images.Plan(service.PlanRequest(generate=generate()), metadata=metadata)

    assert plan.plan.row == "standard"


@pytest.mark.usefixtures("nothing_sent")
async def test_metadata_beyond_all_measure_is_refused_by_grpc(pictor: Gateway):
    """Half a megabyte of metadata does not reach the service."""
    found = await refused(pictor.images.Generate(generate(), metadata=[("x-junk", "v" * 500_000)]))

    assert found.code == "RESOURCE_EXHAUSTED"


async def test_real_engines_take_no_sandbox_metadata():
    """With real credentials a call cannot steer the engines: the entry is named, and nothing is sent."""
    async with gateway(real=True) as real:
        metadata = [("x-sandbox-fault", "gemini:internal")]
        found = await refused(real.images.Generate(generate(), metadata=metadata))

        assert (found.code, found.reason) == ("INVALID_ARGUMENT", "METADATA_INVALID")
        assert found.metadata["metadata"] == "x-sandbox-fault"
        assert len(real.sandbox.requests) == 0


@pytest.mark.usefixtures("nothing_sent")
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("x-sandbox-fault", "openai:nope", "no fault 'nope': use one of bad_base64, bad_gateway_html"),
        ("x-sandbox-fault", "gemini:internal, opnai:rate_limit", "no fault 'opnai:rate_limit'"),
        ("x-sandbox-latency-ms", "abc", "use whole milliseconds"),
        ("x-sandbox-latency-ms", "openai:20, gemini:soon", "use whole milliseconds"),
        ("x-sandbox-latency-ms", "opnai:20", "no provider 'opnai': use one of openai, gemini"),
        ("x-sandbox-typo", "1", "there is no such header: use x-sandbox-fault, x-sandbox-latency-ms"),
    ],
)
async def test_a_mistyped_wish_to_the_sandbox_is_refused_before_anything_is_sent(pictor: Gateway, name, value, says):
    """Not an engine's refusal after a send, but the entry by its name and what there is."""
    found = await refused(pictor.images.Generate(generate(), metadata=[(name, value)]))

    assert (found.code, found.reason) == ("INVALID_ARGUMENT", "METADATA_INVALID")
    assert found.text.startswith(f"metadata {name}: ")
    assert says in found.text
    assert found.metadata["metadata"] == name


# What breaks inside


class Broken:
    """An adapter with a fault of its own, in the place of a provider's."""

    def __init__(self, fault: BaseException) -> None:
        self._fault = fault

    async def draw(self, call, *, on_sent):
        on_sent()
        raise self._fault
        yield


@contextmanager
def broken_engine(pictor: Gateway, fault: BaseException) -> Iterator[None]:
    providers = pictor.app._parts.providers
    whole = providers["gemini"]
    providers["gemini"] = Broken(fault)
    try:
        yield
    finally:
        providers["gemini"] = whole


FAULTS = [
    pytest.param(RuntimeError(SECRET), id="an exception"),
    pytest.param(asyncio.CancelledError(SECRET), id="a cancellation that nobody asked for"),
]


async def ended_well(pictor: Gateway, generation_id: str) -> None:
    """The record of a broken call is closed, says nothing of the inside, and holds nothing any more."""
    record = await pictor.get(generation_id)
    assert (record.state, record.reason) == (Generation.STATE_FAILED, "INTERNAL")
    assert {(attempt.outcome, attempt.cost.basis) for attempt in record.attempts} == {
        ("server_error", image.COST_BASIS_UNKNOWN)
    }
    assert record.cost.amount.nanos > 0
    assert SECRET not in str(record)
    assert pictor.app.jobs.running_count == 0
    assert await pictor.app.store.recover() == Recovered(released=0, unknown=0, generations=0)
    assert [each.in_flight for each in pictor.app.guards.status()] == [0, 0]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_inside_ends_the_call_without_its_text(pictor: Gateway, caplog, fault, count):
    """INTERNAL with a fixed sentence and the generation's id; the log has the rest, and the money stays held."""
    with broken_engine(pictor, fault):
        found = await asyncio.wait_for(refused(pictor.images.Generate(generate(count=count))), timeout=5)

    assert (found.code, found.reason) == ("INTERNAL", "INTERNAL")
    assert found.trailers["grpc-retry-pushback-ms"] == "-1"
    assert f"{found.trailers['pictor-generation-id']} failed inside" in caplog.text
    await ended_well(pictor, found.trailers["pictor-generation-id"])


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_inside_ends_every_reader_of_a_stream(pictor: Gateway, caplog, fault):
    """The submitter's stream and a watcher's both end with INTERNAL; neither is left hanging."""
    with broken_engine(pictor, fault):
        call = pictor.images.GenerateStream(service.GenerateStreamRequest(request=generate()))
        generation_id = dict(await call.initial_metadata())["pictor-generation-id"]
        watch = pictor.history.WatchGeneration(history.WatchGenerationRequest(generation_id=generation_id))
        found = await asyncio.wait_for(asyncio.gather(refused(call), refused(watch)), timeout=5)

    assert [each.reason for each in found] == ["INTERNAL", "INTERNAL"]
    await ended_well(pictor, generation_id)


async def test_a_fault_inside_one_member_does_not_stop_its_set(pictor: Gateway, caplog):
    """The member fails as INTERNAL without the fault's text; the other engine's picture comes."""
    a_set = service.GenerateSetRequest(brief=generate(preview_count=0), items=[{"key": "a"}], models=[NANO, GPT])
    with broken_engine(pictor, RuntimeError(SECRET)):
        messages = [message async for message in pictor.images.GenerateSet(a_set)]

    failures = [(each.model, each.item_failed.reason) for each in messages if each.HasField("item_failed")]
    assert failures == [(NANO, "INTERNAL")]
    assert SECRET not in str([each.item_failed for each in messages])
    assert (messages[-1].summary.succeeded_count, messages[-1].summary.failed_count) == (1, 1)


async def test_a_broken_store_leaks_nothing_and_breaks_nothing_else(pictor: Gateway, caplog, monkeypatch):
    """Every RPC that needs the store answers INTERNAL with the fixed sentence, and works again afterwards."""

    async def broken(*_args, **_kwargs):
        raise RuntimeError(SECRET)

    with monkeypatch.context() as patch:
        for name in ("open", "get", "list", "image"):
            patch.setattr(pictor.app.store, name, broken)
        found = [
            await refused(pictor.images.Generate(generate())),
            await refused(pictor.images.GenerateStream(service.GenerateStreamRequest(request=generate()))),
            await refused(pictor.images.Reroll(service.RerollRequest(generation_id="gen_1"))),
            await refused(pictor.history.GetGeneration(history.GetGenerationRequest(generation_id="gen_1"))),
            await refused(pictor.history.ListGenerations(history.ListGenerationsRequest())),
            await refused(pictor.history.DownloadImage(history.DownloadImageRequest(image_id="img_1"))),
        ]

    assert {(each.code, each.reason, each.text) for each in found} == {("INTERNAL", "INTERNAL", found[0].text)}
    assert SECRET in caplog.text
    assert (await pictor.images.Generate(generate())).generation.state == Generation.STATE_SUCCEEDED
