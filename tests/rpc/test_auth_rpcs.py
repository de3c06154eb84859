"""Who may call what, through the door: keys, roles, policies, and what belongs to others."""

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway import Gateway, gateway, refusal
from pictor.v1 import catalog_service_pb2 as catalog
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictord.auth.callers import hash_key
from pictord.settings import CallerTable

pytestmark = pytest.mark.asyncio(loop_scope="module")

STUDIO, STUDIO_NEW, SHOP, READER, OPERATOR = (
    [("authorization", f"Bearer pictor_{name}")] for name in ("studio", "studio-new", "shop", "reader", "operator")
)


def table(name: str, *keys: str, **fields) -> CallerTable:
    return CallerTable(name, tuple(hash_key(f"pictor_{key}") for key in keys), **fields)


CALLERS = (
    table("studio", "studio", "studio-new", default_tier="pro", allow_free_high_quality=True),
    table("shop", "shop", tiers=("free", "standard"), models=("gemini-3.1-flash-image",)),
    table("reader", "reader", may_read_others=True),
    table("platform", "operator", role="operator"),
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pictor():
    async with gateway(callers=CALLERS) as running:
        yield running


async def draw(pictor: Gateway, who, **fields):
    asked = service.GenerateRequest(**({"prompt": "a fox"} | fields))
    return (await pictor.images.Generate(asked, metadata=who)).generation


async def failure(call) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [each async for each in call] if hasattr(call, "__aiter__") else await call
    found = refusal(caught.value)
    return found.code, found.reason


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param([], id="no key"),
        pytest.param([("authorization", "Bearer pictor_wrong")], id="wrong key"),
        pytest.param([("authorization", "Basic pictor_studio")], id="wrong scheme"),
        pytest.param([("pictor-key", "pictor_studio")], id="wrong place"),
    ],
)
async def test_without_a_known_key_nothing_is_answered(pictor: Gateway, metadata):
    """Every service refuses, also to tell what there is."""
    calls = [
        pictor.images.Generate(service.GenerateRequest(prompt="a fox"), metadata=metadata),
        pictor.images.GenerateStream(service.GenerateStreamRequest(), metadata=metadata),
        pictor.history.ListGenerations(history.ListGenerationsRequest(), metadata=metadata),
        pictor.catalog.ListModels(catalog.ListModelsRequest(), metadata=metadata),
    ]

    assert [await failure(call) for call in calls] == [("UNAUTHENTICATED", "UNAUTHENTICATED")] * 4


async def test_the_caller_comes_from_the_key_alone(pictor: Gateway):
    """Both live keys are the same caller; nothing in the request can name another."""
    made = [await draw(pictor, who) for who in (STUDIO, STUDIO_NEW)]
    other = await draw(pictor, SHOP, labels={"caller": "studio"}, end_user="studio")

    assert [each.caller for each in made] == ["studio", "studio"]
    assert other.caller == "shop"


async def test_a_caller_gets_its_own_default_tier(pictor: Gateway):
    """An unset tier is the caller's default."""
    assert (await draw(pictor, STUDIO)).request.tier == image.TIER_PRO
    assert (await draw(pictor, SHOP)).request.tier == image.TIER_STANDARD


@pytest.mark.parametrize(
    ("who", "fields", "reason"),
    [
        pytest.param(SHOP, {"tier": image.TIER_PRO}, "TIER_NOT_ALLOWED", id="a tier"),
        pytest.param(
            SHOP, {"tier": image.TIER_FREE, "high_quality": True}, "TIER_NOT_ALLOWED", id="high quality for free"
        ),
    ],
)
async def test_a_policy_forbids(pictor: Gateway, who, fields, reason):
    """What the caller's policy does not allow is PERMISSION_DENIED, and Plan answers that it would be."""
    asked = service.GenerateRequest(prompt="a fox", **fields)
    foreseen = await pictor.images.Plan(service.PlanRequest(generate=asked), metadata=who)

    assert await failure(pictor.images.Generate(asked, metadata=who)) == ("PERMISSION_DENIED", reason)
    assert (foreseen.refusal.reason, foreseen.HasField("plan")) == (reason, False)
    assert "this caller may not" in foreseen.refusal.text


async def test_a_policy_allows(pictor: Gateway):
    """The same request passes for a caller whose policy permits it."""
    asked = {"tier": image.TIER_FREE, "high_quality": True}

    assert (await draw(pictor, STUDIO, **asked)).decision.row == "pro"


async def test_what_others_made_does_not_exist(pictor: Gateway):
    """Ids of another caller are NOT_FOUND in every RPC, and its request ids are free."""
    made = await draw(pictor, STUDIO, request_id="shared-name")
    named = {"generation_id": made.id}
    picture = made.outputs[0].image.id
    calls = [
        pictor.history.GetGeneration(history.GetGenerationRequest(**named), metadata=SHOP),
        pictor.history.GetGeneration(history.GetGenerationRequest(request_id="shared-name"), metadata=SHOP),
        pictor.history.WatchGeneration(history.WatchGenerationRequest(**named), metadata=SHOP),
        pictor.history.CancelGeneration(history.CancelGenerationRequest(**named), metadata=SHOP),
        pictor.history.DownloadImage(history.DownloadImageRequest(image_id=picture), metadata=SHOP),
        pictor.images.Reroll(service.RerollRequest(**named), metadata=SHOP),
        pictor.images.Generate(
            service.GenerateRequest(prompt="a fox", references=[{"image_id": picture}]), metadata=SHOP
        ),
    ]

    assert [await failure(call) for call in calls] == [("NOT_FOUND", "NOT_FOUND")] * len(calls)
    assert (await draw(pictor, SHOP, request_id="shared-name")).id != made.id


async def callers_listed(pictor: Gateway, who, asked: str) -> set[str]:
    page = await pictor.history.ListGenerations(
        history.ListGenerationsRequest(caller=asked, page_size=200), metadata=who
    )
    return {each.caller for each in page.generations}


async def test_a_history_is_its_callers_own(pictor: Gateway):
    """A list shows one's own; others' only to those who may read them."""
    for who in (STUDIO, SHOP):
        await draw(pictor, who)

    assert await callers_listed(pictor, SHOP, "") == {"shop"}
    assert await callers_listed(pictor, SHOP, "shop") == {"shop"}
    assert await callers_listed(pictor, READER, "studio") == {"studio"}
    assert await callers_listed(pictor, READER, "*") >= {"studio", "shop"}
    assert await callers_listed(pictor, OPERATOR, "*") >= {"studio", "shop"}
    for asked in ("studio", "*"):
        call = pictor.history.ListGenerations(history.ListGenerationsRequest(caller=asked), metadata=SHOP)
        assert await failure(call) == ("PERMISSION_DENIED", "PERMISSION_DENIED")


async def test_a_page_token_grants_nothing(pictor: Gateway):
    """A token that another caller was given is refused."""
    for _ in range(2):
        await draw(pictor, STUDIO)
    page = await pictor.history.ListGenerations(history.ListGenerationsRequest(page_size=1), metadata=STUDIO)
    stolen = history.ListGenerationsRequest(page_token=page.next_page_token)

    assert await failure(pictor.history.ListGenerations(stolen, metadata=SHOP)) == (
        "INVALID_ARGUMENT",
        "PAGE_TOKEN_INVALID",
    )


async def test_a_reader_of_others_sees_their_work(pictor: Gateway):
    """The right to read others covers generation and picture."""
    made = await draw(pictor, STUDIO)
    record = await pictor.history.GetGeneration(
        history.GetGenerationRequest(generation_id=made.id, max_inline_bytes=10_000_000), metadata=READER
    )

    assert record.generation.outputs[0].image.data == made.outputs[0].image.data


@pytest.mark.parametrize("who", [STUDIO, READER], ids=["caller", "reader of others"])
async def test_only_operators_switch_providers(pictor: Gateway, who):
    """The switch belongs to operators; everybody may see it."""
    wanted = catalog.SetProviderStateRequest(provider="gemini", state=catalog.PROVIDER_STATE_DISABLED, reason="because")

    assert await failure(pictor.catalog.SetProviderState(wanted, metadata=who)) == (
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
    )
    listed = await pictor.catalog.ListProviders(catalog.ListProvidersRequest(), metadata=who)
    assert {each.state for each in listed.providers} == {catalog.PROVIDER_STATE_ENABLED}


async def test_an_operator_switches_providers(pictor: Gateway):
    """With the operator's key the switch works."""
    wanted = catalog.SetProviderStateRequest(provider="gemini", state=catalog.PROVIDER_STATE_ENABLED)
    answer = await pictor.catalog.SetProviderState(wanted, metadata=OPERATOR)

    assert answer.provider.state == catalog.PROVIDER_STATE_ENABLED


async def test_health_and_reflection_need_no_key(pictor: Gateway):
    """Balancers and tools come without keys; they learn the services' names and health, no more."""
    stub = health_pb2_grpc.HealthStub(pictor.channel)
    names = (
        "",
        "pictor.v1.ImageService",
        "pictor.v1.HistoryService",
        "pictor.v1.UsageService",
        "pictor.v1.CatalogService",
    )
    states = {(await stub.Check(health_pb2.HealthCheckRequest(service=name))).status for name in names}
    reflection = reflection_pb2_grpc.ServerReflectionStub(pictor.channel).ServerReflectionInfo()
    await reflection.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await reflection.read()
    await reflection.done_writing()

    assert states == {health_pb2.HealthCheckResponse.SERVING}
    assert set(names[1:]) <= {each.name for each in answer.list_services_response.service}
