"""`pictor history` and `pictor compare`: what they ask, and how they show it to people and programs."""

import json
from datetime import UTC, datetime

import pytest
from google.protobuf.json_format import Parse
from typer.testing import CliRunner

from canned_gateway import canned_gateway, generation, image
from pictor.cli.app import app
from pictor.cli.options import moment
from pictor.v1.history_service_pb2 import (
    CompareGenerationsResponse,
    DeleteGenerationsResponse,
    ListGenerationsResponse,
    RateGenerationResponse,
    Rating,
)
from pictor.v1.usage_service_pb2 import GetScorecardResponse

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def gateway(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PICTOR_API_KEY", raising=False)
    with canned_gateway() as running:
        monkeypatch.setenv("PICTOR_ADDRESS", running.address)
        yield running


def pictor(*arguments):
    """Run the command; stdout and stderr apart."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_every_filter_reaches_the_gateway(gateway):
    """Each option of `pictor history` is a field of the request; what is not given is not set."""
    gateway.handlers["ListGenerations"] = lambda *_: ListGenerationsResponse()
    options = {
        "--state": "failed",
        "--since": "2026-11-01",
        "--until": "2026-11-22T12:00Z",
        "--caller": "*",
        "--model": "gpt-image-2",
        "--model-version": "v1",
        "--tier": "pro",
        "--workflow": "hero",
        "--row": "pro",
        "--label": "team=ads",
        "--end-user": "ann",
        "--set": "set_1",
        "--reroll-of": "gen_1",
        "--request-id": "mine",
        "--provider-request-id": "req_1",
        "--page-size": "7",
        "--page-token": "more",
    }

    result = pictor("history", *(word for pair in options.items() for word in pair))
    pictor("history")

    asked, unfiltered = gateway.requests("ListGenerations")
    assert result.exit_code == 0
    assert {field.name for field, _ in asked.ListFields()} == {field.name for field in asked.DESCRIPTOR.fields}
    assert (asked.state, asked.tier, asked.workflow, dict(asked.labels)) == (4, 3, 9, {"team": "ads"})
    assert asked.start_time.ToDatetime(UTC) == datetime(2026, 11, 1, tzinfo=UTC)
    assert asked.end_time.ToDatetime(UTC) == NOON
    assert unfiltered.ListFields() == []


@pytest.mark.parametrize(
    ("text", "time"),
    [
        pytest.param("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC), id="a day begins at midnight UTC"),
        pytest.param("2026-11-22T15:00", datetime(2026, 11, 22, 15, tzinfo=UTC), id="UTC unless it says otherwise"),
        pytest.param("2026-11-22T15:00+02:00", datetime(2026, 11, 22, 13, tzinfo=UTC), id="it says otherwise"),
        pytest.param("7d", datetime(2026, 11, 15, 12, tzinfo=UTC), id="seven days ago"),
        pytest.param("1h30m", datetime(2026, 11, 22, 10, 30, tzinfo=UTC), id="one hour and a half ago"),
    ],
)
def test_a_moment_is_a_time_or_a_span_ago(text, time):
    """People say when in either way."""
    assert moment(text, lambda: NOON) == time


def test_what_is_no_moment_is_bad_input(gateway):
    """The text says what would work; nothing is asked."""
    result = pictor("history", "--since", "yesterday")

    assert result.exit_code == 2
    assert "2026-11-22T15:00Z" in result.stderr
    assert gateway.asked == []


def comparison():
    """Two generations that differ in one fact and agree in another."""
    answer = CompareGenerationsResponse(generations=[generation(image(b"1")), generation(image(b"2"))])
    answer.generations[1].id = "gen_2"
    answer.fields.add(path="images.model", values=["nano", "gpt"], differs=True)
    answer.fields.add(path="labels.team", values=["", "ads\nand more"], differs=True)
    answer.fields.add(path="request.tier", values=["pro", "pro"])
    return answer


def test_compare_shows_what_differs(gateway):
    """Letters stand for the generations; what is alike is left out unless --all asks for it."""
    gateway.handlers["CompareGenerations"] = lambda *_: comparison()

    short = pictor("compare", "gen_1", "gen_2").stdout.splitlines()
    whole = pictor("compare", "gen_1", "gen_2", "--all").stdout.splitlines()

    assert [line.split()[:2] for line in short if "gen_" in line] == [["A", "gen_1"], ["B", "gen_2"]]
    assert ["images.model", "nano", "gpt"] in [line.split() for line in short]
    assert ["labels.team", "-", "ads", "and", "more"] in [line.split() for line in short]
    assert not any("request.tier" in line for line in short)
    assert ["request.tier", "pro", "pro"] in [line.split() for line in whole]
    assert ["images.model", "yes", "nano", "gpt"] in [line.split() for line in whole]
    assert list(gateway.requests("CompareGenerations")[0].generation_ids) == ["gen_1", "gen_2"]


def test_compare_of_one_is_its_lineage_and_of_a_set_its_members(gateway):
    """The three ways of naming reach the gateway as they are; a cut lineage says so."""
    gateway.handlers["CompareGenerations"] = lambda *_: CompareGenerationsResponse(truncated=True)

    said = pictor("compare", "gen_1").stdout
    pictor("compare", "--set", "set_1")

    lineage, members = gateway.requests("CompareGenerations")
    assert (lineage.lineage_of, list(lineage.generation_ids), members.set_id) == ("gen_1", [], "set_1")
    assert "more generations" in said
    assert "nothing differs" in said


def test_compare_as_json_is_the_response(gateway):
    """Programs get everything, also what does not differ."""
    gateway.handlers["CompareGenerations"] = lambda *_: comparison()

    printed = pictor("compare", "gen_1", "gen_2", "--json").stdout

    assert Parse(printed, CompareGenerationsResponse()) == comparison()
    assert json.loads(printed)["fields"][2]["differs"] is False


@pytest.mark.parametrize("arguments", [(), ("gen_1", "--set", "set_1")], ids=["nothing", "both"])
def test_compare_needs_to_know_what(gateway, arguments):
    """Neither ids nor a set, or both, is bad input before anything is asked."""
    result = pictor("compare", *arguments)

    assert (result.exit_code, gateway.asked) == (2, [])
    assert "--set" in result.stderr


def test_rate_says_what_was_understood(gateway):
    """Thumb, winner and words reach the gateway; the answer is one line, or the response as JSON."""
    rating = Rating(generation_id="gen_1", caller="studio", thumb=1, won_over_ids=["gen_2", "gen_3"], text="sharper")
    gateway.handlers["RateGeneration"] = lambda *_: RateGenerationResponse(rating=rating)
    options = ("--thumb", "up", "--over", "gen_2", "--over", "gen_3", "--text", "sharper")

    said = pictor("rate", "gen_1", *options).stdout
    printed = pictor("rate", "gen_1", "--thumb", "down", "--json").stdout

    full, short = gateway.requests("RateGeneration")
    assert said == "gen_1: thumbs up and won over gen_2, gen_3, says studio: sharper\n"
    assert (full.generation_id, full.thumb, list(full.won_over_ids), full.text) == (
        "gen_1",
        1,
        ["gen_2", "gen_3"],
        "sharper",
    )
    assert (short.thumb, list(short.won_over_ids)) == (2, [])
    assert Parse(printed, RateGenerationResponse()).rating == rating


def test_an_unknown_thumb_is_bad_input(gateway):
    """The words that exist are told; nothing is asked."""
    result = pictor("rate", "gen_1", "--thumb", "sideways")

    assert (result.exit_code, gateway.asked) == (2, [])
    assert "up, down" in result.stderr


def test_a_comparison_ends_with_what_was_said(gateway):
    """Earlier ratings stand below the table."""
    answer = comparison()
    answer.ratings.add(generation_id="gen_2", caller="studio", thumb=2)
    gateway.handlers["CompareGenerations"] = lambda *_: answer

    assert pictor("compare", "gen_1", "gen_2").stdout.splitlines()[-1] == "gen_2: thumbs down, says studio"


def test_the_scorecard_is_a_table_or_json(gateway):
    """One line for each workflow and model; what is unknown is a dash."""
    answer = GetScorecardResponse()
    full = answer.scores.add(workflow=9, model="gpt-image-2", wins=5, losses=2, thumbs_up=7, thumbs_down=1)
    full.attempts, full.pictures, full.cost.nanos, full.cost_per_picture.nanos = 11, 10, 530_000_000, 53_000_000
    full.latency_p50.seconds, full.latency_p90.seconds = 35, 70
    answer.scores.add(model="nano", attempts=1)
    gateway.handlers["GetScorecard"] = lambda *_: answer

    lines = pictor(
        "scorecard", "--since", "2026-11-01", "--until", "2026-11-22", "--caller", "shop"
    ).stdout.splitlines()
    printed = pictor("scorecard", "--json").stdout

    asked, unset = gateway.requests("GetScorecard")
    rows = [" ".join(line.split()) for line in lines]
    assert "hero gpt-image-2 5 2 7 1 11 10 $0.5300 $0.0530 35 s 70 s" in rows
    assert "- nano 0 0 0 0 1 0 $0.0000 - - -" in rows
    assert (asked.start_time.ToDatetime(UTC).day, asked.end_time.ToDatetime(UTC).day, asked.caller) == (1, 22, "shop")
    assert unset.ListFields() == []
    assert Parse(printed, GetScorecardResponse()) == answer


def test_an_empty_scorecard_says_so(gateway):
    """Nothing drawn is no empty page."""
    gateway.handlers["GetScorecard"] = lambda *_: GetScorecardResponse()

    assert pictor("scorecard").stdout == "nothing was drawn in this time\n"


def test_a_history_without_matches_says_so(gateway):
    """Nothing found is no empty page; programs get the empty response."""
    gateway.handlers["ListGenerations"] = lambda *_: ListGenerationsResponse()

    assert pictor("history", "--state", "failed").stdout == "no generation matches\n"
    assert Parse(pictor("history", "--json").stdout, ListGenerationsResponse()) == ListGenerationsResponse()


# Deleting


def test_delete_says_what_went(gateway):
    """With --yes nobody is asked; every option reaches the gateway."""
    gateway.handlers["DeleteGenerations"] = lambda *_: DeleteGenerationsResponse(generation_count=1200, upload_count=2)

    named = pictor("delete", "gen_1", "gen_2", "--yes")
    pictor("delete", "--end-user", "ann", "--caller", "studio", "--yes")
    pictor("delete", "--everything", "--yes")

    ids, ann, everything = gateway.requests("DeleteGenerations")
    assert (named.exit_code, named.stdout) == (0, "deleted: 1,200 generations, 2 uploads\n")
    assert list(ids.generation_ids) == ["gen_1", "gen_2"]
    assert (ann.end_user, ann.caller, everything.everything) == ("ann", "studio", True)


def test_delete_as_json_is_the_response_message(gateway):
    """It can be read back; what was left is told by the exit code too."""
    answer = DeleteGenerationsResponse(generation_count=1, running_ids=["gen_9"])
    gateway.handlers["DeleteGenerations"] = lambda *_: answer

    result = pictor("delete", "--everything", "--yes", "--json")

    assert result.exit_code == 3
    assert Parse(result.stdout, DeleteGenerationsResponse()) == answer
    assert "left, for they still run: gen_9" in result.stderr


@pytest.mark.parametrize(("said", "code", "calls"), [("y\n", 0, 1), ("n\n", 2, 0), ("", 2, 0)])
def test_delete_asks_first(gateway, said, code, calls):
    """Only a yes deletes; where nobody is there to answer, --yes must be given."""
    gateway.handlers["DeleteGenerations"] = lambda *_: DeleteGenerationsResponse()

    result = CliRunner().invoke(app, ["delete", "--end-user", "ann"], input=said, catch_exceptions=False)

    assert (result.exit_code, len(gateway.requests("DeleteGenerations"))) == (code, calls)
    assert "Delete all that was made for end user ann for ever?" in result.stderr
    assert ("--yes" in result.stderr) is (code == 2)


@pytest.mark.parametrize("words", [[], ["gen_1", "--everything"], ["--end-user", "ann", "--everything"]])
def test_delete_wants_to_know_exactly_what(gateway, words):
    """Nothing is deleted on a guess."""
    result = pictor("delete", *words, "--yes")

    assert (result.exit_code, gateway.requests("DeleteGenerations")) == (2, [])
