"""The workload that ships: always the same requests, in exactly the shares that its file states."""

import hashlib
import re
import tomllib
from collections import Counter
from dataclasses import replace
from importlib import resources

import pytest

from pictord.domain.request import Operation, Resolution, Tier
from pictord.routing.validate import violations
from pictord.whatif.record import line_of
from pictord.whatif.workload import apportion, deal, shipped
from router_world import CATALOG

TEXT = (resources.files("pictord.whatif") / "workload.toml").read_text("utf-8")
TABLES = tomllib.loads(TEXT)
WORKLOAD = shipped()
REQUESTS = [recorded.request for recorded in deal(WORKLOAD)]


def of_kind(name):
    """The requests of a kind, known by what their prompts say."""
    return [each for each in REQUESTS if each.prompt.startswith(WORKLOAD.kinds[name].about + ",")]


def share(counted):
    """Percent of all requests."""
    return 100 * counted / len(REQUESTS)


def test_it_is_the_same_every_time():
    """Its hash is the same in every process; if you change the workload, the figures of the README change too."""
    lines = "\n".join(map(line_of, deal(shipped())))

    assert hashlib.sha256(lines.encode()).hexdigest() == (
        "acebc75fb81560bcf2ce735cddea79976dba7fb532709ab64dcdd8fccd8616c0"
    )


def test_the_seed_decides_the_order_and_nothing_else():
    """Another seed is another order of the same mixture."""
    other = deal(replace(WORKLOAD, seed=1))

    assert [each.request for each in other] != REQUESTS
    assert Counter(each.request.tier for each in other) == Counter(each.tier for each in REQUESTS)


def test_there_are_five_thousand_valid_requests():
    """Every one of them would pass the gateway's own checks."""
    assert len(REQUESTS) == 5_000
    assert [found for each in REQUESTS for found in violations(each, CATALOG)] == []


def test_the_tiers_and_edits_are_those_of_the_files_first_lines():
    """The comment that people read is true."""
    spoken = re.sub(r"\n# ", " ", TEXT)
    tiers = dict(re.findall(r"(free|standard|pro) (\d+)", re.search(r"by tier: ([^.]+)\.", spoken)[1]))
    edits, masked = re.search(r"Edits are ([\d.]+) percent, masked ones ([\d.]+)\.", spoken).groups()

    assert {tier: share(number) for tier, number in Counter(each.tier for each in REQUESTS).items()} == {
        Tier(tier): float(percent) for tier, percent in tiers.items()
    }
    assert share(sum(each.operation is Operation.EDIT for each in REQUESTS)) == float(edits)
    assert share(sum(each.mask is not None for each in REQUESTS)) == float(masked)


@pytest.mark.parametrize("name", TABLES["kinds"])
def test_a_kind_has_its_share_of_every_tier(name):
    """To the request, as stated in percent of all."""
    stated = TABLES["kinds"][name]["share"]
    tiers = Counter(each.tier for each in of_kind(name))

    assert {tier.value: share(number) for tier, number in tiers.items()} == pytest.approx(stated)


READ = {
    "canvas": lambda each: each.canvas.format or (each.canvas.ratio and each.canvas.ratio.text),
    "resolution": lambda each: each.canvas.resolution or "unset",
    "edited": lambda each: each.image and f"{each.image.width_px}x{each.image.height_px}",
    "references": lambda each: str(len(each.references)),
    "count": lambda each: str(each.count),
    "preview_count": lambda each: str(each.preview_count),
    "model": lambda each: each.model,
}


@pytest.mark.parametrize(
    ("name", "what"),
    [(name, what) for name, kind in TABLES["kinds"].items() for what in kind if what in READ],
)
def test_a_kind_has_its_values_in_their_shares(name, what):
    """Formats, sizes, counts and the rest, within one request of what is stated."""
    requests = of_kind(name)
    found = Counter(READ[what](each) for each in requests)

    for value, percent in TABLES["kinds"][name][what].items():
        assert abs(found[value] - len(requests) * percent / 100) < 1
    assert set(found) == set(TABLES["kinds"][name][what])


@pytest.mark.parametrize("name", TABLES["kinds"])
def test_a_kind_is_what_it_says(name):
    """Workflow, quality and masks hold for all of its requests."""
    kind = TABLES["kinds"][name]

    assert {each.workflow for each in of_kind(name)} == {kind.get("workflow")}
    assert {each.high_quality for each in of_kind(name)} == {kind.get("high_quality", False)}
    assert {each.mask is not None for each in of_kind(name)} == {kind.get("masked", False)}


def test_the_stated_shares_are_all_there_is():
    """They add up to 100 percent, and a pro user may ask for 2K."""
    total = sum(sum(kind["share"].values()) for kind in TABLES["kinds"].values())

    assert total == pytest.approx(100)
    assert any(each.canvas.resolution is Resolution.R2K and each.tier is Tier.PRO for each in REQUESTS)


@pytest.mark.parametrize(
    ("shares", "total", "numbers"),
    [
        ({"a": 50, "b": 50}, 4, {"a": 2, "b": 2}),
        ({"a": 1, "b": 1, "c": 1}, 10, {"a": 4, "b": 3, "c": 3}),
        ({"a": 60, "b": 40}, 1, {"a": 1, "b": 0}),
        ({"a": 99.9, "b": 0.1}, 0, {"a": 0, "b": 0}),
        ({"a": 2}, 7, {"a": 7}),
    ],
)
def test_whole_numbers_in_proportion(shares, total, numbers):
    """The largest remainders are rounded up, so that nothing is lost."""
    assert apportion(shares, total) == numbers
