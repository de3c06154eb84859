"""Alert rules and dashboard name only what a running gateway shows on /metrics, with the labels that they ask for."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import suppress

import aiohttp
import grpc
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway import Gateway, gateway, openai_account
from pages import ROOT
from pictor.v1 import image_pb2
from pictor.v1 import usage_service_pb2 as usage
from pictor.v1.image_service_pb2 import GenerateRequest, GenerateStreamRequest
from pictord.settings import Quota

OF_PROMETHEUS = {"up", "ALERTS", "job", "instance", "alertname", "alertstate", "le"}
"""Metrics and labels that Prometheus adds."""

FUNCTIONS = {
    *("sum", "max", "count", "by", "rate", "increase", "max_over_time", "histogram_quantile", "label_replace", "time"),
    *("and", "or", "vector", "label_values", "bool"),
}

Shown = dict[str, dict[str, set[str]]]
"""Metric → label → values."""


def rules() -> Iterator[tuple[str, str, str]]:
    """Name, expression and what is said of its labels."""
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    for rule in groups[0]["rules"]:
        yield rule["alert"], rule["expr"], rule["annotations"]["summary"]


def panels() -> Iterator[tuple[str, str, str]]:
    """Title, expression and legend of everything that the dashboard asks."""
    board = json.loads((ROOT / "deploy/grafana/pictor.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]
    for variable in board["templating"]["list"][1:]:
        yield variable["name"], variable["definition"], ""


@pytest.fixture(scope="module")
def shown() -> Shown:
    """What is shown; looked at once for all tests."""
    return asyncio.run(look())


async def look() -> Shown:
    """What two gateways show after a few calls: simulated engines with each kind of trouble, and one with a quota."""
    found: Shown = {}
    async with gateway(admin_listen="127.0.0.1:0") as pictor:
        budget = usage.Budget(id="one", pictures=1, counted=usage.Budget.COUNTED_GLOBAL, soft=True)
        budget.window = usage.Budget.WINDOW_DAY
        await pictor.usage.SetBudget(usage.SetBudgetRequest(budget=budget))
        pro = GenerateRequest(prompt="a red fox", tier=image_pb2.TIER_PRO)
        [_ async for _ in pictor.images.GenerateStream(GenerateStreamRequest(request=pro))]
        for fault in (
            "gemini:unavailable",
            "gemini:finish_reason;reason=IMAGE_SAFETY",
            "gemini:reset_mid_body",
            "openai:missing_usage",
            "openai:insufficient_quota",
        ):
            tier = image_pb2.TIER_PRO if fault.startswith("openai") else image_pb2.TIER_STANDARD
            request = GenerateRequest(prompt="a red fox", tier=tier)
            with suppress(grpc.aio.AioRpcError):
                await pictor.images.Generate(request, metadata=(("x-sandbox-fault", fault),))
        await pictor.app.alerts.look()
        await read_metrics(pictor, found)
    quota = Quota(images_per_minute=100.0)
    async with gateway(
        real=True, admin_listen="127.0.0.1:0", openai=lambda engines: openai_account(engines, quota=quota), gemini=None
    ) as pictor:
        await read_metrics(pictor, found)
    return found


async def read_metrics(pictor: Gateway, found: Shown) -> None:
    url = f"http://{pictor.app.admin_address}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        page = await answer.text()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)


ASKED = [pytest.param(*each, id=each[0]) for each in (*rules(), *panels())]


@pytest.mark.parametrize(("expression", "said"), [pytest.param(*each.values[1:], id=each.id) for each in ASKED])
def test_what_is_asked_is_shown(shown, expression, said):
    """Every metric exists, every label is one of a metric that is asked for, in the expression and in what is said."""
    bare = re.sub(r'"[^"]*"', "", re.sub(r"\[[^\]]*\]", "", expression))
    words = set(re.findall(r"[A-Za-z_]{2,}", bare)) | set(re.findall(r"{{\s*(?:\$labels\.)?(\w+)\s*}}", said))
    metrics = words & shown.keys()
    labels = {label for metric in metrics for label in shown[metric]}

    assert metrics or "up" in words
    assert words - metrics - labels - FUNCTIONS - OF_PROMETHEUS == set()


@pytest.mark.parametrize(("expression"), [pytest.param(each.values[1], id=each.id) for each in ASKED])
def test_what_is_said_of_a_series_is_kept_in_it(expression):
    """A label that a text names has not been summed away."""
    said = next(each.values[2] for each in ASKED if each.values[1] == expression)
    kept = {word for by in re.findall(r"by \(([^)]*)\)", expression) for word in re.findall(r"\w+", by)}
    named = set(re.findall(r"{{\s*(?:\$labels\.)?(\w+)\s*}}", said))

    assert named <= kept | ({"instance"} if "up{" in expression else set())


def test_what_rules_look_for_is_what_is_shown(shown):
    """Obstacles and bases have these values; the alarms that were raised here are among the kinds that rules name."""
    text = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    wanted = {
        label: set(re.findall(rf'{label}="(\w+)"', text))
        for label in ("pictor_obstacle", "pictor_cost_basis", "pictor_alarm_kind")
    }

    assert wanted["pictor_obstacle"] <= shown["pictor_provider_obstacle"]["pictor_obstacle"]
    assert wanted["pictor_cost_basis"] <= shown["pictor_cost_total"]["pictor_cost_basis"]
    assert {"unknown_cost", "price_missing"} <= wanted["pictor_alarm_kind"]
    assert shown["pictor_alarm_time_seconds"]["pictor_alarm_kind"] == {
        "unfunded",
        "unknown_cost",
        "price_missing",
        "budget",
    }
