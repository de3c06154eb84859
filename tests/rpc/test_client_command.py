"""The `pictor` command on a real channel: what it asks, prints, saves, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import threading

import grpc
import pytest
from google.protobuf.json_format import Parse
from typer.testing import CliRunner

from canned_gateway import (
    accepted,
    answers,
    canned_gateway,
    completed,
    download,
    generation,
    image,
    lose,
    picture,
    preview,
    refuse,
    started,
)
from full_disk import no_file_above
from pictor.cli.app import app
from pictor.v1.catalog_service_pb2 import (
    Format,
    ListFormatsResponse,
    ListModelsResponse,
    ListProvidersResponse,
    Model,
    Provider,
    SetProviderStateResponse,
)
from pictor.v1.generation_pb2 import Adaptation, Generation, GenerationEvent
from pictor.v1.history_service_pb2 import (
    CancelGenerationResponse,
    GetGenerationResponse,
    ListGenerationsResponse,
    UploadImageResponse,
    WatchGenerationResponse,
)
from pictor.v1.image_pb2 import Image, OnDisconnect
from pictor.v1.image_service_pb2 import (
    EditStreamResponse,
    GenerateResponse,
    GenerateSetResponse,
    GenerateStreamResponse,
    PlanResponse,
    RerollResponse,
)
from pictor.v1.usage_service_pb2 import GetUsageResponse, UsageRow

PREVIEW = b"p" * 2500
PICTURE = bytes(range(256)) * 20


def log(*, sandbox=False, data=PICTURE):
    """All that happens on the way to one picture."""
    made = generation(image(data), sandbox=sandbox)
    made.attempts[0].model_version = "v1"
    return [accepted(1), started(2), *preview(3, PREVIEW), *picture(4, data), completed(5, made)]


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


def test_generate_saves_the_picture_and_explains_it(gateway, tmp_path):
    """The last line on stdout names file, row, model, version, attempts and cost; the talk is on stderr."""
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log()))

    result = pictor("generate", "a red fox", "--tier", "pro", "--label", "a=b")

    assert result.exit_code == 0
    assert (tmp_path / "out/gen_1-0.png").read_bytes() == PICTURE
    assert result.stdout == (
        "gen_1: row standard · out/gen_1-0.png · 1024x768 · model gemini-3.1-flash-image · version v1 · "
        "attempts 1 · cost $0.0670 · adaptations none\n"
    )
    assert "calling gemini-3.1-flash-image, usually 8.0 s, nine in ten within 20 s" in result.stderr
    asked = gateway.requests("GenerateStream")[0].request
    assert (asked.prompt, asked.tier, asked.preview_count, asked.labels["a"]) == ("a red fox", 3, 0, "b")
    assert asked.HasField("preview_count")


@pytest.mark.parametrize("count", [1, 2])
def test_an_old_answer_is_said_before_all_else(gateway, count):
    """Whoever reads only how a line begins knows that nothing was paid."""
    events = log()
    made = events[-1].completed.generation
    made.replayed = True
    made.outputs.extend(made.outputs[0] for _ in range(1, count))
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, events))

    lines = pictor("generate", "a red fox").stdout.splitlines()

    assert len(lines) == (1 if count == 1 else 3)  # the last is the sum of several
    assert all(line.startswith("gen_1: replayed, nothing paid now · ") for line in lines)


def test_sandbox_and_adaptations_are_said(gateway):
    """Nobody takes a simulated picture, or one that differs, for what was asked."""
    events = log(sandbox=True)
    events[-1].completed.generation.adaptations.add(
        kind=Adaptation.KIND_QUALITY_REDUCED, asked="high", delivered="none"
    )
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, events))

    result = pictor("generate", "a red fox")

    assert "adaptations quality_reduced (high → none)" in result.stdout
    assert "SANDBOX" in result.stdout


def test_generate_as_json_is_the_response_message(gateway):
    """`--json` prints a GenerateResponse with original field names and without bytes; it can be read back."""
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log(sandbox=True)))

    result = pictor("generate", "--prompt", "a red fox", "--json")

    printed = json.loads(result.stdout)["generation"]
    assert (printed["decision"]["row"], printed["sandbox"]) == ("standard", True)
    assert printed["outputs"][0]["image"]["width_px"] == 1024
    assert Parse(result.stdout, GenerateResponse()).generation.id == "gen_1"


def test_stream_saves_previews_as_they_arrive(gateway, tmp_path):
    """The preview is a file of its own beside the picture; previews are left to the gateway's default."""
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log()))

    result = pictor("stream", "a red fox", "--out", "elsewhere")

    assert (tmp_path / "elsewhere/gen_1-0-preview-1.png").read_bytes() == PREVIEW
    assert (tmp_path / "elsewhere/gen_1-0.png").read_bytes() == PICTURE
    assert "preview 1 → elsewhere/gen_1-0-preview-1.png" in result.stderr
    assert not gateway.requests("GenerateStream")[0].request.HasField("preview_count")


def test_streams_as_json_are_one_event_a_line(gateway):
    """Each line is a response message; bytes of pictures are in files, not in the lines."""
    gateway.handlers["EditStream"] = lambda *_: iter(answers(EditStreamResponse, log()))
    gateway.handlers["Reroll"] = lambda *_: iter(answers(RerollResponse, log()))
    gateway.handlers["WatchGeneration"] = lambda *_: iter(answers(WatchGenerationResponse, log()))

    outputs = [
        pictor("stream", "x", "--edit", "img_1", "--json").stdout,
        pictor("reroll", "gen_0", "--json").stdout,
        pictor("watch", "gen_1", "--json").stdout,
    ]

    for output in outputs:
        lines = [json.loads(line)["event"] for line in output.splitlines()]
        assert [line["sequence"] for line in lines] == ["1", "2", "3", "4", "5"]
        assert lines[2]["preview"]["mime_type"] == "image/png"


def test_edit_sends_files_and_ids(gateway, tmp_path):
    """A file's bytes travel, an id stays an id; without a picture the gateway is asked all the same."""
    (tmp_path / "mask.png").write_bytes(b"mask")
    gateway.handlers["EditStream"] = lambda *_: iter(answers(EditStreamResponse, log()))

    result = pictor("edit", "make it blue", "--image", "img_1", "--mask", "mask.png", "--fidelity", "adapt")
    bare = pictor("edit", "make it blue")

    asked = gateway.requests("EditStream")
    assert (result.exit_code, bare.exit_code) == (0, 0)
    assert (asked[0].request.image.image_id, asked[0].request.mask.data) == ("img_1", b"mask")
    assert not asked[1].request.HasField("image")


def test_submit_and_leave(gateway):
    """`--on-disconnect finish` reaches drawings, edits and re-rolls; another word is refused at once."""
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log()))
    gateway.handlers["EditStream"] = lambda *_: iter(answers(EditStreamResponse, log()))
    gateway.handlers["Reroll"] = lambda *_: iter(answers(RerollResponse, log()))

    for command in (("stream", "a fox"), ("edit", "a fox", "--edit", "img_1"), ("reroll", "gen_0")):
        assert pictor(*command, "--on-disconnect", "finish").exit_code == 0
    wrong = [pictor(*command, "--on-disconnect", "stay") for command in (("generate", "a fox"), ("reroll", "gen_0"))]

    (drawn,), (edited,), (rerolled,) = map(gateway.requests, ("GenerateStream", "EditStream", "Reroll"))
    asked = (drawn.request.on_disconnect, edited.request.request.on_disconnect, rerolled.on_disconnect)
    assert asked == (OnDisconnect.ON_DISCONNECT_FINISH,) * 3
    assert [each.exit_code for each in wrong] == [2, 2]
    assert all("--on-disconnect: `stay` is none of finish_if_sent, finish" in each.stderr for each in wrong)


def plan_answer():
    answer = PlanResponse()
    answer.plan.row = "pro"
    answer.plan.candidates.add(
        model="gpt-image-2", quality="high", ratio="1:1", resolution=2, width_px=1024, height_px=1024
    ).expected_cost.nanos = 211_000_000
    answer.plan.candidates.add(model="gemini-3.1-flash-image").adaptations.add(
        kind=Adaptation.KIND_QUALITY_REDUCED, asked="high", delivered="none"
    )
    answer.plan.exclusions.add(model="old-model", reason="caller_excluded", text="you left it out")
    answer.worst_case_cost.nanos = 250_000_000
    return answer


def test_plan_shows_candidates_and_exclusions(gateway):
    """Row, candidates in order with price and adaptations, what is not used and why."""
    gateway.handlers["Plan"] = lambda *_: plan_answer()

    lines = pictor("plan", "a red fox").stdout.splitlines()

    assert lines[0].startswith("row pro")
    assert any("gpt-image-2" in line and "high" in line and "$0.211" in line for line in lines)
    assert any("gemini-3.1-flash-image" in line and "quality_reduced" in line for line in lines)
    assert any("old-model" in line and "caller_excluded" in line and "you left it out" in line for line in lines)
    assert any("at most $0.25" in line for line in lines)


def test_plan_as_json_has_the_names_that_others_rely_on(gateway):
    """All documented options are taken; row, candidates and exclusions are where scripts look for them."""
    gateway.handlers["Plan"] = lambda *_: plan_answer()
    options = (
        "--prompt x --tier pro --high-quality --workflow on_image_text --ratio 16:9 --resolution 4k "
        "--model gpt-image-2 --exclude other --fidelity exact --max-cost 0.25 --edit img_1 --mask img_2 --json"
    )

    result = pictor("plan", *options.split())

    plan = json.loads(result.stdout)["plan"]
    assert plan["row"] == "pro"
    assert [(each["model"], each["quality"]) for each in plan["candidates"]] == [
        ("gpt-image-2", "high"),
        ("gemini-3.1-flash-image", ""),
    ]
    assert [(each["model"], each["reason"]) for each in plan["exclusions"]] == [("old-model", "caller_excluded")]
    edit = gateway.requests("Plan")[0].edit
    assert (edit.request.canvas.resolution, edit.request.fidelity, edit.mask.image_id) == (4, 2, "img_2")


def test_a_plan_that_would_be_refused_says_so(gateway):
    """The refusal is part of the answer, and all of it where there was nothing to plan; asking has worked."""
    answer = PlanResponse()
    answer.refusal.reason, answer.refusal.text = "PRICE_CEILING", "costs $0.211"
    gateway.handlers["Plan"] = lambda *_: answer

    result = pictor("plan", "a red fox", "--format", "instagram/story")

    assert result.exit_code == 0
    assert result.stdout == "would be refused: costs $0.211 (PRICE_CEILING)\n"


def set_steps():
    ready = GenerateSetResponse(item_key="a/b", model="gpt-image-2", generation_id="gen_1")
    first = GenerateSetResponse()
    first.set_accepted.set_id, first.set_accepted.output_count = "set_1", 2
    steps = [first]
    for event in log():
        step = GenerateSetResponse()
        step.CopyFrom(ready)
        step.event.CopyFrom(event)
        steps.append(step)
    failed = GenerateSetResponse(item_key="c")
    failed.item_failed.reason, failed.item_failed.text = "MAX_COST", "no budget left"
    last = GenerateSetResponse()
    last.summary.set_id, last.summary.succeeded_count, last.summary.failed_count = "set_1", 1, 1
    return [*steps, failed, last]


def test_a_set_names_its_files_by_item_and_fails_in_part(gateway, tmp_path):
    """Each item's picture has a name that says whose it is; a missing item makes the exit code 3."""
    gateway.handlers["GenerateSet"] = lambda *_: iter(set_steps())

    result = pictor("set", "a fox", "--item", "a/b=one", "--item", "c=two", "--models", "gpt-image-2")

    assert result.exit_code == 3
    assert (tmp_path / "out/a-b-gen_1-0.png").read_bytes() == PICTURE
    assert "c: none, no budget left (MAX_COST)" in result.stdout
    assert "set_1: 1 picture, 1 missing" in result.stdout
    assert [item.key for item in gateway.requests("GenerateSet")[0].items] == ["a/b", "c"]


@pytest.mark.parametrize(
    ("reasons", "exit_code"),
    [
        (["FORMAT_UNKNOWN", "FORMAT_UNKNOWN"], 2),
        (["MAX_COST", "BUDGET_EXHAUSTED"], 6),
        (["PROVIDERS_UNAVAILABLE"], 4),
        (["MAX_COST", "CONTENT_POLICY"], 3),
    ],
)
def test_a_set_without_any_picture_ends_like_its_members(gateway, reasons, exit_code):
    """What all of them have in common is the class of the set's failure."""
    failed = [GenerateSetResponse(item_key=str(index)) for index in range(len(reasons))]
    for step, reason in zip(failed, reasons, strict=True):
        step.item_failed.reason = reason
    end = GenerateSetResponse()
    end.summary.failed_count = len(reasons)
    gateway.handlers["GenerateSet"] = lambda *_: iter([*failed, end])

    assert pictor("set", "a fox", "--formats", "x/post").exit_code == exit_code


@pytest.mark.parametrize(("limit", "said"), [("0.001", "$0.0010"), ("1", "$0.1393")])
def test_a_set_announces_no_more_than_its_limit(gateway, limit, said):
    """What the gateway estimates or what you allow, whichever is lower."""
    first = GenerateSetResponse()
    first.set_accepted.set_id, first.set_accepted.output_count = "set_1", 2
    first.set_accepted.estimated_cost.nanos = 139_217_000
    end = GenerateSetResponse()
    end.summary.set_id = "set_1"
    gateway.handlers["GenerateSet"] = lambda *_: iter([first, end])

    result = pictor("set", "a fox", "--formats", "x/post", "--max-cost", limit)

    assert f"set_1: 2 pictures, at most {said}\n" in result.stderr


def test_a_set_as_json_is_one_step_a_line(gateway):
    """Every step carries item, model and generation."""
    gateway.handlers["GenerateSet"] = lambda *_: iter(set_steps())

    lines = [json.loads(line) for line in pictor("set", "a fox", "--formats", "x/post", "--json").stdout.splitlines()]

    assert lines[0]["set_accepted"]["set_id"] == "set_1"
    assert {(line["item_key"], line["generation_id"]) for line in lines[1:6]} == {("a/b", "gen_1")}
    assert lines[-1]["summary"]["succeeded_count"] == 1


def test_a_generation_that_is_not_complete_ends_with_3(gateway):
    """One picture of two: the file is there, the missing one has its reason, and the exit code says so."""
    events = log()
    events[-1].completed.generation.outputs.add(index=1, state=4, reason="NO_IMAGE", text="only words came")
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, events))

    result = pictor("generate", "a red fox", "--count", "2")

    assert result.exit_code == 3
    assert "picture 1: none · NO_IMAGE: only words came · attempts 0 · cost $0.0000" in result.stdout
    assert "gen_1: 1 of 2 pictures, cost $0.0670" in result.stdout


def test_names_from_the_gateway_stay_in_the_folder(gateway, tmp_path):
    """Whatever an id contains, files are only written where they were asked to go."""
    events = [accepted(1, "../../evil"), *picture(2, PICTURE), completed(3, generation(image(PICTURE)))]
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, events))

    pictor("generate", "a red fox")

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["evil-0.png"]


def test_words_from_elsewhere_cannot_steer_the_terminal(gateway):
    """Control characters of a provider's text are not printed."""
    failed = GenerationEvent(sequence=2)
    failed.attempt_failed.text = "red\x1b[31m"
    events = [accepted(1), failed, completed(3, generation())]
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, events))

    assert "\x1b" not in pictor("generate", "a red fox").stderr


def test_show_tells_every_attempt(gateway):
    """What was asked, what came out, and each call with its cost."""
    made = generation(image(PICTURE), sandbox=True)
    made.request.prompt, made.request.operation, made.lineage.reroll_of = "a red fox", "generate", "gen_0"
    made.attempts.add(index=1, model="gpt-image-2", outcome="rate_limited", detail="slow down")
    made.outputs[0].image.download_url = "http://pictor/images/img_1?exp=1&sig=x"
    gateway.handlers["GetGeneration"] = lambda *_: GetGenerationResponse(generation=made)

    shown = pictor("show", "gen_1").stdout
    printed = json.loads(pictor("show", "--request-id", "mine", "--json").stdout)

    assert "SANDBOX" in shown
    assert "re-roll of gen_0" in shown
    assert "rate_limited" in shown
    assert "slow down" in shown
    assert "http://pictor/images/img_1?exp=1&sig=x" in shown
    assert printed["generation"]["id"] == "gen_1"
    assert gateway.requests("GetGeneration")[1].request_id == "mine"


def test_what_still_runs_has_no_reason_yet(gateway):
    """`show` and `cancel` of a running generation say that it runs; who cancels too late is told so."""
    running = generation()
    running.state = Generation.STATE_RUNNING
    running.outputs.add(state=Generation.STATE_RUNNING)
    running.outputs.add(index=1, state=Generation.STATE_PENDING)
    running.outputs.add(index=2, state=Generation.STATE_PENDING)
    running.attempts.add(output_index=2, model="gpt-image-2")
    gateway.handlers["GetGeneration"] = lambda *_: GetGenerationResponse(generation=running)
    gateway.handlers["CancelGeneration"] = lambda *_: CancelGenerationResponse(generation=running)

    shown, cancelled = pictor("show", "gen_1"), pictor("cancel", "gen_1")

    assert "gen_1: row standard · picture 0: running · attempts 0 · cost $0.0000 · adaptations none\n" in shown.stdout
    assert "picture 1: pending · attempts 0" in cancelled.stdout
    assert "picture 2: running · attempts 1" in shown.stdout  # the gateway counts it as pending until it is there
    assert shown.stderr == ""
    assert cancelled.stderr == ("pictor: too late: it was already sent, it finishes and is paid; pictor watch gen_1\n")


def test_models_fit_a_terminal_and_one_tells_everything(gateway):
    """A hundred columns with every ability there is; prices, ratios and the rest by name or alias."""
    model = Model(
        id="gemini-3.1-flash-image",
        provider="gemini",
        snapshot="flash-image-2026-11",
        aliases=["nano"],
        operations=["generate", "edit"],
        resolutions=[1, 2, 3, 4],
        max_references=14,
        max_previews=3,
        has_mask=True,
        has_seed=True,
        has_transparency=True,
    )
    model.prices.add(token_kind="image_out", valid_from="2026-11-01").per_million.units = 60
    gateway.handlers["ListModels"] = lambda *_: ListModelsResponse(models=[model], catalog_version="7")

    listed, one, unknown = pictor("models"), pictor("models", "nano"), pictor("models", "no")

    assert max(map(len, listed.stdout.splitlines())) <= 100
    assert "mask, seed, transparency, 3 previews" in listed.stdout
    assert "  price       image_out  $60.0000 per million tokens since 2026-11-01\n" in one.stdout
    assert "  references  14\n" in one.stdout
    assert Parse(pictor("models", "nano", "--json").stdout, Model()) == model
    assert (unknown.exit_code, unknown.stderr) == (
        2,
        "pictor: there is no model `no`; `pictor models` lists them\n",
    )


def test_lists_and_catalogs_are_tables_or_json(gateway):
    """Each answer of the catalog and the history can be read by people and by programs."""
    made = generation(Image(id="img_1", model="gpt-image-2"), sandbox=True)
    page = ListGenerationsResponse(generations=[made], next_page_token="more")
    page.generations[0].create_time.FromJsonString("2026-11-28T21:30:05.123456Z")
    page.generations.add(id="gen_2", state=Generation.STATE_FAILED, reason="CONTENT_POLICY")
    models = ListModelsResponse(models=[Model(id="gpt-image-2", qualities=[3], has_mask=True)], catalog_version="7")
    formats = ListFormatsResponse(formats=[Format(id="instagram/story", ratio="9:16", width_px=1080, height_px=1920)])
    openai = Provider(name="openai", configured=True, state=2, reason="bad pictures", sandbox=True)
    openai.breakers.add(model="gpt-image-2", operation="edit", state=2).remaining_open.seconds = 12
    gateway.handlers |= {
        "ListGenerations": lambda *_: page,
        "ListModels": lambda *_: models,
        "ListFormats": lambda *_: formats,
        "ListProviders": lambda *_: ListProvidersResponse(providers=[openai]),
    }

    said = {name: pictor(name).stdout for name in ("history", "models", "formats", "providers")}
    printed = {name: json.loads(pictor(name, "--json").stdout) for name in said}

    assert "gen_1" in said["history"]
    assert "gpt-image-2" in said["history"]
    assert "failed: CONTENT_POLICY" in said["history"]
    assert "--page-token more" in said["history"]
    assert "SANDBOX" in said["history"]
    assert "mask" in said["models"]
    assert "2026-11-28T21:30Z" in said["history"]
    assert "1080x1920" in said["formats"]
    assert "disabled, bad pictures" in said["providers"]
    assert "gpt-image-2/edit open for 12 s" in said["providers"]
    assert printed["models"]["catalog_version"] == "7"
    assert printed["providers"]["providers"][0]["breakers"][0]["state"] == "STATE_OPEN"


def test_providers_are_switched(gateway):
    """`disable --for --reason`, and `enable`."""
    gateway.handlers["SetProviderState"] = lambda request, _: SetProviderStateResponse(
        provider=Provider(name=request.provider, state=request.state)
    )

    pictor("providers", "disable", "openai", "--for", "30m", "--reason", "bad pictures")
    enabled = pictor("providers", "enable", "openai", "--json")

    asked = gateway.requests("SetProviderState")
    assert (asked[0].state, asked[0].duration.seconds, asked[0].reason) == (2, 1800, "bad pictures")
    assert json.loads(enabled.stdout)["provider"]["state"] == "PROVIDER_STATE_ENABLED"


def test_pictures_go_up_and_down(gateway, tmp_path):
    """`upload` prints the id, `download` the file; `cancel` tells what became of it."""
    (tmp_path / "cat.png").write_bytes(b"cat")
    gateway.handlers["UploadImage"] = lambda *_: UploadImageResponse(image=image(b"cat", "img_7"))
    gateway.handlers["DownloadImage"] = download(PICTURE)
    gateway.handlers["CancelGeneration"] = lambda *_: CancelGenerationResponse(generation=generation())

    assert pictor("upload", "cat.png").stdout == "img_7\n"
    assert pictor("download", "img_1").stdout == "out/img_1.png\n"
    assert (tmp_path / "out/img_1.png").read_bytes() == PICTURE
    assert pictor("cancel", "gen_1").exit_code == 0


@pytest.mark.parametrize(
    ("code", "reason", "exit_code"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "PROMPT_EMPTY", 2),
        (grpc.StatusCode.FAILED_PRECONDITION, "CONTENT_POLICY", 3),
        (grpc.StatusCode.ABORTED, "PROVIDER_FAILED", 3),
        (grpc.StatusCode.UNAVAILABLE, "PROVIDERS_UNAVAILABLE", 4),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT", 4),
        (grpc.StatusCode.NOT_FOUND, "EXPIRED", 5),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "DAILY_CAP", 6),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE", 2),
        (grpc.StatusCode.FAILED_PRECONDITION, "PRICE_CEILING", 6),
        (grpc.StatusCode.PERMISSION_DENIED, "TIER_NOT_ALLOWED", 7),
        (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", 7),
        (grpc.StatusCode.INTERNAL, "INTERNAL", 3),
    ],
)
def test_failures_are_one_sentence_and_an_exit_code(gateway, code, reason, exit_code):
    """Nothing on stdout, the reason and the gateway's words on stderr, the class of the failure as exit code."""
    gateway.handlers["GenerateStream"] = lambda _, context: refuse(
        context, code, "what would work", reason=reason, trailers=(("grpc-retry-pushback-ms", "-1"),)
    )

    result = pictor("generate", "a red fox")

    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert result.stderr.startswith("pictor: what would work (" + reason)
    assert result.stderr.count("\n") == 1


def test_with_json_a_failure_is_json_too(gateway):
    """Programs read on stdout what stderr says; the exit code is the same."""
    gateway.handlers["GenerateStream"] = lambda _, context: refuse(
        context,
        grpc.StatusCode.ABORTED,
        "it failed",
        reason="PROVIDER_FAILED",
        metadata={"paid": "true", "generation_id": "gen_1"},
    )

    failed = pictor("generate", "a red fox", "--request-id", "fox-1", "--json")
    wrong = pictor("generate", "a red fox", "--tier", "gold", "--json")

    assert (failed.exit_code, wrong.exit_code) == (3, 2)
    assert json.loads(failed.stdout)["error"] == {
        "reason": "PROVIDER_FAILED",
        "text": "it failed",
        "metadata": {"paid": "true", "generation_id": "gen_1"},
        "paid": True,
        "generation_id": "gen_1",
        "request_id": "fox-1",
    }
    assert "it failed (PROVIDER_FAILED)" in failed.stderr
    told = json.loads(wrong.stdout)["error"]
    assert (told["reason"], told["text"]) == ("INVALID_FIELD", "--tier: `gold` is none of free, standard, pro")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["generate", "a red fox"], "see `pictor watch gen_1`"),
        (["set", "a fox", "--formats", "x/post"], "see `pictor history --set set_1`"),
        (["models"], "see `pictor history`"),
    ],
)
def test_an_interruption_names_what_is_known(gateway, tmp_path, arguments, told):
    """Ctrl-C in a real process: the id to go on with, exit code 130."""
    reached, left = threading.Event(), threading.Event()

    def wait(messages):
        def handle(_, context):
            context.add_callback(left.set)
            yield from messages
            reached.set()
            left.wait()

        return handle

    def wait_unary(_, context):
        context.add_callback(left.set)
        reached.set()
        left.wait()
        return ListModelsResponse()

    gateway.handlers |= {
        "GenerateStream": wait(answers(GenerateStreamResponse, log()[:1])),
        "GenerateSet": wait(set_steps()[:1]),
        "ListModels": wait_unary,
    }

    ran = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", "from pictor.cli import main; main()", *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    with ran:
        reached.wait()
        said = "" if arguments == ["models"] else ran.stderr.readline()  # it has read what was sent
        ran.send_signal(signal.SIGINT)
        said += ran.stderr.read()

    assert (ran.returncode, told in said) == (130, True), said


def test_a_picture_that_the_disk_does_not_take_is_not_lost(gateway, tmp_path):
    """It is paid and kept; no half of it lies here, and the command says where it is."""
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log()))
    command = sys.executable, "-c", "from pictor.cli import main; main()", "generate", "a red fox", "--json"

    ran = subprocess.run(no_file_above(4000, *command), check=False, cwd=tmp_path, capture_output=True, text=True)  # noqa: S603 - ours

    assert ran.returncode == 3
    assert ran.stderr.splitlines()[-1] == (
        "pictor: out/gen_1-0.png: File too large; "
        "it is paid and kept by the gateway: choose another folder, then `pictor watch gen_1 --out FOLDER` saves it"
    )
    error = json.loads(ran.stdout)["error"]
    assert (error["reason"], error["paid"], error["generation_id"]) == ("NOT_SAVED", True, "gen_1")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["gen_1-0-preview-1.png"]


@pytest.mark.parametrize("command", [("generate", "a red fox"), ("stream", "a red fox"), ("download", "img_1")])
def test_open_shows_the_saved_picture(gateway, tmp_path, command):
    """The viewer of the machine, found on PATH, gets the picture, once, and not its previews; a real process."""
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log()))
    gateway.handlers["DownloadImage"] = download(PICTURE)
    shown = tmp_path / "shown"
    os.mkfifo(shown)
    viewer = tmp_path / "bin" / "xdg-open"
    viewer.parent.mkdir()
    viewer.write_text(f'#!/bin/sh\nfor each; do echo "$each"; done > "{shown}"\n')
    viewer.chmod(0o755)
    environment = {**os.environ, "DISPLAY": ":0", "PATH": f"{viewer.parent}:{os.environ['PATH']}"}

    ran = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", "from pictor.cli import main; main()", *command, "--open"],
        env=environment,
        cwd=tmp_path,
        check=False,
    )

    assert ran.returncode == 0
    name = "img_1.png" if command[0] == "download" else "gen_1-0.png"
    assert shown.read_text() == f"{tmp_path}/out/{name}\n"


def test_open_without_a_display_is_said_and_harmless(gateway, tmp_path, monkeypatch):
    """The picture is there; the exit code says so."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log()))

    result = pictor("generate", "a red fox", "--open")

    assert result.exit_code == 0
    assert "pictor: out/gen_1-0.png is saved, but cannot be shown: there is no display here\n" in result.stderr


def test_a_csv_that_is_not_whole_says_so(gateway):
    """Beside the data: whoever sums it up would miss what is not there."""
    rows = [UsageRow(keys=["studio"]), UsageRow(keys=["shop"])]
    gateway.handlers["GetUsage"] = lambda *_: GetUsageResponse(rows=rows, truncated=True)

    result = pictor("usage", "--by", "caller", "--csv")

    assert result.stdout.count("\n") == 3
    assert result.stderr == "pictor: only the 2 most expensive groups are there; narrow the time or the groups\n"


def test_what_grpc_would_not_send_is_told_without_the_secret(gateway, monkeypatch):
    """A key with a line's end, a header with a blank: one sentence, exit code 2."""
    blank = pictor("--metadata", "a b=c", "models")
    monkeypatch.setenv("PICTOR_API_KEY", "canary\n")
    line = pictor("models")

    assert (blank.exit_code, line.exit_code) == (2, 2)
    assert blank.stderr.startswith("pictor: metadata `a b`: a key has lower-case letters")
    assert line.stderr == (
        "pictor: metadata `authorization`: its value must be printable ASCII on one line; look at PICTOR_API_KEY\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["history", "--since", "99999999999d"], "pictor: `99999999999d` ago lies before the year 1\n"),
        (["history", "--until", "0001-01-01T00:00+23:00"], "lies outside the years 1 to 9999\n"),
        (["generate", "x", "--timeout", "nan"], "--timeout"),
        (["generate", "x", "--timeout", "-1"], "--timeout"),
        (["watch", "gen_1", "--timeout", "1e300"], "--timeout"),
    ],
)
def test_times_that_nobody_can_count_are_bad_input(gateway, arguments, told):
    """One sentence, and nothing is sent."""
    result = pictor(*arguments)

    assert (result.exit_code, told in result.stderr) == (2, True), result.stderr
    assert not gateway.asked


def test_bad_input_is_told_before_anything_is_sent(gateway):
    """A typing mistake in an option, a missing file: exit code 2, and the gateway hears nothing."""
    cases = {
        ("generate", "x", "--tier", "gold"): "tier: `gold` is none of free, standard, pro",
        ("plan", "x", "--max-cost", "cheap"): "--max-cost: `cheap` is not an amount",
        ("edit", "x", "--edit", "cat.png"): "`cat.png` is no file that can be read: there is none",
        ("edit", "x", "--edit", "."): "`.` is no file that can be read: a folder",
        ("edit", "x", "--edit", "/dev/null"): "`/dev/null` is no file that can be read: not a regular file",
        ("generate", "x", "--ratio", "1:1", "--format", "x/post"): "give one of them, not both",
        ("history", "--page-size", "201"): "--page-size: 1 to 200, or 0 for 50; this is 201",
        ("alerts", "--page-size", "-1"): "this is -1",
        ("upload", "README"): "`README` is no file that can be read: there is none",
        ("upload", "."): "`.` is no file that can be read: a folder",
        ("generate", "x", "--label", "a"): "`a` is not of the form KEY=VALUE",
        ("set", "x"): "a set needs --item",
        ("set", "--file", "no.toml"): "No such file",
        ("providers", "disable", "openai", "--reason", "r", "--for", "soon"): "not a span of time",
        ("generate", "x", "--prompt", "y"): "--prompt: give it once",
        ("show",): "give the id of a generation",
    }

    for arguments, text in cases.items():
        result = pictor(*arguments)
        assert (result.exit_code, text in result.stderr) == (2, True), arguments

    assert gateway.asked == []


def test_a_lost_connection_is_said_and_survived(gateway, tmp_path):
    """The command says that it tries again, and goes on."""

    def broken(_, context):
        yield from answers(GenerateStreamResponse, log()[:3])
        lose(context)

    gateway.handlers["GenerateStream"] = broken
    gateway.handlers["WatchGeneration"] = lambda request, _: iter(
        answers(WatchGenerationResponse, [event for event in log() if event.sequence > request.after_sequence])
    )

    result = pictor("generate", "a red fox")

    assert result.exit_code == 0
    assert result.stderr.count("pictor: the connection was lost, trying again\n") == 1
    assert (tmp_path / "out/gen_1-0.png").read_bytes() == PICTURE


def test_metadata_reaches_the_gateway(gateway):
    """Faults of the sandbox can be asked for one command."""
    gateway.handlers["ListModels"] = lambda *_: ListModelsResponse()

    pictor("--metadata", "x-sandbox-fault=429", "models")

    assert gateway.metadata[0]["x-sandbox-fault"] == "429"


@pytest.mark.parametrize("arguments", [["models"], ["generate", "a red fox"]])
def test_a_silent_address_is_said_in_one_sentence(tmp_path, arguments):
    """Nobody listens: the address, what to do, exit code 4, no traceback; a real process."""
    with canned_gateway() as gone:
        address = gone.address
    environment = {**os.environ, "PICTOR_ADDRESS": address}

    ran = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", "from pictor.cli import main; main()", *arguments],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stdout) == (4, "")
    assert ran.stderr == f"pictor: nothing answers at {address}; start it with `make serve`, or set PICTOR_ADDRESS\n"


def test_a_silent_address_is_json_too(gateway):
    """Nobody was reached, so nothing is paid, and the text does not say otherwise."""
    gateway.stop()

    result = pictor("generate", "a red fox", "--json")

    gateway.start()
    told = json.loads(result.stdout)["error"]
    assert (result.exit_code, told["reason"], told["paid"]) == (4, "UNREACHABLE", False)
    assert told["text"].startswith("nothing answers at 127.0.0.1:")
    assert "unknown" not in told["text"]


def test_a_call_that_may_have_been_accepted_is_told_as_lost(gateway):
    """Neither silent nor simply failed: what is unknown, under which id to look, and that money may be spent."""

    def broken(_, context):
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "-1"),))
        lose(context)

    gateway.handlers["GenerateStream"] = broken

    result = pictor("generate", "a red fox", "--request-id", "fox-1")

    assert result.exit_code == 4
    assert "was lost (it is unknown whether the call was accepted" in result.stderr
    assert "accepted); money may be spent, repeat it only with its --request-id fox-1" in result.stderr
    assert result.stderr.count("fox-1") == 1


def test_help_needs_no_grpc():
    """`--help` answers at once because gRPC and protobuf are not imported for it."""
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom pictor.cli.app import app\nimport pictor\n"
        "assert CliRunner().invoke(app, ['generate', '--help']).exit_code == 0\n"
        "print([name for name in ('grpc', 'google.protobuf', 'asyncio', 'rich') if name in sys.modules])"
    )

    ran = subprocess.run(  # noqa: S603 - a program of ours
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert ran.stdout == "[]\n"


def test_the_client_is_importable_by_its_short_name():
    """`from pictor import Client` and every other promised name; a wrong one is an AttributeError."""
    import pictor as package  # noqa: PLC0415 - the subject of the test

    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError):
        package.nothing  # noqa: B018 - reading it is the test
