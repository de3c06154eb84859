"""The admin listener: /metrics for Prometheus and /healthz for orchestrators."""

import asyncio
import logging
import socket

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

import pictor as client
from gateway import Gateway, gateway
from pictor.v1.image_service_pb2 import GenerateRequest
from pictord.settings import SettingsError


@pytest.fixture
async def pictor():
    async with gateway(admin_listen="127.0.0.1:0", drain_s=30.0) as running:
        yield running


async def fetch(pictor: Gateway, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, content type and text."""
    url = f"http://{pictor.app.admin_address}{path}"
    async with aiohttp.ClientSession() as http, http.request(method, url) as answer:
        return answer.status, answer.headers.get("Content-Type", ""), await answer.text()


async def test_a_serving_gateway_is_healthy(pictor):
    """200 while calls are taken."""
    assert await fetch(pictor, "/healthz") == (200, "application/json; charset=utf-8", '{"status": "serving"}')


async def test_a_draining_gateway_says_so_while_it_finishes(pictor):
    """503 as soon as the drain begins, with a call still running, so that balancers look elsewhere."""
    pictor.sandbox.faults.add("stall", times=1)
    call = pictor.images.Generate(GenerateRequest(prompt="a slow fox"))
    await pictor.sandbox.wait_for_stalls(1)

    draining = asyncio.ensure_future(pictor.app.drain())
    while not pictor.app.jobs.is_draining:  # noqa: ASYNC110 - a turn of the loop each, not a wait
        await asyncio.sleep(0)
    status, _, text = await fetch(pictor, "/healthz")
    pictor.sandbox.release_stalls()
    await draining

    assert (status, text) == (503, '{"status": "draining"}')
    assert (await call).generation.outputs[0].image.data


async def test_metrics_are_what_prometheus_reads(pictor):
    """The page parses, and a picture shows in it with its cost."""
    await pictor.images.Generate(GenerateRequest(prompt="a red fox"))

    status, content_type, page = await fetch(pictor, "/metrics")

    families = {family.name: family for family in text_string_to_metric_families(page)}
    (cost,) = [sample for sample in families["pictor_cost"].samples if sample.name == "pictor_cost_total"]
    assert status == 200
    assert content_type.startswith("text/plain")
    assert round(cost.value * 1e9) == pictor.charged_nanos()
    assert cost.labels["pictor_cost_basis"] == "reported"
    assert cost.labels["gen_ai_request_model"] == "gemini-3.1-flash-image"
    assert families["target_info"].samples[0].labels["service_name"] == "pictord"


async def test_a_client_that_speaks_grpc_to_it_is_one_line_of_the_log(pictor, caplog):
    """Who spoke what to which port, without a traceback; the client hears that this is no gateway."""
    address = pictor.app.admin_address
    with pytest.raises(client.Unavailable, match="does not speak gRPC"):
        async with client.Client(address) as stranger:
            await stranger.models()

    ours = [record for record in caplog.records if record.name.startswith(("pictord", "aiohttp"))]
    told = f"127.0.0.1 spoke HTTP/2, as gRPC does, to the admin listener {address}, which has "
    assert ours
    assert {(record.levelname, record.getMessage(), record.exc_info) for record in ours} == {
        ("WARNING", f"{told}/metrics and /healthz over HTTP/1", None)
    }


async def test_a_handler_that_fails_is_logged_whole(pictor, caplog, monkeypatch):
    """What is our own fault keeps its traceback."""
    monkeypatch.setattr("pictord.console.admin.generate_latest", lambda _: 1 / 0)

    status, _, _ = await fetch(pictor, "/metrics")

    (record,) = [record for record in caplog.records if record.exc_info]
    assert (status, record.levelname) == (500, "ERROR")
    assert "ZeroDivisionError" in logging.Formatter().format(record)


async def test_nothing_else_is_there(pictor):
    """Two pages, to be read."""
    assert (await fetch(pictor, "/"))[0] == 404
    assert (await fetch(pictor, "/metrics", "POST"))[0] == 405


async def test_the_listener_can_be_switched_off():
    """An empty admin address opens no port."""
    async with gateway(admin_listen=None) as pictor:
        assert pictor.app.admin_address is None


async def test_a_taken_admin_port_is_told_by_its_key():
    """The second gateway on a machine ends with one sentence that says what to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(SettingsError, match=rf"admin_listen \(PICTOR_ADMIN_LISTEN\): cannot bind {address}"):
            async with gateway(admin_listen=address):
                pass
