"""The sandbox as OpenAI's Images API, seen through the official SDK as shipped."""

import asyncio
import base64
import io
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import openai
import pytest
import pytest_asyncio
from PIL import Image, ImageChops

from pictord.sandbox import Quota, SandboxSettings, run

pytestmark = pytest.mark.asyncio(loop_scope="module")
SMALL = {"model": "gpt-image-2", "size": "1024x640", "quality": "low"}
SETTINGS = SandboxSettings(time_scale=0, seed=3)


def png(size=(1024, 640), color="teal", mode="RGB", kind="PNG"):
    out = io.BytesIO()
    Image.new(mode, size, color).save(out, kind)
    return out.getvalue()


def hole(size=(1024, 640)):
    mask = Image.new("RGBA", size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (100, 100, 400, 300))
    out = io.BytesIO()
    mask.save(out, "PNG")
    return ("mask.png", out.getvalue(), "image/png")


def opened(b64):
    image = Image.open(io.BytesIO(base64.b64decode(b64, validate=True)))
    image.load()
    return image


def fault(text, **headers):
    return {"extra_headers": {"x-sandbox-fault": text, **headers}}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served():
    async with run(SETTINGS) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(served):
    """A sandbox that has seen nothing: making a client takes 65 ms, so all tests share both."""
    served.reset()
    return served


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(served):
    async with openai.AsyncOpenAI(api_key="sk-test", base_url=served.openai_base_url, max_retries=0) as client:
        yield client


@asynccontextmanager
async def opened_with(**changes):
    """A sandbox with changed settings, and a client of it."""
    async with (
        run(replace(SETTINGS, **changes)) as sandbox,
        openai.AsyncOpenAI(api_key="one", base_url=sandbox.openai_base_url, max_retries=0) as client,
    ):
        yield client


@pytest.fixture
def images(sandbox, client):
    return client.images


@pytest.mark.parametrize(("output_format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
async def test_a_picture_comes_in_the_asked_size_and_type(images, output_format, kind):
    """The bytes are what the answer says they are."""
    answer = await images.generate(prompt="A fox", output_format=output_format, **SMALL)

    picture = opened(answer.data[0].b64_json)
    assert ((1024, 640), kind) == (picture.size, picture.format)
    assert ("1024x640", "low", output_format, "opaque") == (
        answer.size,
        answer.quality,
        answer.output_format,
        answer.background,
    )


async def test_usage_and_charge_agree_to_the_nano_dollar(sandbox, images):
    """What is reported is what is charged: text at $5, pictures at $30 per million."""
    answer = await images.generate(prompt="A red fox", n=2, user="u1", **SMALL)

    assert (
        answer.usage.input_tokens,
        answer.usage.output_tokens,
        answer.usage.total_tokens,
    ) == (9, 2 * 107, 9 + 214)
    assert answer.usage.output_tokens_details.image_tokens == 214
    (charge,) = sandbox.charges
    assert (True, 9 * 5_000 + 214 * 30_000, answer._request_id) == (charge.billed, charge.nanos, charge.request_id)
    assert len({picture.b64_json for picture in answer.data}) == 2


async def test_the_request_log_proves_that_the_prompt_arrives_unchanged(sandbox, images):
    """Prompt, parameters and hashes of the pictures are kept; the key is not."""
    prompt = "  ünïcödé \n\t “quotes” 😀 "

    await images.edit(prompt=prompt, image=("a.png", png(), "image/png"), mask=hole(), **SMALL)

    (record,) = sandbox.requests
    assert (prompt, "edit", "/v1/images/edits", 200) == (record.prompt, record.operation, record.path, record.status)
    assert (len(record.image_sha256), len(record.mask_sha256), len(record.prompt_sha256)) == (1, 64, 64)
    assert "sk-test" not in json.dumps(record.as_json())
    assert record.params["model"] == "gpt-image-2"


async def test_a_masked_edit_keeps_every_pixel_outside_the_hole(images):
    """Only where the mask is transparent is the picture painted anew."""
    answer = await images.edit(prompt="A fox", image=("a.png", png(), "image/png"), mask=hole(), **SMALL)

    difference = ImageChops.difference(Image.new("RGB", (1024, 640), "teal"), opened(answer.data[0].b64_json))
    assert difference.getbbox() == (100, 100, 400, 300)


async def test_sixteen_references_cost_their_patches(images):
    """16 pictures of 1024x640: 32 x 20 patches each."""
    references = [(f"{n}.jpg", png(kind="JPEG"), "image/jpeg") for n in range(16)]

    answer = await images.edit(prompt="All of them", image=references, **SMALL)

    assert answer.usage.input_tokens_details.image_tokens == 16 * 640


async def test_an_edit_without_size_follows_its_input(images):
    """`auto` gives the input's pixels if gpt-image-2 can draw them."""
    answer = await images.edit(
        model="gpt-image-2",
        prompt="A fox",
        image=("a.webp", png((1536, 640), kind="WEBP"), "image/webp"),
        quality="low",
    )

    assert answer.size == "1536x640"


@pytest.mark.parametrize("partials", [0, 1, 3])
async def test_a_stream_sends_partials_and_completes_once(sandbox, images, partials):
    """Each partial image costs 100 tokens; usage comes with the completed event only."""
    stream = await images.generate(prompt="A fox", stream=True, partial_images=partials, **SMALL)
    events = [event async for event in stream]

    assert ["image_generation.partial_image"] * partials + ["image_generation.completed"] == [e.type for e in events]
    assert list(range(partials)) == [event.partial_image_index for event in events[:-1]]
    assert partials + 1 == len({event.b64_json for event in events})
    assert {(1024, 640)} == {opened(event.b64_json).size for event in events}
    assert 107 + 100 * partials == events[-1].usage.output_tokens == sandbox.charges[0].usage.image_out


async def test_an_edit_streams_under_its_own_event_names(images):
    """`image_edit.*` instead of `image_generation.*`."""
    image = ("a.png", png(), "image/png")
    stream = await images.edit(prompt="A fox", image=image, mask=hole(), stream=True, partial_images=1, **SMALL)

    assert [event.type async for event in stream] == ["image_edit.partial_image", "image_edit.completed"]


REFUSED = [
    ({"size": "1792x936"}, "size", "Width and height must both be divisible by 16."),
    ({"size": "512x512"}, "size", "number of pixels"),
    ({"size": "3840x3840"}, "size", "number of pixels"),
    ({"size": "3856x2160"}, "size", "longest edge"),
    ({"size": "3200x1024"}, "size", "ratio"),
    ({"size": "big"}, "size", "WIDTHxHEIGHT"),
    ({"n": 0}, "n", ">= 1"),
    ({"n": 11}, "n", "<= 10"),
    ({"partial_images": 4, "stream": True}, "partial_images", "<= 3"),
    ({"n": 2, "stream": True}, "n", "Streaming"),
    ({"prompt": "x" * 32_001}, "prompt", "maximum length 32000"),
    ({"prompt": ""}, "prompt", "empty"),
    ({"quality": "xhigh"}, "quality", "'low', 'medium', 'high', and 'auto'"),
    ({"output_format": "png", "output_compression": 50}, "output_compression", "PNG"),
    ({"output_format": "gif"}, "output_format", "'webp'"),
    ({"background": "transparent"}, "background", "Transparent background is not supported for this model."),
    ({"extra_body": {"input_fidelity": None}}, "input_fidelity", "does not support the 'input_fidelity' parameter."),
    ({"extra_body": {"colour": "red"}}, "colour", "Unknown parameter: 'colour'."),
    ({"response_format": "b64_json"}, "response_format", "Unknown parameter"),
]


@pytest.mark.parametrize(("change", "param", "text"), REFUSED, ids=[f"{p}: {t}" for _, p, t in REFUSED])
async def test_a_bad_generation_is_refused_by_name_and_costs_nothing(sandbox, images, change, param, text):
    """HTTP 400 with the parameter and a text that says what is wrong."""
    with pytest.raises(openai.BadRequestError) as refused:
        await images.generate(**{"prompt": "A fox", **SMALL, **change})

    assert param == refused.value.param
    assert text in refused.value.body["message"]
    assert [charge.billed for charge in sandbox.charges] == [False]


def uploads(count):
    return [(f"{n}.png", png((16, 16)), "image/png") for n in range(count)]


REFUSED_EDITS = [
    ({"image": png()}, "unsupported_file_mimetype", "'application/octet-stream'"),
    ({"image": [png()]}, "unsupported_file_mimetype", "image[0]"),
    ({"image": uploads(17)}, "array_above_max_length", "length 17"),
    ({"image": ("a.png", b"no picture", "image/png")}, "invalid_image_file", "image 1"),
    ({"image": ("a.png", png()[:200], "image/png")}, "invalid_image_file", "image 1"),
    ({"mask": hole((512, 512))}, "invalid_mask_image_format", "size does not match"),
    ({"mask": ("m.png", png(), "image/png")}, "invalid_mask_image_format", "alpha"),
    ({"mask": ("m.webp", png(mode="RGBA", kind="WEBP"), "image/webp")}, "invalid_mask_image_format", "PNG"),
    ({"input_fidelity": "high"}, "invalid_input_fidelity_model", "input_fidelity"),
    ({"extra_body": {"moderation": "low"}}, "unknown_parameter", "moderation"),
]


@pytest.mark.parametrize(("change", "code", "text"), REFUSED_EDITS, ids=[f"{c}: {t}" for _, c, t in REFUSED_EDITS])
async def test_a_bad_edit_is_refused_by_code(images, change, code, text):
    """HTTP 400 with the code of the facts."""
    with pytest.raises(openai.BadRequestError) as refused:
        await images.edit(**{"prompt": "A fox", "image": ("a.png", png(), "image/png"), **SMALL, **change})

    assert code == refused.value.code
    assert text in refused.value.body["message"]


async def test_a_text_part_is_no_file(sandbox, client):
    """A gateway that turns `image[]` into text is told so."""
    with pytest.raises(openai.BadRequestError, match="expected a file, but got a string"):
        await client.post(
            "/images/edits",
            cast_to=object,
            body={**SMALL, "prompt": "A fox"},
            files=[("image[]", (None, b"data:image/png;base64,AAAA"))],
            options={"headers": {"content-type": "multipart/form-data"}},
        )


@pytest.mark.parametrize(
    ("path", "files"), [("/images/generations", [("image", ("a.png", b"x"))]), ("/images/edits", None)]
)
async def test_the_wrong_content_type_is_refused(client, path, files):
    """Multipart belongs to edits, JSON to generations."""
    headers = {"content-type": "multipart/form-data"} if files else {}

    with pytest.raises(openai.BadRequestError) as refused:
        await client.post(path, cast_to=object, body={"prompt": "A fox"}, files=files, options={"headers": headers})

    assert refused.value.code == "unsupported_content_type"


async def test_an_unknown_model_is_not_found(images):
    """404 model_not_found; the snapshot's own name is known."""
    with pytest.raises(openai.NotFoundError) as missing:
        await images.generate(prompt="A fox", model="dall-e-3")
    assert missing.value.code == "model_not_found"

    await images.generate(**{**SMALL, "prompt": "A fox", "model": "gpt-image-2-2026-04-21"})


async def test_transparency_can_be_switched_on():
    """The preview some accounts have: an alpha channel in PNG and WebP, refused for JPEG."""
    async with opened_with(transparent_background=True) as client:
        answer = await client.images.generate(prompt="A fox", background="transparent", **SMALL)
        with pytest.raises(openai.BadRequestError, match="JPEG"):
            await client.images.generate(prompt="A fox", background="transparent", output_format="jpeg", **SMALL)

    assert (opened(answer.data[0].b64_json).mode, answer.background) == ("RGBA", "transparent")


QUOTA = openai.RateLimitError, 429, "insufficient_quota"
ERRORS = [
    ("rate_limit", openai.RateLimitError, 429, "rate_limit_exceeded"),
    ("slow_down", openai.RateLimitError, 429, "slow_down"),
    ("insufficient_quota", *QUOTA),
    ("insufficient_quota;code=project_spend_limit_exceeded", *QUOTA[:2], "project_spend_limit_exceeded"),
    ("credit_balance_exhausted", *QUOTA[:2], "credit_balance_exhausted"),
    ("organization_spend_limit_exceeded", *QUOTA[:2], "organization_spend_limit_exceeded"),
    ("organization_usage_limit_exceeded", *QUOTA[:2], "organization_usage_limit_exceeded"),
    ("project_spend_limit_exceeded", *QUOTA[:2], "project_spend_limit_exceeded"),
    ("billing_hard_limit", openai.BadRequestError, 400, "billing_hard_limit_reached"),
    ("payment_required_html", openai.APIStatusError, 402, None),
    ("invalid_api_key", openai.AuthenticationError, 401, "invalid_api_key"),
    ("org_unverified", openai.PermissionDeniedError, 403, None),
    ("model_not_found", openai.NotFoundError, 404, "model_not_found"),
    ("moderation_blocked", openai.BadRequestError, 400, "moderation_blocked"),
    ("content_policy_violation", openai.BadRequestError, 400, "content_policy_violation"),
    ("bad_request;code=odd", openai.BadRequestError, 400, "odd"),
    ("request_timeout", openai.APIStatusError, 408, None),
    ("server_error", openai.InternalServerError, 500, "server_error"),
    ("bad_gateway_html", openai.InternalServerError, 502, None),
    ("overloaded", openai.InternalServerError, 503, "server_is_overloaded"),
]


@pytest.mark.parametrize(("kind", "expected"), [(kind, rest) for kind, *rest in ERRORS])
async def test_an_error_fault_gives_the_real_class_and_body(sandbox, images, kind, expected):
    """Status, class and code as facts section 6 has them; with a request id, at no cost."""
    error, status, code = expected
    with pytest.raises(error) as failed:
        await images.generate(prompt="A fox", **SMALL, **fault(kind))

    assert (status, code) == (failed.value.status_code, failed.value.code)
    assert failed.value.request_id
    assert isinstance(failed.value.body, str if kind.endswith("_html") else dict)
    assert [(charge.billed, charge.nanos) for charge in sandbox.charges] == [(False, 0)]


async def test_a_gateway_timeout_is_billed_because_the_picture_was_made(sandbox, images):
    """524: the front end gave up, the provider did not; the argument `billed` says otherwise if asked."""
    for kind in ("gateway_timeout_html", "gateway_timeout_html;billed=false", "server_error;billed=true"):
        with pytest.raises(openai.InternalServerError):
            await images.generate(prompt="A fox", **SMALL, **fault(kind))

    assert [charge.billed for charge in sandbox.charges] == [True, False, True]


@pytest.mark.parametrize(
    ("kind", "headers", "text"),
    [
        ("rate_limit;retry_after=7", {"retry-after": "7"}, None),
        ("rate_limit;retry_after_ms=250", {"retry-after-ms": "250"}, None),
        ("rate_limit;text=15ms", {}, "Please try again in 15ms."),
        ("server_error;should_retry=false", {"x-should-retry": "false"}, None),
    ],
)
async def test_hints_to_retry_come_where_they_are_asked_for(images, kind, headers, text):
    """In a header or in the text, and nowhere else."""
    with pytest.raises(openai.APIStatusError) as limited:
        await images.generate(prompt="A fox", **SMALL, **fault(kind))

    got = limited.value.response.headers
    names = ("retry-after", "retry-after-ms", "x-should-retry")
    assert headers == {name: got[name] for name in names if name in got}
    assert (text or "") in limited.value.body["message"]
    assert bool(text) == ("try again in" in limited.value.body["message"])


async def raw(images, kind):
    answer = await images.with_raw_response.generate(prompt="A fox", **SMALL, **fault(kind))
    return answer.content


ODD = {
    "error_in_200": lambda body: json.loads(body)["error"]["code"] == "rate_limit_exceeded",
    "error_in_200;code=insufficient_quota": lambda body: json.loads(body)["error"]["type"] == "insufficient_quota",
    "html_in_200": lambda body: body.startswith(b"<!DOCTYPE html>"),
    "truncated_json": lambda body: body.startswith(b"{") and not body.endswith(b"}"),
    "truncated_image": lambda body: b"IEND" not in base64.b64decode(json.loads(body)["data"][0]["b64_json"]),
    "wrong_image_type": lambda body: base64.b64decode(json.loads(body)["data"][0]["b64_json"]).startswith(b"Internal"),
    "bad_base64": lambda body: "*#!" in json.loads(body)["data"][0]["b64_json"],
    "empty_data": lambda body: json.loads(body)["data"] == [],
    "missing_usage": lambda body: "usage" not in json.loads(body),
    "missing_output_details": lambda body: "output_tokens_details" not in json.loads(body)["usage"],
}


@pytest.mark.parametrize("kind", ODD)
async def test_an_odd_answer_comes_with_http_200(sandbox, images, kind):
    """Bodies that the SDK lets pass: a client has to look for itself. Only those without a picture are free."""
    body = await raw(images, kind)

    assert ODD[kind](body)
    free = kind.partition(";")[0] in ("error_in_200", "html_in_200")
    assert [not free] == [charge.billed for charge in sandbox.charges]


async def test_a_refused_connection_costs_nothing(sandbox, images):
    """Hung up on before anything was made."""
    with pytest.raises(openai.APIConnectionError):
        await images.generate(prompt="A fox", **SMALL, **fault("refuse"))

    assert [(charge.billed, charge.why) for charge in sandbox.charges] == [(False, "refused: connection reset")]


@pytest.mark.parametrize("kind", ["reset_before_response", "reset_mid_body"])
async def test_a_reset_breaks_the_connection_after_the_picture_was_paid(sandbox, images, kind):
    """The SDK sees a broken connection, the charge log a picture."""
    with pytest.raises(openai.APIConnectionError):
        await images.generate(prompt="A fox", **SMALL, **fault(kind))

    assert [charge.billed for charge in sandbox.charges] == [True]


@pytest.mark.parametrize("kind", ["stall", "stall_mid_body"])
async def test_a_stalled_call_goes_on_when_released(sandbox, images, kind):
    """Nothing comes until the stalls are released, then the whole answer."""
    call = asyncio.create_task(images.generate(prompt="A fox", **SMALL, **fault(kind)))
    await sandbox.wait_for_stalls(1)
    assert not call.done()
    assert [charge.billed for charge in sandbox.charges] == [True]

    assert sandbox.release_stalls() == 1

    answer = await call
    assert opened(answer.data[0].b64_json).size == (1024, 640)


async def test_a_client_that_leaves_is_billed_all_the_same(sandbox, images):
    """The call was accepted, so the picture is made, charged, and marked as undelivered."""
    call = asyncio.create_task(images.generate(prompt="A fox", **SMALL, **fault("stall")))
    await sandbox.wait_for_stalls(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    await sandbox.settle()

    assert [(charge.billed, charge.client_disconnected) for charge in sandbox.charges] == [(True, True)]


async def test_a_client_that_leaves_while_the_picture_is_drawn_is_billed(sandbox, images):
    """The same before anything was sent."""
    headers = {"extra_headers": {"x-sandbox-latency-ms": "150"}}
    call = asyncio.create_task(images.generate(prompt="A fox", **SMALL, **headers))
    await sandbox.wait_for_requests(1)
    call.cancel()

    await sandbox.wait_for_charges(1)
    await sandbox.settle()

    assert [(charge.billed, charge.client_disconnected) for charge in sandbox.charges] == [(True, True)]


async def test_the_sandbox_stops_at_once_with_calls_stalled():
    """Leaving the block drops open calls instead of waiting for them."""
    loop = asyncio.get_running_loop()
    async with openai.AsyncOpenAI(api_key="k", base_url="http://unused", max_retries=0) as client:
        async with run(SETTINGS) as sandbox:
            client.base_url = sandbox.openai_base_url
            calls = [
                asyncio.create_task(client.images.generate(prompt="A fox", **SMALL, **fault("stall"))) for _ in range(5)
            ]
            await sandbox.wait_for_stalls(5)
            leaving = loop.time()
        assert loop.time() - leaving < 1.0
        assert {openai.APIConnectionError} == {
            type(end) for end in await asyncio.gather(*calls, return_exceptions=True)
        }


async def streamed(images, kind, partials=2):
    stream = await images.generate(prompt="A fox", stream=True, partial_images=partials, **SMALL, **fault(kind))
    return [event.type.rpartition(".")[2] async for event in stream]


@pytest.mark.parametrize(
    ("kind", "events", "billed"),
    [
        ("eof_before_completed", ["partial_image", "partial_image"], True),
        ("untyped_error_event", ["partial_image", "error"], False),
        ("fewer_partials", ["partial_image", "completed"], True),
        ("fewer_partials;count=0", ["completed"], True),
        ("non_sse_200", [], True),
        ("sse_comments", ["partial_image", "partial_image", "completed"], True),
        ("done_marker", ["partial_image", "partial_image", "completed"], True),
        ("html_in_200", [], False),
        ("truncated_json", ["partial_image", "partial_image"], True),
    ],
)
async def test_a_stream_fault_passes_the_sdk_without_an_exception(sandbox, images, kind, events, billed):
    """What an iterating client sees; the SDK raises nothing."""
    assert (events, billed) == (await streamed(images, kind), sandbox.charges[0].billed)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("error_event", openai.APIError),
        ("reset_mid_body;after=1", (openai.APIConnectionError, openai.APIError)),
        ("reset_before_response", openai.APIConnectionError),
        ("overloaded", openai.InternalServerError),
    ],
)
async def test_a_stream_fault_that_breaks_the_stream(images, kind, error):
    """Errors before, within and at the end of the stream."""
    with pytest.raises(error):
        await streamed(images, kind)


async def test_a_stream_can_stall_in_the_middle(sandbox, images):
    """One partial image and a half, then nothing until the release."""
    call = asyncio.create_task(streamed(images, "stall_mid_body;after=1"))
    await sandbox.wait_for_stalls(1)
    sandbox.release_stalls()

    assert await call == ["partial_image", "partial_image", "completed"]


async def test_a_quota_answers_like_the_real_one():
    """The image per minute too many is refused with the limit and the wait, and another key is free to go on."""
    async with opened_with(quotas={"openai": Quota(images_per_minute=2)}) as client:
        await client.images.generate(prompt="A fox", n=2, **SMALL)
        text = r"input-images per min: Limit 2.*try again in \d+\.\d+s"
        with pytest.raises(openai.RateLimitError, match=text) as limited:
            await client.images.generate(prompt="A fox", **SMALL)
        await client.with_options(api_key="two").images.generate(prompt="A fox", **SMALL)

    assert (limited.value.code, limited.value.type) == ("rate_limit_exceeded", "input-images")


async def test_the_same_load_gives_the_same_pictures_and_faults_in_any_order(images, sandbox):
    """Twelve prompts at once, forwards and backwards: each prompt fares the same."""
    prompts = [f"prompt {n}" for n in range(12)]

    async def outcome(prompt):
        try:
            answer = await images.generate(prompt=prompt, **SMALL)
        except openai.InternalServerError:
            return prompt, "failed"
        return prompt, answer.data[0].b64_json

    runs = []
    for order in (prompts, prompts[::-1]):
        sandbox.reset()
        sandbox.faults.add("server_error", probability=0.5)
        runs.append(dict(await asyncio.gather(*map(outcome, order))))

    assert runs[0] == runs[1]
    assert 1 < len(set(runs[0].values())) <= 12
    assert "failed" in runs[0].values()


async def test_a_call_without_a_key_is_refused(sandbox, client):
    """401, as by the real one."""
    with pytest.raises(openai.AuthenticationError):
        await client.images.generate(prompt="A fox", **SMALL, extra_headers={"authorization": ""})
