"""The README says what the code does: commands, tables, settings and programs are compared with the real thing."""

import dataclasses
import inspect
import os
import re
import tomllib
from datetime import date
from pathlib import Path

import pytest
from openai.resources.images import AsyncImages
from opentelemetry.sdk import environment_variables
from PIL import Image
from typer.testing import CliRunner

import pictor
from pages import ROOT, Page, broken_links, code, used
from pictor.v1 import image_pb2, image_service_pb2
from pictord import cli, observability, settings, telemetry
from pictord.catalog import catalog
from pictord.domain.money import format_usd
from pictord.domain.plan import AdaptationKind
from pictord.domain.reason import Reason
from pictord.jobs import observer
from pictord.resilience.provider_state import AlertKind
from pictord.routing import policy
from pictord.rpc.status import CODES
from pictord.sandbox.faults import from_headers
from pictord.settings.file import File
from pictord.store.retention import SqlRetention
from pictord.whatif import policies, record, workload
from pictord.whatif.replay import replay

PAGE = Page("README.md")
TEXT, PROSE = PAGE.text, PAGE.prose
blocks, table, shell_lines, calls = PAGE.blocks, PAGE.table, PAGE.shell_lines, PAGE.calls


# --- commands


@pytest.mark.parametrize("words", list(calls()), ids=" ".join)
def test_every_command_exists_with_its_options(words):
    """A command that is named here can be typed as it stands."""
    assert used(words).path.startswith(words[0])


def test_the_command_reader_notices_what_does_not_exist():
    """A command or an option that is gone fails the test above."""
    with pytest.raises(AssertionError, match="has no command paint"):
        used(["pictor", "paint"])
    with pytest.raises(AssertionError, match="has no --louder"):
        used(["pictord", "serve", "--louder"])


def test_every_make_target_is_listed_and_exists():
    """The table of targets is `make help`, and no other target is named anywhere."""
    offered = set(re.findall(r"^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    listed = {code(row[0])[0].removeprefix("make ") for row in table("command")}
    named = set(re.findall(r"`make ([a-z-]+)`", PROSE)) | {
        words[1] for words in shell_lines() if words[:1] == ["make"] and len(words) > 1
    }

    assert listed == offered
    assert named <= offered


def test_the_faults_are_ones_that_the_sandbox_has():
    """Every `x-sandbox-fault` of the page is understood by one of the two simulated providers."""
    faults = re.findall(r'x-sandbox-fault=([^"]+)"', TEXT)

    assert faults
    for fault in faults:
        assert from_headers([fault], fault.partition(":")[0])


def test_every_file_that_is_named_exists():
    """Paths into this repository lead somewhere."""
    tree = ("server/", "clients/", "protos/", "tests/", "bench/", "docs/", "deploy/")
    named = [path for path in code(PROSE) if path.startswith(tree) and "<" not in path]

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_link_leads_somewhere():
    """Links within the page, and to other pages and files."""
    assert list(PAGE.links())
    assert broken_links(PAGE) == []


# --- the decision table


def rows_in_force():
    """The shipped decision table."""
    return policy.load(catalog.load()).rows


def test_the_decision_table_is_the_one_that_is_shipped():
    """Rows, their order, their candidates, and whether they fall back, as in policy.toml."""
    written = [
        (code(name)[0], [model for cell in (first, other) for model in code(cell) if "IMAGE_" not in model], falls)
        for _, name, _, first, other, falls in table("#")
    ]

    for (name, models, falls), row in zip(written, rows_in_force(), strict=True):
        assert name == row.name
        assert models == ([] if row.lead == "named" else list(row.candidates))
        assert falls == ("yes" if row.allow_fallback else "no")


@pytest.mark.parametrize("row", rows_in_force(), ids=lambda row: row.name)
def test_each_row_names_its_conditions(row):
    """Whatever a row looks at is said in its column `when`."""
    when = next(cells[2] for cells in table("#") if code(cells[1]) == [row.name])
    conditions = [dataclasses.asdict(condition) for condition in row.when]
    words = [
        value for each in conditions for values in each.values() if isinstance(values, frozenset) for value in values
    ]
    flags = [name for each in conditions for name, value in each.items() if isinstance(value, bool)]

    assert all(word.upper() in when.upper() for word in words)
    assert "`high_quality`" in when or "high_quality" not in flags
    assert "names a `model`" in when or "named" not in flags
    assert when == "everything else" or words or flags


def test_all_adaptations_are_explained():
    """The closed list of adaptations, one line each."""
    assert [code(row[0])[0].lower() for row in table("adaptation")] == list(AdaptationKind)


# --- what if


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """What `pictord simulate` says by itself, and the words kept in its plot."""
    plot = tmp_path_factory.mktemp("simulated") / "what-if.png"
    unset = {name: None for name in os.environ if name.startswith(("PICTOR_", "IMAGE_EDIT_PROVIDER"))}
    said = CliRunner().invoke(cli.cli, ["simulate", "--plot", str(plot)], env=unset)
    assert said.exit_code == 0
    return said.stdout, Image.open(plot).text["Description"]


def test_the_tables_of_what_if_are_those_that_the_command_prints(simulated):
    """Word for word, figures and all."""
    printed = simulated[0].strip().split("\n\n")
    section = TEXT.partition("## What if")[2].partition("\n## ")[0]
    (shown,) = re.findall(r"\n\n```\n(.*?)\n```\n", section, re.DOTALL)

    assert shown.split("\n\n")[0] == printed[1]
    assert [part for part in shown.split("\n\n") if part not in printed] == []


def test_the_plot_of_what_if_shows_the_same_money(simulated):
    """The committed picture is of today's figures, and small."""
    (path,) = re.findall(r"\]\((docs/[^)]+\.png)\)", TEXT)

    assert Image.open(ROOT / path).text["Description"] == simulated[1]
    assert (ROOT / path).stat().st_size < 60_000


def test_the_pictures_of_the_console_are_there_and_small():
    """A clone stays small."""
    paths = re.findall(r"\]\((docs/[^)]+\.webp)\)", TEXT)

    assert len(paths) == 3
    assert sum((ROOT / path).stat().st_size for path in paths) < 300_000


def test_the_claims_about_one_engine_alone_hold():
    """Twice as dear and four times as slow is gpt-image-2; cheaper, and refusing, is Nano Banana 2."""
    models = catalog.load()
    compared = {"in force": policy.load(models)} | {name: policies.load(name, models) for name in policies.built_in()}
    backends = {"openai": "default", "gemini": "developer"}
    records = workload.deal(workload.shipped())
    report = replay(records, compared, models, backends=backends, today=date(2026, 11, 22))
    ours, gpt, banana = (each.drawn for each in report.replayed)

    assert gpt.expected_nanos / ours.expected_nanos == pytest.approx(2, abs=0.25)
    assert (gpt.p50_s / gpt.requests) / (ours.p50_s / ours.requests) == pytest.approx(4, abs=0.5)
    assert banana.expected_nanos < ours.expected_nanos
    assert report.replayed[2].refused > report.replayed[0].refused
    assert banana.adaptations[AdaptationKind.QUALITY_REDUCED] > ours.adaptations[AdaptationKind.QUALITY_REDUCED]


def test_the_recorded_request_can_be_replayed():
    """The line that the page shows is one that the command reads."""
    (line,) = blocks("json")

    assert [each.model for each in record.read([line.encode()])] == ["gpt-image-2"]


# --- errors


def reasons_in_the_contract():
    """Reason → gRPC code, as error_reason.proto says in its comments."""
    proto = (ROOT / "protos/pictor/v1/error_reason.proto").read_text("utf-8")
    found = re.findall(r"// ([A-Z_]+): (?:(?!ERROR_REASON_)[\s\S])*?\n  ERROR_REASON_([A-Z_]+) = [1-9]", proto)
    return {reason: code_name for code_name, reason in found}


def test_the_errors_table_lists_every_reason_with_its_code():
    """Exactly the reasons of error_reason.proto, which are those of the service, each with its code."""
    written = {code(row[0])[0]: row[1] for row in table("reason")}

    assert written == reasons_in_the_contract()
    assert written == {reason.name: CODES[reason].name for reason in Reason}


def test_every_error_says_what_to_do():
    """No cell of the errors table is empty."""
    assert all(len(row) == 5 and all(row) for row in table("reason"))


# --- from the OpenAI SDK


def sdk_arguments(method):
    """What a method of the installed SDK takes."""
    return set(inspect.signature(method).parameters) - {"self"}


@pytest.mark.parametrize(("column", "method"), [(1, AsyncImages.generate), (2, AsyncImages.edit)])
def test_every_argument_of_the_sdk_has_its_line(column, method):
    """Each argument of the installed `images.generate` and `images.edit` is there, and marked for the right one."""
    written = {code(row[0])[0] for row in table("argument") if row[column] == "yes"}

    assert written == sdk_arguments(method)
    assert {row[column] for row in table("argument")} == {"yes", "-"}


def test_the_fields_that_take_their_place_exist():
    """What a line names as ours is a field of the contract."""
    messages = (image_service_pb2.GenerateRequest, image_service_pb2.EditRequest, image_pb2.Canvas)
    fields = {name for message in messages for name in message.DESCRIPTOR.fields_by_name}

    assert {name for row in table("argument") for name in code(row[3])} <= fields


def test_the_version_of_the_sdk_is_the_installed_one():
    """The table says which SDK it was compared with."""
    version = re.search(r"pinned here \(([\d.]+)\)", TEXT)
    pinned = re.search(r"^openai==([\d.]+)", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE)

    assert version
    assert pinned
    assert version[1] == pinned[1]


# --- settings

VARIABLE = re.compile(r"\b(?:PICTOR|OPENAI|GEMINI|GOOGLE|OTEL|IMAGE_EDIT)_[A-Z_]+[A-Z]\b")
CLIENT_VARIABLES = {"PICTOR_ADDRESS", "PICTOR_API_KEY"}


def test_every_variable_of_the_server_is_listed_and_every_listed_one_is_read():
    """The first column of the settings table is what the settings read."""
    source = "".join(path.read_text("utf-8") for path in Path(settings.__file__).parent.glob("*.py"))
    read = set(VARIABLE.findall(source))
    listed = {name for row in table("variable") for name in code(row[0])}

    assert listed == read - CLIENT_VARIABLES
    assert set(VARIABLE.findall(TEXT)) - CLIENT_VARIABLES <= read | sdk_variables()


def sdk_variables():
    """What the page says of OpenTelemetry's own variables."""
    return {name for row in table("variable of OpenTelemetry") for name in code(row[0])}


def test_opentelemetrys_variables_are_known_to_it_and_tried():
    """Each is one of the installed SDK, and the tests of the export show what it does."""
    tried = (ROOT / "tests/rpc/test_telemetry_export.py").read_text("utf-8")

    assert sdk_variables() <= set(vars(environment_variables))
    assert [name for name in sdk_variables() if f'"{name}"' not in tried] == []
    assert f"ends after {observability.EXPORT_TIMEOUT_S:.0f} s" in PROSE.replace("\n", " ")


def test_the_clients_variables_are_read_by_the_client():
    """PICTOR_ADDRESS and PICTOR_API_KEY are the client's."""
    source = "".join(path.read_text("utf-8") for path in (ROOT / "clients/python/pictor").glob("*.py"))

    assert set(VARIABLE.findall(source)) == CLIENT_VARIABLES
    assert set(VARIABLE.findall(TEXT)) >= CLIENT_VARIABLES


def file_keys():
    """Every key of the configuration file, `[[callers]]` apart: path → default."""
    file = File()
    keys = {f.name: getattr(file, f.name) for f in dataclasses.fields(file)}
    providers, telemetry_table = keys.pop("providers"), keys.pop("telemetry")
    for name in ("pictures", "alerts"):
        table_ = keys.pop(name)
        keys |= {f"{name}.{f.name}": getattr(table_, f.name) for f in dataclasses.fields(table_)}
    keys["database.url"] = keys.pop("database").url
    del keys["callers"]
    for provider in dataclasses.fields(providers):
        own = getattr(providers, provider.name)
        keys |= {f"providers.{provider.name}.{f.name}": getattr(own, f.name) for f in dataclasses.fields(own)}
    return keys | {f"telemetry.{f.name}": None for f in dataclasses.fields(telemetry_table)}


def listed_keys():
    """Every key of the settings table, `NAME` written out for both providers: path → default cell."""
    rows = {code(row[1])[0]: row[2] for row in table("variable") if code(row[1])}
    return {
        key.replace("NAME", provider): default for key, default in rows.items() for provider in ("openai", "gemini")
    }


def test_every_key_of_the_file_is_listed():
    """The second column of the settings table is what the file may hold."""
    assert listed_keys().keys() == file_keys().keys()


def test_the_defaults_are_the_real_ones():
    """A default that the file itself has is the one in the table."""
    spoken = {"True": "true", "False": "false", "()": "[]"}
    real = {key: spoken.get(str(value), str(value)) for key, value in file_keys().items() if value is not None}

    assert {key: code(default)[0] for key, default in listed_keys().items() if key in real} == real


def test_every_key_of_a_caller_is_listed():
    """The table of `[[callers]]` is complete."""
    names = [code(row[0])[0] for row in table("key of `[[callers]]`")]

    assert names == [f.name for f in dataclasses.fields(settings.CallerTable)]


def test_the_daily_cap_in_the_text_is_the_default():
    """$10 is said once in the text."""
    assert format_usd(settings.Settings().daily_cap_nanos, 0) + " a UTC day" in TEXT.replace("\n", " ")


def test_the_limits_in_the_text_are_the_real_ones():
    """How long results are kept, how long a call may take, and how long the drain waits."""
    seconds = [model.latency.seconds for model in catalog.load().models.values()]
    longest_s = max(times.timeout_s for by_quality in seconds for row in by_quality.values() for times in row.values())

    assert SqlRetention() == SqlRetention(keep_s=30 * 24 * 3600.0)
    assert "kept for 30 days" in PROSE
    assert f"may take up to {longest_s:.0f} s" in PROSE
    assert f"`drain_s` ({settings.Settings().drain_s:.0f} s)" in PROSE


def test_the_example_file_is_accepted(tmp_path):
    """The configuration that the page shows can be used as it stands, but for the files with the keys."""
    (example,) = [block for block in blocks("toml") if block.startswith("# pictor.toml")]
    (tmp_path / "key").write_text("a-key-of-the-tests")
    (tmp_path / "pictor.toml").write_text(re.sub(r"file:[^\"]+", f"file:{tmp_path}/key", example))

    loaded = settings.load({"PICTOR_CONFIG": str(tmp_path / "pictor.toml")})

    assert [caller.name for caller in loaded.callers] == ["content-tool", "platform-team"]
    assert loaded.openai
    assert loaded.gemini


def test_the_example_overlay_is_accepted(tmp_path):
    """The format and the row that the page adds are taken."""
    for block in blocks("toml"):
        name = re.match(r"# overlay/(\S+)", block)
        if name:
            (tmp_path / name[1]).write_text(block)

    models = catalog.load(tmp_path)
    rows = [row.name for row in policy.load(models, tmp_path).rows]

    assert "threads/post" in models.formats
    assert rows.index("hero_2k") == rows.index("pro") - 1


# --- programs and telemetry


@pytest.mark.parametrize("program", blocks("python"))
def test_the_python_programs_use_what_the_client_has(program):
    """They compile, and every name of `pictor` in them exists."""
    compile(program, "README.md", "exec")

    assert [name for name in re.findall(r"\bpictor\.([A-Za-z_]+)", program) if not hasattr(pictor, name)] == []


def test_every_metric_is_real_and_listed():
    """The metrics table and the names in telemetry.py agree."""
    source = Path(telemetry.__file__).read_text("utf-8")
    ours = re.findall(r'= "(pictor\.[a-z._]+)"', source.partition("# --- Our metrics")[2])

    assert {code(row[0])[0] for row in table("metric")} == {*ours, telemetry.RPC_SERVER_CALL_DURATION}


def test_all_alarms_are_explained():
    """Every kind of alarm, one line each."""
    assert {code(row[0])[0] for row in table("alarm")} == {
        *AlertKind,
        observer.NOT_AS_PLANNED,
        observer.NOT_STORED,
        observer.OVER_CAP,
        observer.EXTRA_DROPPED,
        observer.OVERRUN,
    }


def test_every_attribute_is_real():
    """Names under `pictor.` in the text are names of telemetry.py, or of the packages."""
    values = {value for name, value in vars(telemetry).items() if name.isupper() and isinstance(value, str)}
    named = {word for word in code(PROSE) if re.fullmatch(r"pictor(\.[a-z_]+)+", word)}

    assert named <= values


def test_every_toml_block_can_be_read():
    """What the page shows as TOML is TOML."""
    assert all(tomllib.loads(block) for block in blocks("toml"))
