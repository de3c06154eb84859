"""What can go wrong around the command, in real processes: one line that says what to do, and an exit code by class."""

import asyncio
import json
import os
import re
import sys
from typing import NamedTuple

import grpc
import pytest
from typer.testing import CliRunner

from cable import cable
from full_disk import full_disk
from gateway import gateway
from pictor import Client, messages, picture_file
from pictor.cli.app import app
from pictor.v1 import usage_service_pb2 as usage
from pictord.auth.callers import hash_key
from pictord.settings import CallerTable
from strangers import certificate, grpc_server, http_server

COMMAND = (sys.executable, "-c", "from pictor.cli import main; main()")
KEY = "pictor_a-good-one"


class Ended(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


async def pictor(*arguments, cwd, address="", stdout=asyncio.subprocess.PIPE, prefix=lambda *command: command, **more):
    """Run the command in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PICTOR_", "GRPC_"))}
    process = await asyncio.create_subprocess_exec(
        *prefix(*COMMAND, *map(str, arguments)),
        env={**environment, "PICTOR_ADDRESS": address, **more},
        cwd=cwd,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Ended(process.returncode, (out or b"").decode(), err.decode())


def assert_one_line(ended, code, *, says):
    """Nothing on stdout, one sentence on stderr (what came before the failure apart), the exit code of its class."""
    assert (ended.code, ended.out) == (code, ""), ended
    *before, last = ended.err.splitlines()
    assert last.startswith("pictor: "), ended.err
    assert says in last, ended.err
    assert "Traceback" not in ended.err
    assert not [line for line in before if line.startswith("pictor: ")]


# --- the wrong address


@pytest.mark.parametrize(
    "arguments",
    ["models", "generate fox", "set fox --formats x/post", "reroll gen_1", "watch gen_1", "download img_1", "upload f"],
)
async def test_nobody_at_the_address(tmp_path, arguments):
    """Whatever was wanted: the address, and what to do, at once."""
    (tmp_path / "f").write_bytes(b"png")

    ended = await pictor(*arguments.split(), cwd=tmp_path, address="127.0.0.1:1")

    assert_one_line(ended, 4, says="nothing answers at 127.0.0.1:1; start it with `make serve`, or set PICTOR_ADDRESS")


async def test_tls_on_one_side_only(tmp_path):
    """Either way round, and with a certificate that nobody trusts: what to write instead."""
    private, chain = certificate()
    credentials = grpc.ssl_server_credentials([(private, chain)])
    (tmp_path / "ca.pem").write_bytes(chain)
    words = "generate", "fox"

    with grpc_server(credentials) as secure, grpc_server() as plain:
        without = await pictor(*words, cwd=tmp_path, address=f"localhost:{secure}")
        untrusted = await pictor(*words, cwd=tmp_path, address=f"https://localhost:{secure}")
        too_much = await pictor(*words, cwd=tmp_path, address=f"https://localhost:{plain}")
        trusted = await pictor(
            *words,
            cwd=tmp_path,
            address=f"https://localhost:{secure}",
            GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=str(tmp_path / "ca.pem"),
        )

    assert_one_line(without, 4, says=f"hangs up; if it speaks TLS, say https://localhost:{secure}")
    assert_one_line(untrusted, 4, says="TLS with it fails; if its certificate is of your own authority")
    assert_one_line(too_much, 4, says="but without TLS; leave out https://")
    assert_one_line(trusted, 3, says="UNIMPLEMENTED")


async def test_something_else_at_the_address(tmp_path):
    """A web server (the gateway's own, perhaps), another gRPC service, a name that nobody has, no such port."""
    with http_server() as web, grpc_server() as other:
        page = await pictor("generate", "fox", cwd=tmp_path, address=f"localhost:{web}")
        service = await pictor("generate", "fox", cwd=tmp_path, address=f"localhost:{other}")
    nameless = await pictor("models", cwd=tmp_path, address="nobody.invalid:50051")
    portless = await pictor("models", "--json", cwd=tmp_path, address="localhost")
    beyond = await pictor("models", cwd=tmp_path, address="localhost:65536")

    assert_one_line(
        page, 4, says=f"something answers at localhost:{web}, but it does not speak gRPC; look at the port in "
    )
    assert_one_line(
        service,
        3,
        says=f"something else than a gateway of this version answers at localhost:{other} (Method not found!)",
    )
    assert_one_line(nameless, 4, says="(nobody knows its name)")
    assert_one_line(beyond, 2, says="there is no port 65536")
    assert (portless.code, json.loads(portless.out)["error"]["reason"]) == (2, "INVALID_FIELD")


# --- the line


async def test_a_set_whose_line_is_cut_is_whole_all_the_same(tmp_path):
    """One line says that the connection was lost; every file is there, and each item was paid once."""
    items = [word for number in range(4) for word in ("--item", f"slide-{number}=a fox on slide {number}")]
    async with gateway() as door, cable(door.app.address) as line:
        line.cut_after(2**17)
        ended = await pictor(
            "set", "a fox", *items, "--resolution", "512", "--previews", 0, cwd=tmp_path, address=line.address
        )
        cuts = line.cuts

    assert (ended.code, cuts) == (0, 1)
    assert "the connection was lost, trying again" in ended.err
    assert ": 4 pictures, 0 missing, cost $0." in ended.out
    assert sorted(path.name[:7] for path in (tmp_path / "out").iterdir()) == [f"slide-{number}" for number in range(4)]
    assert [charge.billed for charge in door.sandbox.charges] == [True] * 4


@pytest.mark.parametrize(
    ("command", "what", "outcome"),
    [
        (("stream", "a fox"), "generation gen_", "whether it was made"),
        (("set", "a fox", "--formats", "x/post"), "set set_", "what was made"),
    ],
    ids=["stream", "set"],
)
async def test_a_gateway_that_comes_back_without_its_memory_is_told_as_it_is(tmp_path, command, what, outcome):
    """Nobody answers for a while, then one that knows nothing: no word of absence, no pointer that cannot work."""
    async with gateway() as door, gateway() as restarted, cable(door.app.address) as line:
        door.sandbox.faults.add("stall", times=1)
        words = *command, "--request-id", "fox"
        pending = asyncio.ensure_future(pictor(*words, cwd=tmp_path, address=line.address))
        await door.sandbox.wait_for_stalls(1)
        line.plug("127.0.0.1:1")
        line.cut()
        await line.met_nobody.wait()
        line.plug(restarted.app.address)
        ended = await pending

        assert len(restarted.sandbox.requests) == 0

    *_, last = ended.err.splitlines()
    knows = rf"the gateway that answers now does not know {what}\w+ \(another data folder\?\)"
    spent = "money may be spent, repeat it only with its --request-id fox"
    told = rf"pictor: the connection was lost, and {knows}, so it is unknown {outcome}; {spent}"
    assert re.fullmatch(told, last), ended.err
    assert ended.code == 4


# --- what the gateway refuses


async def test_no_key_and_a_wrong_one(tmp_path):
    """One line that names the variable; the key itself is never told."""
    callers = (CallerTable("studio", (hash_key(KEY),)),)
    async with gateway(callers=callers) as door:
        address = door.app.address
        without = await pictor("generate", "fox", cwd=tmp_path, address=address)
        wrong = await pictor("generate", "fox", cwd=tmp_path, address=address, PICTOR_API_KEY="pictor_revoked")
        right = await pictor("models", "--json", cwd=tmp_path, address=address, PICTOR_API_KEY=KEY)
        forbidden = await pictor("budget", "list", cwd=tmp_path, address=address, PICTOR_API_KEY=KEY)

    assert_one_line(without, 7, says="(UNAUTHENTICATED); set PICTOR_API_KEY to a key of this gateway")
    assert_one_line(wrong, 7, says="the key is not known here")
    assert "revoked" not in wrong.err
    assert right.code == 0
    assert_one_line(forbidden, 7, says="(PERMISSION_DENIED); ask an operator")


async def test_a_prompt_that_an_engine_refuses(tmp_path):
    """The engine's words, what to change, and the generation to look at; nothing is saved."""
    fault = "x-sandbox-fault=gemini:finish_reason;reason=IMAGE_SAFETY"
    async with gateway() as door:
        ended = await pictor("--metadata", fault, "generate", "a fox", cwd=tmp_path, address=door.app.address)

    assert_one_line(ended, 3, says="(CONTENT_POLICY); change the prompt or the pictures")
    assert list((tmp_path / "out").iterdir()) == []


async def test_an_upload_that_is_no_picture(tmp_path):
    """The line begins with the file, whoever refused it; nothing of the contract's field is left."""
    (tmp_path / "README.md").write_text("# A fox")
    (tmp_path / "large.png").write_bytes(bytes(20 * 2**20 + 1))
    async with gateway() as door:
        text = await pictor("upload", "README.md", cwd=tmp_path, address=door.app.address)
        large = await pictor("upload", "large.png", cwd=tmp_path, address=door.app.address)

    assert_one_line(text, 2, says="pictor: `README.md`: this is text; PNG, JPEG and WebP are taken (IMAGE_INVALID)")
    assert_one_line(large, 2, says="pictor: `large.png`: the picture has more than 20971520 bytes (IMAGE_TOO_LARGE)")


async def test_a_spent_budget(tmp_path):
    """Which budget it is, and who can raise it; with --json it can be read by a program."""
    async with gateway() as door:
        budget = messages.budget("one", "global", window="day", pictures=1)
        await door.usage.SetBudget(usage.SetBudgetRequest(budget=budget))
        first = await pictor("generate", "a fox", cwd=tmp_path, address=door.app.address)
        second = await pictor("generate", "a fox", cwd=tmp_path, address=door.app.address)
        told = await pictor("generate", "a fox", "--json", cwd=tmp_path, address=door.app.address)

    assert first.code == 0
    assert_one_line(second, 6, says="(BUDGET_EXHAUSTED); wait for its next window, or ask an operator to raise it")
    assert "budget 'one'" in second.err
    assert (told.code, json.loads(told.out)["error"]["reason"]) == (6, "BUDGET_EXHAUSTED")


# --- what this machine does not take


async def test_a_full_disk_keeps_nothing_in_halves_and_says_how_to_go_on(tmp_path):
    """It is paid and kept: after making room the command that was named brings it."""
    out = tmp_path / "small"
    async with gateway() as door:
        address = door.app.address
        with full_disk(out, 2**14) as meeting_it:
            command = "generate", "a fox", "--request-id", "fox", "--out", out
            drawn = await pictor(*command, cwd=tmp_path, address=address, prefix=meeting_it)
            left = list(out.iterdir())
        made = await pictor("show", "--request-id", "fox", "--json", cwd=tmp_path, address=address)
        generation = json.loads(made.out)["generation"]
        image = generation["outputs"][0]["image"]["id"]
        with full_disk(tmp_path / "smaller", 2**14) as meeting_it:
            words = "download", image, "--out", tmp_path / "smaller"
            fetched = await pictor(*words, cwd=tmp_path, address=address, prefix=meeting_it)
        watched = await pictor("watch", generation["id"], cwd=tmp_path, address=address)

    is_real = "No space left" in drawn.err  # else the process is bound, which no room helps
    helps, more = ("make room", "") if is_real else ("choose another folder", " --out FOLDER")
    assert_one_line(drawn, 3, says=f"{helps}, then `pictor watch {generation['id']}{more}` saves it")
    assert left == []
    assert_one_line(fetched, 3, says=f"{helps}, then `pictor download {image}{more}` saves it")
    assert watched.code == 0
    assert [path.stem for path in (tmp_path / "out").iterdir()] == [f"{generation['id']}-0"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "a fox"],
        ["edit", "a fox", "--edit", "img_1"],
        ["stream", "a fox"],
        ["set", "a fox", "--formats", "x/post"],
        ["reroll", "gen_1"],
        ["download", "img_1"],
    ],
    ids=lambda arguments: arguments[0],
)
async def test_a_folder_that_takes_no_file_is_found_out_before_money(tmp_path, arguments):
    """`--out` names a file, or lies in a place where nothing can be made: nobody is even asked."""
    (tmp_path / "file").write_text("")
    taken = await pictor(*arguments, "--out", "file", cwd=tmp_path, address="127.0.0.1:1")
    nowhere = await pictor(*arguments, "--out", "/proc/fox", cwd=tmp_path, address="127.0.0.1:1")
    closed = await pictor(*arguments, "--out", "/proc", cwd=tmp_path, address="127.0.0.1:1")

    then = "; nothing was sent; choose another folder"
    assert_one_line(taken, 2, says=f"pictor: --out: cannot make file (it is no folder){then}")
    assert_one_line(nowhere, 2, says="pictor: --out: cannot make /proc/fox (")
    assert_one_line(closed, 2, says="pictor: --out: cannot write into /proc (")
    assert nowhere.err.endswith(f"{then}\n")
    assert closed.err.endswith(f"{then}\n")


@pytest.mark.parametrize("command", ["generate", "stream", "set", "reroll", "download"])
@pytest.mark.parametrize("becomes_a_file", [False, True])
async def test_a_folder_that_vanishes_is_told_with_the_way_to_the_picture(
    tmp_path, monkeypatch, command, becomes_a_file
):
    """The line names the picture's own file, and the command that saves it elsewhere."""
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"

    def vanish():
        out.rmdir()
        if becomes_a_file:
            out.write_text("")

    async with gateway() as door:
        async with Client(door.app.address) as client:
            made = await client.generate("a fox")
        words = {"set": ["a fox", "--formats", "x/post"], "reroll": [made.id], "download": [made.picture.id]}
        monkeypatch.setenv("PICTOR_ADDRESS", door.app.address)
        monkeypatch.setattr(picture_file.secrets, "token_hex", lambda _: vanish() or "0")
        arguments = [command, *words.get(command, ["a fox"]), *([] if command == "download" else ["--previews", "0"])]
        ended = await asyncio.to_thread(CliRunner().invoke, app, arguments)

    *_, line = ended.stderr.splitlines()
    paid, helps = "paid and kept by the gateway", "choose another folder, then"
    kept = {
        "set": rf"what was drawn is {paid}: {helps} see `pictor history --set set_\w+`",
        "download": rf"it is kept by the gateway: {helps} `pictor download {made.picture.id} --out FOLDER` saves it",
    }.get(command, rf"it is {paid}: {helps} `pictor watch gen_\w+ --out FOLDER` saves it")
    why = "Not a directory" if becomes_a_file else "No such file or directory"
    assert re.fullmatch(rf"pictor: out/[\w-]+\.\w+: {why}; {kept}", line), ended.stderr
    assert ended.exit_code == 3


@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["plan", "a fox", "--json"]])
async def test_an_output_that_takes_nothing_is_one_line(tmp_path, arguments):
    """`> /dev/full`: no traceback, nor a second complaint when Python ends."""
    async with gateway() as door:
        with open("/dev/full", "wb") as full:  # noqa: ASYNC230, PTH123 - a device
            ended = await pictor(*arguments, cwd=tmp_path, address=door.app.address, stdout=full)

    assert (ended.code, ended.err) == (
        3,
        "pictor: what is printed here: No space left on device; make room, or send it elsewhere\n",
    )


# --- a wrong command line


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            "generate fox --foo",
            "No such option: --foo (Possible options: --format, --out); see `pictor generate --help`",
        ),
        ("generate fox --count many", "Invalid value for '--count'"),
        ("generate fox --timeout nan", "at most a year of seconds; see `pictor generate --help`"),
        ("providers disable openai", "Missing option '--reason'; see `pictor providers disable --help`"),
        ("draw", "No such command 'draw'"),
        ("generate --timeout", "Option '--timeout' requires an argument"),
        ("download", "Missing argument 'IMAGE'; see `pictor download --help`"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_json_if_that_was_asked_for(arguments, text):
    """Every usage error, like every other failure."""
    words = arguments.split()
    plain = CliRunner().invoke(app, words)
    told = CliRunner().invoke(app, ["generate", "--json", *words[1:]] if words[0] == "generate" else [*words, "--json"])

    assert_one_line(Ended(plain.exit_code, plain.stdout, plain.stderr), 2, says=text)
    error = json.loads(told.stdout)["error"]
    assert (told.exit_code, error["reason"], error["paid"]) == (2, "INVALID_FIELD", False)
    assert error["text"] == plain.stderr.removeprefix("pictor: ").partition("; see")[0].strip()
