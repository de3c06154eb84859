"""CatalogService through the door: models, formats, providers, and the operator's switch."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gateway import GPT, NANO, gateway, refusal
from pictor.v1 import catalog_service_pb2 as catalog
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service

ENABLED, DISABLED = catalog.PROVIDER_STATE_ENABLED, catalog.PROVIDER_STATE_DISABLED


@pytest.fixture
async def pictor():
    async with gateway() as running:
        yield running


async def test_models_show_what_they_can_and_cost(pictor):
    """Every model comes with capabilities, and prices with source and first day."""
    answer = await pictor.catalog.ListModels(catalog.ListModelsRequest())
    models = {model.id: model for model in answer.models}

    assert answer.catalog_version
    assert (models[GPT].provider, models[NANO].provider) == ("openai", "gemini")
    assert models[GPT].has_mask
    assert not models[NANO].has_mask
    assert list(models[GPT].qualities) == [image.QUALITY_LOW, image.QUALITY_MEDIUM, image.QUALITY_HIGH]
    assert list(models[GPT].ratios) == []
    assert "16:9" in models[NANO].ratios
    assert image.RESOLUTION_4K in models[NANO].resolutions
    assert models[GPT].output_formats[0] == image.OUTPUT_FORMAT_PNG
    for model in answer.models:
        assert model.configured
        assert {price.token_kind for price in model.prices} == {"text_in", "image_in", "text_out", "image_out"}
        assert all(price.source and price.valid_from and price.per_million.currency_code for price in model.prices)


async def test_formats_show_their_pixels(pictor):
    """A named format has ratio and pixels."""
    answer = await pictor.catalog.ListFormats(catalog.ListFormatsRequest())
    story = next(each for each in answer.formats if each.id == "instagram/story")

    assert (story.ratio, story.width_px, story.height_px) == ("9:16", 1080, 1920)
    assert story.source


async def providers(pictor) -> dict[str, catalog.Provider]:
    answer = await pictor.catalog.ListProviders(catalog.ListProvidersRequest())
    return {provider.name: provider for provider in answer.providers}


async def test_providers_show_how_they_are_doing(pictor):
    """After a call the provider's breaker is known, and the simulators are named as such."""
    await pictor.images.Generate(service.GenerateRequest(prompt="a fox"))
    found = await providers(pictor)

    assert set(found) == {"openai", "gemini"}
    gemini = found["gemini"]
    assert (gemini.configured, gemini.sandbox, gemini.state, gemini.account) == (True, True, ENABLED, "sandbox")
    assert gemini.base_url == pictor.sandbox.gemini_base_url
    assert [(each.model, each.operation, each.state, each.failure_rate) for each in gemini.breakers] == [
        (NANO, "generate", catalog.Breaker.STATE_CLOSED, 0)
    ]
    assert gemini.concurrency_limit > 0


async def switch(pictor, provider="gemini", state=DISABLED, reason="too slow", **fields):
    request = catalog.SetProviderStateRequest(provider=provider, state=state, reason=reason, **fields)
    return (await pictor.catalog.SetProviderState(request)).provider


async def test_a_disabled_provider_is_not_used_until_it_is_enabled(pictor):
    """The switch moves traffic to the other engine at once, and back."""
    off = await switch(pictor)
    elsewhere = await pictor.images.Generate(service.GenerateRequest(prompt="a fox"))
    on = await switch(pictor, state=ENABLED)
    back = await pictor.images.Generate(service.GenerateRequest(prompt="a fox"))

    assert (off.state, off.reason, off.HasField("until_time")) == (DISABLED, "too slow", False)
    assert (on.state, on.reason) == (ENABLED, "")
    assert [answer.generation.attempts[0].model for answer in (elsewhere, back)] == [GPT, NANO]


async def test_a_provider_is_disabled_for_a_time(pictor):
    """With a duration the switch has an end, and says when."""
    off = await switch(pictor, duration=Duration(seconds=3600))

    assert off.HasField("until_time")
    assert (await providers(pictor))["gemini"].until_time.seconds == pytest.approx(off.until_time.seconds, abs=1)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"state": 0}, "state", id="no state"),
        pytest.param({"state": 9}, "state", id="unknown state"),
        pytest.param({"reason": ""}, "reason", id="no reason"),
        pytest.param({"reason": "  "}, "reason", id="blank reason"),
        pytest.param({"reason": "x" * 201}, "reason", id="a long reason"),
        pytest.param({"duration": Duration(seconds=8 * 86400)}, "duration", id="eight days"),
        pytest.param({"duration": Duration()}, "duration", id="no time at all"),
        pytest.param({"duration": Duration(seconds=-5)}, "duration", id="negative time"),
    ],
)
async def test_a_wrong_switch_is_refused(pictor, fields, field):
    """A switch needs a state and, for disabling, a reason and a sensible time."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await switch(pictor, **fields)
    found = refusal(caught.value)

    assert (found.code, found.reason, found.fields) == ("INVALID_ARGUMENT", "INVALID_FIELD", (field,))
    assert (await providers(pictor))["gemini"].state == ENABLED


async def test_an_unknown_provider_is_not_found(pictor):
    """Only configured providers have a switch."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await switch(pictor, provider="midjourney")
    found = refusal(caught.value)

    assert (found.code, found.reason) == ("NOT_FOUND", "NOT_FOUND")
