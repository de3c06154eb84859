"""The runbook, the alert rules and the dashboard belong together: each alert has its section, each command exists."""

import json
import re

import pytest
import yaml

from pages import ROOT, Page, broken_links, code, used
from pictord.domain.alert import BUDGET
from pictord.domain.plan import ExclusionReason
from pictord.jobs import alerts as ledger_alerts
from pictord.jobs import observer
from pictord.resilience.provider_state import AlertKind

RUNBOOK = Page("docs/runbook.md")
RULES_FILE = ROOT / "deploy/prometheus/alerts.yml"
RULES = [rule for group in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES]
KINDS = {
    *AlertKind,
    observer.NOT_AS_PLANNED,
    observer.NOT_STORED,
    observer.OVER_CAP,
    observer.EXTRA_DROPPED,
    observer.OVERRUN,
    ledger_alerts.PRICE_MISSING,
    ledger_alerts.VERSION_CHANGED,
    ledger_alerts.UNKNOWN_COST,
    BUDGET,
}
"""Every kind of alarm that there is."""


def test_every_alert_leads_to_its_own_section():
    """By its name, in the runbook that the rules say."""
    links = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in RULES}

    assert {link.partition("#")[0] for link in links.values()} == {"https://pictor.example/docs/runbook.md"}
    assert {name: link.partition("#")[2] for name, link in links.items()} == {name: name.lower() for name in NAMES}
    assert {name.lower() for name in NAMES} <= RUNBOOK.anchors()


def test_every_alert_has_a_line_in_the_table_and_every_line_an_alert():
    """In the order of the rules."""
    listed = [re.match(r"\[(\w+)\]", row[0])[1] for row in RUNBOOK.table("alert")]

    assert sorted(listed) == sorted(NAMES)
    assert re.findall(r"^## (\w+)$", RUNBOOK.text, re.MULTILINE) == listed


@pytest.mark.parametrize("name", NAMES)
def test_each_section_says_all_of_it(name):
    """What it means, how to see it, the command to type, and what not to do."""
    section = RUNBOOK.section(name)

    assert all(f"**{word}" in section for word in ("Means.", "See.", "Do not**"))
    assert "```sh" in section


@pytest.mark.parametrize("words", list(RUNBOOK.calls()), ids=" ".join)
def test_every_command_can_be_typed(words):
    """It exists, with its options."""
    assert used(words).path.startswith(words[0])


def test_links_lead_somewhere():
    """Within the page and to files."""
    assert broken_links(RUNBOOK) == []


def test_every_rule_says_what_it_is_and_how_urgent():
    """One sentence, and one of two severities."""
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


def test_no_kind_of_alarm_is_without_a_rule():
    """Those with a rule of their own are left out of the last one, and all others are explained under it."""
    own = set(re.findall(r'pictor_alarm_kind="(\w+)"', RULES_FILE.read_text()))
    left_out = set(re.search(r'pictor_alarm_kind!~"([a-z_|]+)"', RULES_FILE.read_text())[1].split("|"))
    switches = set(re.findall(r'pictor_obstacle="(\w+)"', RULES_FILE.read_text()))

    assert switches <= set(ExclusionReason)
    assert left_out == own | (switches & KINDS)
    assert {code(row[0])[0] for row in RUNBOOK.table("kind")} == KINDS - left_out


@pytest.mark.parametrize("name", NAMES)
def test_promtool_sees_each_rule_fire_and_keep_silent(name):
    """`make ops` plays these histories; here it is proved that none of them is missing."""
    histories = yaml.safe_load((RULES_FILE.parent / "alerts_test.yml").read_text())["tests"]
    looks = [look for each in histories for look in each["alert_rule_test"] if look["alertname"] == name]

    assert {bool(look["exp_alerts"]) for look in looks} == {True, False}


def test_the_dashboard_can_be_imported():
    """Panels do not overlap, fill their rows, and ask the chosen Prometheus."""
    dashboard = json.loads((ROOT / "deploy/grafana/pictor.json").read_text())
    panels = dashboard["panels"]
    taken = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]

    assert len(set(taken)) == len(taken) == 24 * (1 + max(y for _, y in taken))
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels if panel["type"] != "row")
    assert {target["datasource"]["uid"] for panel in panels for target in panel.get("targets", ())} == {"${datasource}"}
