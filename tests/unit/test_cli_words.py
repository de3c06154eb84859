"""What the command says: sentences, amounts, progress."""

import io
import re
import sys
from decimal import Decimal

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.cells import cell_len

from pictor.cli.failures import exit_code, sentence, shared_code
from pictor.cli.files import Folder, safe
from pictor.cli.options import named
from pictor.cli.printing import fitted, print_table
from pictor.cli.progress import Progress
from pictor.cli.text import at_most, cost, dollars, printable, second, span, told
from pictor.errors import LOST, PictorError, Violation
from pictor.events import AttemptFailed, AttemptStarted, Image, Preview, Queued
from pictor.generation import Picture
from pictor.reconnect import DELAYS_S, Reconnect
from pictor.v1 import generation_pb2, image_pb2
from pictor.v1.generation_pb2 import GenerationEvent
from pictord.domain.reason import Reason
from pictord.rpc.status import CODES

ADDRESS = "127.0.0.1:50051"
ABSENT = f"nothing answers at {ADDRESS}; start it with `make serve`, or set PICTOR_ADDRESS"
GONE = PictorError(grpc.StatusCode.UNAVAILABLE, LOST, generation_id="gen_1")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.0000"),
        ("0.067", "$0.0670"),
        ("0.0676235", "$0.0676"),
        ("0.00015", "$0.0002"),
        ("12", "$12.0000"),
        ("-0.5", "-$0.5000"),
        ("0.000000001", "< $0.0001"),
    ],
)
def test_dollars_have_four_decimals(amount, text):
    """Everywhere as many; what is spent is never shown as nothing."""
    assert dollars(Decimal(amount)) == text


def test_what_must_be_allowed_is_rounded_up():
    """Whoever takes the text at its word as --max-cost is not refused."""
    assert at_most(image_pb2.Money(nanos=69_610_500)) == "$0.0697"


def test_moments_are_told_to_the_second():
    """Nobody reads microseconds; they are in --json."""
    assert second(Timestamp(seconds=1_795_901_405, nanos=123_456_000)) == "2026-11-28T21:30:05Z"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("request.prompt: must not be empty", "--prompt: must not be empty"),
        (
            "generate.canvas.ratio: 99:1 is impossible; brief.preview_count: 0 to 3, this is 9; references[2]: none",
            "--ratio: 99:1 is impossible; --previews: 0 to 3, this is 9; --reference: none",
        ),
        ("labels[a b]: bad key", "--label: bad key"),
        ("budget.usd: is negative", "--usd: is negative"),
        ("items: 41 outputs", "items: 41 outputs"),
        ("no field: the prompt: is here", "no field: the prompt: is here"),
        ("none is set; ListBudgets names them", "none is set; `pictor budget list` names them"),
        ("format: is empty; ListFormats names the formats", "--format: is empty; `pictor formats` names the formats"),
    ],
)
def test_fields_are_told_as_the_options_that_were_typed(text, told):
    """The library names the contract's fields, the command its options; other words stay."""
    assert named(text) == told


def test_an_unsure_cost_says_so():
    """Only what the provider reported stands without a word beside it."""
    amount = image_pb2.Money(nanos=50_000_000)

    said = [cost(image_pb2.Cost(amount=amount, basis=basis)) for basis in (1, 2, 3)]

    assert said == ["$0.0500 (estimated)", "$0.0500", "$0.0500 (unknown)"]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (0.25, "0.2 s"), (9.96, "10.0 s"), (34.6, "35 s")])
def test_spans_are_as_exact_as_they_need_to_be(seconds, text):
    """Tenths below ten seconds, whole seconds above."""
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PictorError(grpc.StatusCode.UNAVAILABLE, ABSENT, is_absent=True), ABSENT),
        (
            PictorError(grpc.StatusCode.UNAVAILABLE, ABSENT, is_absent=True, generation_id="gen_1"),
            f"{ABSENT}; see `pictor watch gen_1`",
        ),
        (
            PictorError(grpc.StatusCode.UNAVAILABLE, "no healthy upstream"),
            f"the connection to {ADDRESS} was lost (no healthy upstream)",
        ),
        (GONE, f"the connection to {ADDRESS} was lost; see `pictor watch gen_1`"),
        (
            PictorError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "canvas.ratio: 1:99 is too narrow",
                reason="RATIO_INVALID",
                violations=(Violation("canvas.ratio", "too narrow"),),
            ),
            "--ratio: 1:99 is too narrow (RATIO_INVALID)",
        ),
        (
            PictorError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", reason="QUEUE_FULL", retry_after_s=12.0
            ),
            "the queue is full (QUEUE_FULL); try again in 12 s",
        ),
        (
            PictorError(grpc.StatusCode.ABORTED, "failed", reason="PROVIDER_FAILED", generation_id="g", paid=True),
            "failed (PROVIDER_FAILED); money may be spent, repeat it only with its --request-id; see `pictor show g`",
        ),
        (
            PictorError(grpc.StatusCode.ABORTED, "refused", reason="CONTENT_POLICY", generation_id="g", paid=True),
            "refused (CONTENT_POLICY); change the prompt or the pictures; money may be spent; see `pictor show g`",
        ),
        (
            PictorError(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer within 6 s", generation_id="gen_1"),
            "no answer within 6 s (DEADLINE_EXCEEDED); the generation goes on: pictor watch gen_1",
        ),
        (
            PictorError(grpc.StatusCode.ABORTED, "failed", reason="PROVIDER_FAILED", paid=True, request_id="fox 1"),
            "failed (PROVIDER_FAILED); money may be spent, repeat it only with its --request-id 'fox 1'",
        ),
        (
            PictorError(grpc.StatusCode.INVALID_ARGUMENT, "narrow", reason="R", violations=(Violation("ratio", ""),)),
            "narrow (R: ratio)",
        ),
        (
            PictorError(grpc.StatusCode.NOT_FOUND, "no such thing", reason="NOT_FOUND", generation_id="g"),
            "no such thing (NOT_FOUND)",
        ),
        (
            PictorError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "may spend $0.01 on a picture (max_picture_usd)",
                reason="PRICE_CEILING",
            ),
            "may spend $0.01 on a picture (max_picture_usd) (PRICE_CEILING); `pictor plan` shows the prices",
        ),
        (
            PictorError(grpc.StatusCode.FAILED_PRECONDITION, "max_cost is $0.05", reason="PRICE_CEILING"),
            "max_cost is $0.05 (PRICE_CEILING); `pictor plan` shows the prices; raise --max-cost",
        ),
        (
            PictorError(grpc.StatusCode.INVALID_ARGUMENT, "no model x", reason="MODEL_UNKNOWN"),
            "no model x (MODEL_UNKNOWN); `pictor models` lists them",
        ),
    ],
)
def test_a_failure_says_what_helps(error, text):
    """What happened, reason and field, then what to do."""
    assert sentence(error, ADDRESS) == text


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_the_class_of_its_code(reason):
    """By reason or by code it is the same exit code; only what is named here has a class of its own."""
    own = {Reason.REQUEST_TOO_LARGE: 2, Reason.PRICE_CEILING: 6}
    by_code = exit_code(PictorError(CODES[reason], "", reason="A_LATER_ONE"))

    assert shared_code([reason.name]) == exit_code(PictorError(CODES[reason], "", reason=reason.name))
    assert shared_code([reason.name]) == own.get(reason, by_code)


def test_codes_that_are_not_listed_are_failures():
    """A code of a later gateway still ends with an exit code of its class."""
    assert exit_code(PictorError(grpc.StatusCode.DATA_LOSS, "damaged")) == 3


def event(name, **fields):
    message = GenerationEvent()
    getattr(message, name).SetInParent()
    for key, value in fields.items():
        setattr(getattr(message, name), key, value)
    return message


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Queued(event("queued", output_index=1, position=3)), "picture 1 waits about 0 s, 3 before it"),
        (
            AttemptFailed(event("attempt_failed", model="gpt-image-2", outcome="rate_limited", goes_on=True)),
            "picture 0: gpt-image-2 brought none (rate_limited): trying again",
        ),
        (
            AttemptFailed(event("attempt_failed", model="gpt-image-2", outcome="refused", text="not this")),
            "picture 0: gpt-image-2 brought none (refused): not this; nothing left to try",
        ),
        (Preview(event("preview", index=1), None), "picture 0: preview 2 was left out: a newer picture was there"),
    ],
)
def test_events_are_told_in_one_sentence(step, text):
    """Nothing that happens on the way is silent."""
    assert told(step, None) == text


def started(output_index=0):
    message = generation_pb2.AttemptStarted(output_index=output_index, model="gpt-image-2", preview_count=2)
    message.expected_p50.seconds, message.expected_p90.seconds = 35, 60
    return AttemptStarted(GenerationEvent(attempt_started=message))


def test_waiting_shows_elapsed_beside_expected():
    """Each picture under way has its line with a bar, a fifth of it after 12 of 60 s, until it is there or failed."""
    now = [100.0]
    progress = Progress(has_clock=False, stream=io.StringIO(), clock=lambda: now[0])
    progress.show(started(0), None)
    progress.show(started(1), None, "slide")
    now[0] = 112.0

    before = progress.waiting().plain
    progress.show(AttemptFailed(event("attempt_failed")), None)
    progress.show(Image(event("image"), Picture(image_pb2.Image(output_index=1), None)), None, "slide")

    expected = "━━━━──────────────── gpt-image-2, 12 s so far, usually 35 s, nine in ten within 60 s"
    assert before == f"  picture 0: {expected}\n  slide 1: {expected}"
    assert progress.waiting().plain == ""


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_the_clock_line_is_for_terminals_and_leaves_stdout_alone():
    """On a terminal the wait is drawn; data on stdout never runs through it."""
    terminal, stdout = Terminal(), sys.stdout

    with Progress(has_clock=True, stream=terminal, clock=lambda: 1.0) as progress:
        assert sys.stdout is stdout
        progress.show(started(), None)

    assert "0 s so far" in terminal.getvalue()


def test_ids_are_whole_in_a_narrow_terminal(monkeypatch):
    """Words wrap; what one copies is never cut, and a line may then be longer than the terminal."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    ids, amount, words = "gen_01m8j1zre1f723extztqw5p8az", "$0.0675", "a red fox in fresh snow"

    print_table(("id", "cost", "prompt", "why"), [(ids, amount, words, words)])

    lines = terminal.getvalue().splitlines()
    assert all(text in "".join(lines) for text in (ids, amount, *words.split()))
    assert "…" not in terminal.getvalue()
    assert len([line for line in lines if line.strip()]) > 3


@pytest.mark.parametrize(
    "words", ["two blue jays on an old wooden fence in the rain", "青い鳥が古い木の柵に止まっている、雨の中で静かに"]
)
@pytest.mark.parametrize(("columns", "width"), [(None, 120), ("110", 110)])
def test_a_column_that_may_be_cut_makes_room(monkeypatch, words, columns, width):
    """One line for each row, no wider than a page or the terminal; everything else is whole."""
    out = io.StringIO() if columns is None else Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("COLUMNS", columns or "300")
    whole = ("gen_01m8j1zre1f723extztqw5p8az", "2026-11-28T21:30Z", "gemini-3.1-flash-image", "$0.0675")

    print_table(("id", "when", "drawn by", "cost", "prompt"), [(*whole, words), (*whole, "a fox")], cut="prompt")

    *_, rule, first, second = re.sub("\x1b\\[[0-9;]*m", "", out.getvalue()).rstrip().splitlines()
    assert max(map(cell_len, (rule, first, second))) <= width
    assert (first.split()[:4], second.split()) == ([*whole], [*whole, "a", "fox"])
    assert first.endswith("…")


@pytest.mark.parametrize(
    ("natural", "least", "room", "widths"),
    [
        ([30, 8, 40], [30, 8, 5], 100, [30, 8, 40]),
        ([30, 8, 40], [30, 8, 5], 60, [30, 8, 22]),
        ([30, 20, 40], [30, 5, 5], 60, [30, 15, 15]),
        ([30, 8, 40], [30, 8, 5], 10, [30, 8, 5]),
    ],
)
def test_the_widest_column_that_may_shrink_does(natural, least, room, widths):
    """Down to what it needs; a table that does not fit then is wider than the terminal."""
    assert fitted(natural, least, room) == widths


@pytest.mark.parametrize(
    ("name", "file"),
    [("../../etc/passwd", "etc-passwd"), ("a b/c", "a-b-c"), ("...", "picture"), ("été.png", "été.png")],
)
def test_file_names_hold_no_folders(name, file):
    """Ids and keys come from elsewhere; they must not choose where a file goes."""
    assert safe(name) == file


def test_the_folder_is_made_before_anything_is_paid(tmp_path):
    """A folder that cannot be made ends the command at its start."""
    (tmp_path / "file").write_text("")

    Folder(tmp_path / "a" / "b")
    with pytest.raises(ValueError, match=r"--out: cannot make .*file "):
        Folder(tmp_path / "file")


def test_control_characters_are_blanked():
    """Escape sequences of a provider's text do not reach the terminal."""
    assert printable("red\x1b[31m\tname\n") == "red [31m name\n"


async def test_reconnecting_waits_longer_each_time_and_gives_up():
    """Half of each wait is random; progress begins anew, and is told anew; the last error is the one that is raised."""
    waits, told_lost = [], []

    async def sleep(delay_s):
        waits.append(delay_s)

    reconnect = Reconnect(sleep, lambda: 0.0, told_lost.append)
    await reconnect.wait(GONE)
    reconnect.progress()
    for _ in DELAYS_S:
        await reconnect.wait(GONE)

    with pytest.raises(PictorError) as caught:
        await reconnect.wait(GONE)

    assert caught.value is GONE
    assert told_lost == [GONE, GONE]
    assert waits == [DELAYS_S[0] / 2, *(delay / 2 for delay in DELAYS_S)]


async def test_only_a_lost_connection_is_worth_a_wait():
    """A refusal is told at once."""
    error = PictorError(grpc.StatusCode.UNAVAILABLE, "all open", reason="PROVIDERS_UNAVAILABLE")

    with pytest.raises(PictorError, match="all open"):
        await Reconnect(lambda _: pytest.fail("waited"), lambda: 0.0, pytest.fail).wait(error)
