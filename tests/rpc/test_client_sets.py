"""A set's stream that breaks, over canned answers: each step once, and what is said when it cannot go on."""

import traceback

import grpc
import pytest
from typer.testing import CliRunner

import pictor
from both_clients import BOTH, connected
from canned_gateway import (
    accepted,
    canned_gateway,
    completed,
    download,
    generation,
    image,
    lose,
    picture,
    refuse,
    started,
)
from pictor.cli.app import app
from pictor.reconnect import DELAYS_S
from pictor.v1.generation_pb2 import Generation, GenerationEvent
from pictor.v1.history_service_pb2 import ListGenerationsResponse
from pictor.v1.image_service_pb2 import GenerateSetResponse

PICTURE = bytes(range(256)) * 20
LOG = [accepted(1), started(2), *picture(3, PICTURE), completed(4, generation(image(PICTURE)))]
_NO_RETRY = (("grpc-retry-pushback-ms", "-1"),)


@pytest.fixture
def gateway():
    with canned_gateway() as running:
        running.handlers["ListGenerations"] = lambda *_: ListGenerationsResponse(generations=[Generation(id="gen_1")])
        running.handlers["DownloadImage"] = download(PICTURE)
        yield running


@pytest.fixture(params=BOTH)
def kind(request):
    return request.param


@pytest.fixture
def waits():
    return []


@pytest.fixture
async def client(gateway, kind, waits):
    async with connected(kind, gateway.address, waits=waits, jitter=lambda: 1.0, new_id=lambda: "id-1") as one:
        yield one


def a_set():
    message = GenerateSetResponse()
    message.set_accepted.set_id, message.set_accepted.output_count = "set_1", 2
    return message


def fox(events):
    return [GenerateSetResponse(item_key="fox", generation_id="gen_1", event=event) for event in events]


def without_bytes(steps):
    """The same as the gateway sends it under `max_inline_bytes` 0."""
    found = []
    for step in steps:
        copy = GenerateSetResponse()
        copy.CopyFrom(step)
        if step.event.HasField("image"):
            copy.event.image.chunks_follow = False
        if not step.event.HasField("image_chunk"):
            found.append(copy)
    return found


def failed(reason, key="owl"):
    message = GenerateSetResponse(item_key=key)
    message.item_failed.reason = reason
    return message


def summary(succeeded=2):
    message = GenerateSetResponse()
    message.summary.set_id, message.summary.succeeded_count = "set_1", succeeded
    return message


def in_turn(broken, *whole):
    """A handler of one stream after the other; the first ends as a broken connection does."""
    left = [broken, *whole]

    def answer(_, context):
        messages = left.pop(0)
        yield from messages
        if messages is broken:
            lose(context)

    return answer


def lost(messages):
    """A handler that sends these and breaks, every time."""

    def answer(_, context):
        context.set_trailing_metadata(_NO_RETRY)
        yield from messages
        lose(context)

    return answer


async def drawn(client, **options):
    return [step async for step in client.generate_set("a fox", {"fox": "a fox", "owl": "an owl"}, **options)]


def told(steps):
    """What a reader saw: item and kind of each step."""
    return [(step.item_key, type(getattr(step, "event", step)).__name__) for step in steps]


WHOLE = [a_set(), *fox(LOG), failed("NO_IMAGE"), summary(1)]


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
async def test_each_step_comes_once_wherever_the_connection_breaks(gateway, client, cut):
    """The same set is asked for again under its request id; pictures that are still missing are downloaded then."""
    gateway.handlers["GenerateSet"] = in_turn(WHOLE[:cut], without_bytes(WHOLE))

    steps = await drawn(client)

    assert told(steps) == [
        ("", "SetAccepted"),
        ("fox", "Accepted"),
        ("fox", "AttemptStarted"),
        ("fox", "Image"),
        ("fox", "Completed"),
        ("owl", "SetItemFailed"),
        ("", "SetSummary"),
    ]
    assert steps[3].event.data == PICTURE
    first, again = gateway.requests("GenerateSet")
    assert (first.brief.request_id, again.brief.request_id) == ("id-1", "id-1")
    assert not first.brief.HasField("max_inline_bytes")
    assert again.brief.HasField("max_inline_bytes")
    assert again.brief.max_inline_bytes == 0


async def test_an_item_that_failed_for_nothing_may_come_after_all(gateway, client):
    """The set that is asked for again tries it anew: its picture is told, and its failure was."""
    gateway.handlers["GenerateSet"] = in_turn([a_set(), failed("QUEUE_FULL", "fox")], WHOLE)

    steps = await drawn(client)

    assert [what for who, what in told(steps) if who == "fox"] == [
        "SetItemFailed", "Accepted", "AttemptStarted", "Image", "Completed",
    ]  # fmt: skip


async def test_a_cancellation_that_nobody_lost_is_told(gateway, client):
    """Without a lost connection it is somebody's wish."""
    gateway.handlers["GenerateSet"] = lambda *_: iter([a_set(), failed("CANCELLED"), summary(1)])

    assert told(await drawn(client)) == [("", "SetAccepted"), ("owl", "SetItemFailed"), ("", "SetSummary")]


@pytest.mark.parametrize(
    ("options", "asked"), [({}, 3), ({"on_disconnect": "finish"}, 2)], ids=["as usual", "to be finished"]
)
async def test_a_cancellation_by_our_absence_is_drawn_again(gateway, client, options, asked):
    """The gateway took us for gone; once more, and it is drawn. Told to finish, it cancels nothing by itself."""
    cancelled = [a_set(), *fox(LOG), failed("CANCELLED"), summary(1)]
    gateway.handlers["GenerateSet"] = in_turn([a_set()], cancelled, WHOLE)

    steps = await drawn(client, **options)

    reasons = [step.reason for step in steps if isinstance(step, pictor.SetItemFailed)]
    assert reasons == (["NO_IMAGE"] if not options else ["CANCELLED"])
    assert len(gateway.requests("GenerateSet")) == asked
    assert [step for step in steps if isinstance(step, pictor.SetSummary)] == steps[-1:]


async def test_a_gateway_that_forgot_the_set_is_not_asked_again(gateway, client):
    """What it forgot, if only one of two, it would draw, and cost, anew: the error names set and request id."""
    owl = GenerateSetResponse(item_key="owl", generation_id="gen_2", event=accepted(1))
    gateway.handlers["GenerateSet"] = lost([a_set(), *fox(LOG[:1]), owl])
    known = [Generation(id="gen_1"), Generation(id="gen_other")]
    gateway.handlers["ListGenerations"] = lambda *_: ListGenerationsResponse(generations=known)

    with pytest.raises(pictor.Unavailable) as caught:
        await drawn(client)

    error = caught.value
    why = (
        "the connection was lost, and the gateway that answers now does not know set set_1 (another data folder?), "
        "so it is unknown what was made"
    )
    assert (error.message, error.paid, error.request_id) == (f"{why} (request_id id-1)", True, "id-1")
    assert error.metadata == {"set_id": "set_1", "request_id": "id-1"}
    assert "RpcError" not in "".join(traceback.format_exception(error))
    assert len(gateway.requests("GenerateSet")) == 1


async def test_a_set_of_which_all_that_was_seen_is_known_is_asked_for_again(gateway, client):
    """Whatever page of the list it is on; what is known besides is no matter."""
    owl = GenerateSetResponse(item_key="owl", generation_id="gen_2", event=accepted(1))
    gateway.handlers["GenerateSet"] = in_turn([a_set(), *fox(LOG[:1]), owl], WHOLE)
    gateway.handlers["ListGenerations"] = lambda asked, _: ListGenerationsResponse(
        generations=[Generation(id="gen_2" if asked.page_token else "gen_1"), Generation(id="gen_other")],
        next_page_token="" if asked.page_token else "more",
    )

    assert told(await drawn(client))[-1] == ("", "SetSummary")
    assert len(gateway.requests("GenerateSet")) == 2


async def test_a_gateway_that_knows_of_nothing_is_asked_again_before_it_is_given_up(gateway, client):
    """If none of the set was heard of either, the gateway may be about to open the first one."""
    gateway.handlers["GenerateSet"] = in_turn([a_set()], WHOLE)
    gateway.handlers["ListGenerations"] = once_empty_then(ListGenerationsResponse(generations=[Generation(id="gen_1")]))

    assert told(await drawn(client))[-1] == ("", "SetSummary")
    assert len(gateway.requests("ListGenerations")) == 2


async def test_a_gateway_that_goes_on_knowing_of_nothing_has_forgotten_the_set(gateway, client, waits):
    """After the last try the error says so, and nothing is drawn anew."""
    gateway.handlers["GenerateSet"] = lost([a_set()])
    gateway.handlers["ListGenerations"] = lambda *_: ListGenerationsResponse()

    with pytest.raises(pictor.Unavailable, match=r"does not know set set_1 .* \(request_id id-1\)") as caught:
        await drawn(client)

    assert (caught.value.is_forgotten, caught.value.paid, waits) == (True, True, list(DELAYS_S))
    assert len(gateway.requests("GenerateSet")) == 1


def once_empty_then(page):
    """A handler that first lists nothing."""
    pages = iter([ListGenerationsResponse()])
    return lambda *_: next(pages, page)


async def test_a_connection_that_breaks_without_news_is_given_up(gateway, client, waits):
    """What comes again is no progress, or it would go on for ever."""
    gateway.handlers["GenerateSet"] = lost([a_set(), *fox(LOG[:2])])

    with pytest.raises(pictor.Unavailable) as caught:
        await drawn(client)

    assert waits == list(DELAYS_S)
    assert (
        caught.value.message == "the connection was lost; what was sent goes on: look for set set_1 (request_id id-1)"
    )
    assert caught.value.paid


async def test_a_set_of_which_nothing_came_back_may_have_been_accepted(gateway, client):
    """It is not known under which id; the request id is what to ask with."""
    gateway.handlers["GenerateSet"] = lost([])

    with pytest.raises(pictor.Unavailable) as caught:
        await drawn(client)

    text = "the connection was lost; it is unknown whether the set was accepted (request_id id-1)"
    assert (caught.value.message, caught.value.paid) == (text, True)
    assert len(gateway.requests("GenerateSet")) == 1


@pytest.mark.parametrize("reason", ["SHUTTING_DOWN", "INVALID_FIELD"])
async def test_a_refused_set_is_refused(gateway, client, reason):
    """Nothing was accepted, and nothing is paid."""
    code = grpc.StatusCode.UNAVAILABLE if reason == "SHUTTING_DOWN" else grpc.StatusCode.INVALID_ARGUMENT
    gateway.handlers["GenerateSet"] = lambda _, context: refuse(
        context, code, "going away", reason=reason, trailers=_NO_RETRY
    )

    with pytest.raises(pictor.PictorError, match="going away") as caught:
        await drawn(client)

    assert (caught.value.reason, caught.value.paid, caught.value.message) == (reason, False, "going away")


async def test_a_set_that_takes_too_long_goes_on(gateway, client):
    """The time of the call is over, not the work."""
    gateway.handlers["GenerateSet"] = lambda _, context: refuse_late(context)

    with pytest.raises(pictor.TooLate) as caught:
        await drawn(client, timeout=30)

    assert caught.value.paid
    assert caught.value.message.endswith("; what was sent goes on: look for set set_1 (request_id id-1)")


def refuse_late(context):
    yield a_set()
    context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


# --- the command


def command(monkeypatch, tmp_path, gateway, *words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PICTOR_ADDRESS", gateway.address)
    return CliRunner().invoke(app, ["set", "a fox", "--formats", "x/post", *words], catch_exceptions=False)


def test_the_command_goes_on_after_a_lost_connection(gateway, monkeypatch, tmp_path):
    """It says that it lost it, saves each picture once, and ends as if nothing had been."""
    log = [each for each in without_bytes(WHOLE) if not each.HasField("item_failed")]
    gateway.handlers["GenerateSet"] = in_turn(WHOLE[:3], log)

    ended = command(monkeypatch, tmp_path, gateway)

    assert ended.exit_code == 0
    assert "pictor: the connection was lost, trying again\n" in ended.stderr
    assert ended.stderr.count("calling gemini") == 1
    assert [path.read_bytes() for path in (tmp_path / "out").iterdir()] == [PICTURE]


def test_an_item_that_comes_after_all_is_not_missing(gateway, monkeypatch, tmp_path):
    """Its failure was told, but everything that was asked for is there."""
    log = [each for each in WHOLE if not each.HasField("item_failed")]
    gateway.handlers["GenerateSet"] = in_turn([a_set(), failed("QUEUE_FULL", "fox")], log)

    assert command(monkeypatch, tmp_path, gateway).exit_code == 0


def test_the_command_says_where_to_look_for_a_set_that_is_lost(gateway, monkeypatch, tmp_path):
    """Which set, and with which request id it may be repeated."""
    gateway.handlers["GenerateSet"] = lost([a_set(), *fox([GenerationEvent(sequence=1)])])
    gateway.handlers["ListGenerations"] = lambda _, context: refuse(
        context, grpc.StatusCode.INTERNAL, "broken", reason="INTERNAL"
    )

    ended = command(monkeypatch, tmp_path, gateway, "--request-id", "foxes")

    assert ended.exit_code == 4
    assert ended.stderr.splitlines()[-1].count("foxes") == 1
    assert ended.stderr.splitlines()[-1].endswith(
        "money may be spent, repeat it only with its --request-id foxes; see `pictor history --set set_1`"
    )
