"""Reload: policy, catalog, overlay and secrets are taken anew together, or not at all, under running calls."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest

from gateway import GPT, NANO, Gateway, gateway, gemini_account, openai_account
from pictor.v1 import image_pb2
from pictor.v1.catalog_service_pb2 import ListModelsRequest, ListProvidersRequest
from pictor.v1.generation_pb2 import Generation
from pictor.v1.image_service_pb2 import GenerateRequest, GenerateStreamRequest, PlanRequest
from pictord.catalog.overlay import CatalogError
from pictord.sandbox import Sandbox, SandboxSettings, run
from pictord.settings import CallerTable, Quota, SettingsError

PRO = image_pb2.TIER_PRO


@pytest.fixture
async def pictor(tmp_path):
    async with gateway(real=True, overlay=tmp_path) as running:
        yield running


@pytest.fixture
async def elsewhere() -> AsyncIterator[Sandbox]:
    """Engines at another address."""
    async with run(SandboxSettings(time_scale=0)) as engines:
        yield engines


async def draw(pictor: Gateway, **fields) -> Generation:
    request = GenerateRequest(**({"prompt": "a red fox"} | fields))
    return (await pictor.images.Generate(request)).generation


async def row(pictor: Gateway) -> str:
    answer = await pictor.images.Plan(PlanRequest(generate=GenerateRequest(prompt="a red fox")))
    return answer.plan.row


def reload(pictor: Gateway, **changes) -> None:
    pictor.app.reload(replace(pictor.app.settings, **changes))


OWN_ROW = """
[rows.ours]
when = [{{}}]
before = "standard"
candidates = ["{model}"]
"""


async def test_a_new_row_is_in_force_at_once(pictor, tmp_path):
    """The operator writes a row, sends SIGHUP, and the next call goes by it."""
    (tmp_path / "policy.toml").write_text(OWN_ROW.format(model=GPT))

    reload(pictor)

    assert await row(pictor) == "ours"
    assert (await draw(pictor)).outputs[0].image.model == GPT


async def test_a_new_price_is_in_force_at_once(pictor, tmp_path):
    """Negotiated prices come by overlay: the catalog's version changes, and so does what a picture costs."""
    before = await pictor.catalog.ListModels(ListModelsRequest())
    full = await draw(pictor)
    (tmp_path / "models.toml").write_text(f'[models."{NANO}".prices.2026-05-28]\nimage_out = 30.00\n')

    reload(pictor)

    after = await pictor.catalog.ListModels(ListModelsRequest())
    assert after.catalog_version != before.catalog_version
    assert (await draw(pictor)).cost.amount.nanos < full.cost.amount.nanos


BROKEN = {
    "unknown model": ("policy.toml", OWN_ROW.format(model="dall-e-1"), ("policy.toml", "ours", "dall-e-1")),
    "wrong type": ("policy.toml", "[rows.standard]\nwhen = 7", ("policy.toml", "standard", "when")),
    "misspelt key": ("models.toml", f"[models.{GPT}.sizes]\nmax_pixls = 1", ("models.toml", GPT, "max_pixls")),
    "no ratio": ("formats.toml", '[formats."x/post"]\nratio = "wide"', ("formats.toml", "x/post", "ratio")),
    "no TOML": ("models.toml", "[models =", ("models.toml", "line 1")),
    "misspelt file": ("polcy.toml", "", ("polcy.toml", "policy.toml")),
}
"""A file of the overlay, what it says, and what the refusal must name."""


@pytest.mark.parametrize(("file", "text", "names"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_file_is_refused_and_the_old_one_stays(pictor, elsewhere, file, text, names):
    """The error names file, id and key; not even the good half of the reload is taken."""
    was, overlay = pictor.app._parts.routing, pictor.app.settings.overlay
    (overlay / file).write_text(text)

    with pytest.raises(CatalogError) as refusal:
        reload(pictor, openai=openai_account(elsewhere), gemini=gemini_account(elsewhere))

    assert all(name in str(refusal.value) for name in (str(overlay), *names)), refusal.value
    assert pictor.app._parts.routing is was
    assert (await draw(pictor)).outputs[0].image.model == NANO
    assert len(elsewhere.requests) == 0


async def test_broken_credentials_are_refused_and_everything_stays(pictor, tmp_path):
    """The good overlay waits until the rest is good too."""
    (tmp_path / "policy.toml").write_text(OWN_ROW.format(model=GPT))
    neither = replace(gemini_account(pictor.sandbox), key=None)

    with pytest.raises(ValueError, match="either an API key or a Vertex project"):
        reload(pictor, gemini=neither)

    assert await row(pictor) == "standard"
    assert (await draw(pictor)).outputs[0].image.model == NANO


async def test_a_new_key_is_used_by_the_next_call(pictor):
    """Keys are rotated without a restart; the engine sees another account."""
    await draw(pictor, tier=PRO)

    reload(pictor, openai=openai_account(pictor.sandbox, "sk-new"))
    await draw(pictor, tier=PRO)

    old, new = pictor.sandbox.requests
    assert old.account != new.account


async def test_a_call_in_flight_ends_on_the_adapter_it_began_with(pictor, elsewhere):
    """Its picture arrives from the old address; the next call goes to the new one."""
    pictor.sandbox.faults.add("stall", times=1)
    call = pictor.images.Generate(GenerateRequest(prompt="a slow fox"))
    await pictor.sandbox.wait_for_stalls(1)

    reload(pictor, openai=openai_account(elsewhere), gemini=gemini_account(elsewhere))
    quick = await draw(pictor)
    pictor.sandbox.release_stalls()

    assert (await call).generation.outputs[0].image.data
    assert quick.outputs[0].image.data
    assert (len(pictor.sandbox.requests), len(elsewhere.requests)) == (1, 1)


async def test_a_replaced_adapter_is_closed_when_its_last_call_has_ended(pictor, elsewhere):
    """However often keys are rotated, connections do not pile up."""
    old = dict(pictor.app._parts.providers)
    pictor.sandbox.faults.add("stall", times=1)
    call = pictor.images.Generate(GenerateRequest(prompt="a slow fox"))
    await pictor.sandbox.wait_for_stalls(1)
    reload(pictor, openai=openai_account(elsewhere), gemini=gemini_account(elsewhere))
    (closing,) = pictor.app._parts._retiring
    await draw(pictor)
    was_open = not closing.done() and not old["gemini"]._http.is_closed

    pictor.sandbox.release_stalls()
    await call
    await closing
    await asyncio.sleep(0)  # a turn of the loop, for who is told of its end

    assert was_open
    assert old["gemini"]._http.is_closed
    assert old["openai"]._client.is_closed()
    assert not pictor.app._parts._retiring


async def test_a_refused_key_is_tried_again_after_a_reload(pictor):
    """Replace the key, reload, and the provider is back without a further command."""
    pictor.sandbox.faults.add("invalid_api_key", provider="openai", times=1)
    substitute = await draw(pictor, tier=PRO)
    refused = await key_refused(pictor)

    reload(pictor, openai=openai_account(pictor.sandbox, "sk-new"))

    assert substitute.outputs[0].image.model == NANO
    assert refused is True
    assert await key_refused(pictor) is False
    assert (await draw(pictor, tier=PRO)).outputs[0].image.model == GPT


async def key_refused(pictor: Gateway) -> bool:
    answer = await pictor.catalog.ListProviders(ListProvidersRequest())
    return next(each for each in answer.providers if each.name == "openai").key_refused


async def test_a_provider_that_is_taken_away_is_no_candidate_any_more(pictor):
    """Without its key every row goes to the other engine, and says so."""
    reload(pictor, openai=None)

    generation = await draw(pictor, tier=PRO)

    providers = (await pictor.catalog.ListProviders(ListProvidersRequest())).providers
    assert generation.outputs[0].image.model == NANO
    assert [each.name for each in providers if each.configured] == ["gemini"]


async def test_a_provider_that_is_added_serves_at_once(elsewhere):
    """A key that comes later needs no restart."""
    async with gateway(real=True, openai=None) as pictor:
        before = await draw(pictor, tier=PRO)

        reload(pictor, openai=openai_account(elsewhere))

        assert before.outputs[0].image.model == NANO
        assert (await draw(pictor, tier=PRO)).outputs[0].image.model == GPT


async def test_a_waiting_call_goes_to_the_next_engine_when_its_own_is_taken_away(pictor):
    """A plan may be older than the configuration; it ends in a fallback, not in a fault."""
    pictor.sandbox.faults.add("rate_limit", provider="gemini", times=1, args={"retry_delay": "0.4s"})
    await draw(pictor)  # from here on gemini is frozen
    pictor.app.guards.disable("openai", "so that the next call waits for gemini")
    call = pictor.images.GenerateStream(GenerateStreamRequest(request=GenerateRequest(prompt="a queued fox")))
    await call.initial_metadata()
    pictor.app.guards.enable("openai")

    reload(pictor, gemini=None)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        [_ async for _ in call]

    assert refused.value.code().name == "UNAVAILABLE"
    assert "taken out of the configuration" in (refused.value.details() or "")
    assert all(request.prompt != "a queued fox" for request in pictor.sandbox.requests)


async def test_edits_go_where_the_file_now_says(pictor, tmp_path):
    """The edit provider is part of the decision table."""
    before = pictor.app._parts.routing.policy.version

    reload(pictor, edit_provider="openai")

    edit = next(row for row in pictor.app._parts.routing.policy.rows if row.name == "edit")
    assert edit.candidates[0] == GPT
    assert pictor.app._parts.routing.policy.version != before


async def test_what_needs_a_restart_is_said_and_not_half_taken(pictor, caplog):
    """Ports, callers, caps and quotas stay as they were, and the log names what was changed in vain."""
    was = pictor.app.settings
    quota = Quota(images_per_minute=5)

    reload(
        pictor,
        listen="127.0.0.1:1",
        callers=(CallerTable("x", ("0" * 64,)),),
        openai=openai_account(pictor.sandbox, quota=quota),
    )

    assert "changed, but needs a restart: listen, callers, providers.openai quota" in caplog.text
    assert (pictor.app.settings.listen, pictor.app.settings.callers) == (was.listen, ())
    assert pictor.app._parts.facts()["openai"].per_minute is None


async def test_sandbox_mode_cannot_change_while_serving(pictor):
    """A gateway with real keys never becomes a simulated one, nor the other way round."""
    with pytest.raises(SettingsError, match="PICTOR_SANDBOX"):
        reload(pictor, sandbox=True)

    assert (await draw(pictor)).outputs[0].image.data


async def test_the_log_says_what_is_in_force(pictor, caplog):
    """One line with the versions, as in every Plan."""
    caplog.set_level("INFO", "pictord")

    reload(pictor)

    routing = pictor.app._parts.routing
    assert f"reloaded: policy {routing.policy.version}, catalog {routing.catalog.version}" in caplog.text
