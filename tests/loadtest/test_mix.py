"""Mixes: what ships reads, weights are kept, and a file that makes no sense is refused with its place."""

import random
from collections import Counter

import pytest

from pictor.v1.image_pb2 import TIER_PRO
from pictor_loadtest import mix
from pictor_loadtest.arrivals import Rate, Spacing
from pictor_loadtest.schedule import Load

SMALL = b"""
about = "two"
prompts = ["a fox", "a jay"]
[shapes.plain]
weight = 3
[shapes.pro]
weight = 1
stream = true
row = "pro"
options = { tier = "pro", preview_count = 2 }
"""


def load(data=SMALL, **changes):
    wanted = {
        "mix": mix.read("small", data), "rate": Rate(20, 20), "duration_s": 10.0, "spacing": Spacing.POISSON, "seed": 1,
        "max_in_flight": 10,
    }  # fmt: skip
    return Load(**(wanted | changes))


def test_every_shipped_mix_is_read():
    assert mix.shipped() == ("decision-table", "previews", "standard")
    for name in mix.shipped():
        assert mix.load(name).about


def test_the_first_mix_has_every_row_of_the_decision_table():
    assert {shape.row for shape in mix.load("decision-table").shapes} == set(mix.ROWS)


def test_a_shape_is_what_its_table_says():
    plain, pro = mix.read("small", SMALL).shapes

    assert (plain.method, plain.row, plain.prompts) == ("Generate", "", ("a fox", "a jay"))
    assert (pro.method, pro.row, pro.request.tier, pro.request.preview_count) == ("GenerateStream", "pro", TIER_PRO, 2)


def test_weights_are_kept():
    small, dice = mix.read("small", SMALL), random.Random(1)
    dealt = Counter(small.deal(dice)[0].name for _ in range(4000))

    assert dealt["plain"] / 4000 == pytest.approx(0.75, abs=0.02)


def test_the_same_seed_makes_the_same_calls():
    assert load().schedule() == load().schedule()
    assert load().schedule() != load(seed=2).schedule()


def test_another_mix_is_called_at_the_same_times():
    """So that two mixes can be compared under the same arrivals."""
    other = load(SMALL.replace(b"weight = 3", b"weight = 30"))

    assert [due.at_s for due in other.schedule()] == [due.at_s for due in load().schedule()]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"rate": Rate(1e6, 1e6)}, "more than 1,000,000"), ({"duration_s": 1e-9}, "no call is due")],
)
def test_too_much_and_nothing_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        load(**changes).schedule()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff", "utf-8"),
        (b"shapes = 1", "at least one table"),
        (b"", "at least one table"),
        (b"[shapes.a]\nweight = 1", "no prompts"),
        (b"prompts = ['']\n[shapes.a]\nweight = 1", "prompts is a list of texts"),
        (b"prompts = ['x']\n[shapes.a]\nweight = 0", "weight is more than nothing"),
        (b"prompts = ['x']\n[shapes.a]\nweight = nan", "weight is more than nothing"),
        (b"prompts = ['x']\n[shapes.a]\nweight = true", "weight is missing or no number"),
        (b"prompts = ['x']\n[shapes.a]\nrow = 'pro'", "weight is missing"),
        (b"prompts = ['x']\n[shapes.'a b']\nweight = 1", "a name has letters"),
        (b"prompts = ['x']\n[shapes.a]\nweight = 1\nspeed = 3", "`shapes.a.speed` is none of weight, row"),
        (b"prompts = ['x']\nseed = 1\n[shapes.a]\nweight = 1", "`seed` is none of about"),
        (b"prompts = ['x']\n[shapes.a]\nweight = 1\noptions = { tier = 'gold' }", "options.tier: `gold` is none of"),
        (b"prompts = ['x']\n[shapes.a]\nweight = 1\noptions = { request_id = 'x' }", "request_id` is none of"),
        (
            b"prompts = ['x']\n[shapes.a]\nweight = 1\noptions = { references = ['/etc/passwd'] }",
            "references` is none of",
        ),
        (b"prompts = ['x']\n[shapes.a]\nweight = 1\nmask = true", "mask needs edit_px"),
        (b"prompts = ['x']\n[shapes.a]\nweight = 1\nedit_px = [8, 8]", "edit_px is width and height"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(data, words):
    with pytest.raises(ValueError, match="mix bad: .*" + words):
        mix.read("bad", data)


def test_a_name_that_is_no_mix_says_which_there_are():
    with pytest.raises(ValueError, match=r"there are decision-table, previews, standard, or name a \.toml file"):
        mix.load("fast")
