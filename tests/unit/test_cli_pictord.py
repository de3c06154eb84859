"""The `pictord` command: what each subcommand prints, and a whole life of `pictord serve` in a process of its own."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from pictor.v1.image_service_pb2 import GenerateRequest
from pictor.v1.image_service_pb2_grpc import ImageServiceStub
from pictord import __version__, cli
from pictord.auth.callers import hash_key

OURS = ("PICTOR_", "OPENAI_", "GEMINI_", "GOOGLE_", "OTEL_", "IMAGE_EDIT_PROVIDER")
"""Variables that lead the command; a test begins with none of them."""

SECRET = "sk-canary-5a17"
PROMPT = "canary-prompt-5a17"
NANO = "gemini-3.1-flash-image"
NEWER = "gemini-nano-banana-2.1"


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def pictord(monkeypatch, capsys):
    """Run the command in this process."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)

    def run(*arguments: str, **environ: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["pictord", *arguments])
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return Said(int(end.value.code or 0), printed.out, printed.err)

    return run


def test_it_says_its_version(pictord):
    """For bug reports."""
    assert pictord("--version").out == f"pictord {__version__}\n"


def test_config_check_says_what_serve_would_do(pictord, tmp_path):
    """Everything at one glance, secrets excepted."""
    (tmp_path / "pictor.toml").write_text(
        f"""
        daily_cap_usd = 25
        edit_provider = "openai"
        [providers.openai]
        account = "team-a"
        images_per_minute = 50
        [telemetry]
        otlp_endpoint = "http://collector:4317"
        [[callers]]
        name = "web"
        keys = ["{hash_key("pictor_web")}"]
        """
    )

    said = pictord(
        "config",
        "check",
        PICTOR_CONFIG=str(tmp_path / "pictor.toml"),
        PICTOR_LISTEN="0.0.0.0:50051",
        OPENAI_API_KEY=SECRET,
        GOOGLE_CLOUD_PROJECT="pictures",
    )

    lines = dict(re.split(r"  +", line, maxsplit=1) for line in said.out.splitlines())
    assert said.code == 0
    assert lines | {"policy": "", "catalog": ""} == {
        "listen": "0.0.0.0:50051",
        "admin": "127.0.0.1:9464",
        "http": "127.0.0.1:8080",
        "openai": "https://api.openai.com/v1, account team-a, 50 images a minute",
        "gemini": "Google (Vertex AI, pictures in global), account default",
        "edits go to": "openai",
        "callers": "web (caller)",
        "daily cap": "$25.00",
        "data": "a temporary folder",
        "database": "SQLite, pictor.db in the data folder",
        "pictures": "a folder in there",
        "overlay": "none",
        "telemetry": "/metrics, and http://collector:4317 by grpc",
        "policy": "",
        "catalog": "",
    }
    assert "canary" not in said.out + said.err
    assert hash_key("pictor_web") not in said.out


def test_config_check_in_sandbox_mode_needs_no_keys(pictord):
    """And says that nothing is real."""
    said = pictord("config", "check", "--sandbox")

    assert said.code == 0
    assert re.search(r"^openai +simulated$", said.out, re.MULTILINE)
    assert re.search(r"^daily cap +none \(sandbox\)$", said.out, re.MULTILINE)


CALLER = '[[callers]]\nname = "web"\nkeys = ["{key}"]\n{more}'
WRONG = {
    "no credentials": ("", {}, "no provider has credentials"),
    "unknown key": ("listn = 1", {"OPENAI_API_KEY": SECRET}, "listn: there is no such key"),
    "secret in the file": (f'[providers.openai]\nkey = "{SECRET}"', {}, "providers.openai.key: must be a reference"),
    "open to all": ("", {"OPENAI_API_KEY": SECRET, "PICTOR_LISTEN": "0.0.0.0:1"}, "no callers are configured"),
    "no hash": (CALLER.format(key="x", more=""), {"OPENAI_API_KEY": SECRET}, "caller 'web': a key hash is 64"),
    "unknown model": (
        CALLER.format(key="0" * 64, more='models = ["m"]'),
        {"OPENAI_API_KEY": SECRET},
        "no model is called 'm'",
    ),
    "no overlay": ("", {"OPENAI_API_KEY": SECRET, "PICTOR_OVERLAY": "/no/such"}, "/no/such: no such folder"),
    "no folder for pictures": (
        "",
        {"OPENAI_API_KEY": SECRET, "PICTOR_DATA_DIR": "/proc/pictor"},
        "data_dir (PICTOR_DATA_DIR): cannot keep pictures in /proc/pictor: ",
    ),
    "misspelt variable": (
        "",
        {"OPENAI_API_KEY": SECRET, "PICTOR_SANDBX": "1"},
        "PICTOR_SANDBX: there is no such variable; did you mean PICTOR_SANDBOX?",
    ),
    "one is missing": (
        "",
        {"OPENAI_API_KEY": SECRET, "PICTOR_REQUIRE_PROVIDERS": "openai,gemini"},
        "no credentials for gemini",
    ),
}


@pytest.mark.parametrize(("toml", "environ", "says"), WRONG.values(), ids=WRONG)
def test_config_check_finds_what_serve_would_refuse(pictord, tmp_path, toml, environ, says):
    """One sentence, exit code 2, and never the secret."""
    (tmp_path / "pictor.toml").write_text(toml)

    said = pictord("config", "check", PICTOR_CONFIG=str(tmp_path / "pictor.toml"), **environ)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("pictord: ")
    assert says in said.err
    assert said.err.count("\n") == 1
    assert "canary" not in said.err


def test_policy_check_shows_the_rows_in_their_order(pictord):
    """Needs no credentials; the edit provider leads where it should."""
    said = pictord("policy", "check", IMAGE_EDIT_PROVIDER="openai")

    rows = [line.split() for line in said.out.splitlines()[1::2]]
    assert said.code == 0
    assert [row[1] for row in rows] == ["explicit", "edit", "four_k", "pro", "text_in_image", "standard"]
    assert rows[1][2:] == ["gpt-image-2,", NANO]


def test_policy_check_shows_when_a_row_matches_and_who_falls_back(pictord):
    """All that decides stands there: conditions with and and or, and the row that falls back only when told to."""
    said = [line.strip() for line in pictord("policy", "check").out.splitlines()]

    assert said[2::2] == [
        "when named is true",
        "when operation is edit",
        "when resolution is 4k",
        "when tier is pro or high_quality is true",
        "when workflow is multilingual_label | on_image_text | quote_graphic",
        "when nothing above matched",
    ]
    assert [line for line in said if "falls back only if the call allows it" in line] == [said[1]]
    assert "the named model, else gpt-image-2" in said[1]


@pytest.mark.parametrize("way", ["option", "variable", "file"])
def test_an_overlay_is_found_however_it_is_named(pictord, tmp_path, way):
    """By --overlay, by PICTOR_OVERLAY, or in the configuration file."""
    (tmp_path / "policy.toml").write_text('[rows.ours]\nwhen = [{}]\nbefore = "pro"\ncandidates = ["gpt-image-2"]')
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "pictor.toml").write_text(f'overlay = "{tmp_path}"')
    environ = {
        "variable": {"PICTOR_OVERLAY": str(tmp_path)},
        "file": {"PICTOR_CONFIG": str(tmp_path / "conf" / "pictor.toml")},
    }.get(way, {})

    said = pictord("policy", "check", *(["--overlay", str(tmp_path)] if way == "option" else []), **environ)

    assert re.search(r"^4  ours +gpt-image-2$", said.out, re.MULTILINE)
    assert re.search(r"^5  pro ", said.out, re.MULTILINE)


def test_a_broken_overlay_is_told_by_file_row_and_key(pictord, tmp_path):
    """Before it is sent to a running gateway."""
    (tmp_path / "policy.toml").write_text('[rows.ours]\nwhen = [{}]\nbefore = "pro"\ncandidates = ["dall-e-1"]')

    said = pictord("policy", "check", "--overlay", str(tmp_path))

    assert (said.code, said.out) == (2, "")
    assert f"{tmp_path}/policy.toml: rows 'ours': candidates: no model is called 'dall-e-1'" in said.err


def test_prices_are_shown_with_their_source(pictord):
    """Each price, from when it holds, where it was read and when."""
    said = pictord("prices")

    assert re.search(rf"^{NANO}  from 2026-05-28  per 1M tokens  \(.+, read 2026-11-22\)$", said.out, re.MULTILINE)
    assert re.search(r"^  image_out +\$60\.0000$", said.out, re.MULTILINE)


def test_negotiated_prices_are_shown_instead(pictord, tmp_path):
    """What the gateway would charge with, to the last digit."""
    (tmp_path / "models.toml").write_text(
        f'[models."{NANO}".prices.2026-05-28]\nimage_out = 41.1250\nsource = "contract 7"\n'
    )

    said = pictord("prices", PICTOR_OVERLAY=str(tmp_path))

    assert "contract 7" in said.out
    assert re.search(r"^  image_out +\$41\.1250$", said.out, re.MULTILINE)


def test_a_new_key_comes_with_the_hash_that_the_configuration_takes(pictord):
    """Two runs make two keys."""
    said = [pictord("new-key").out for _ in range(2)]

    keys, hashes = zip(*(re.findall(r"^(?:key|hash) +(\S+)$", out, re.MULTILINE) for out in said), strict=True)
    assert keys[0] != keys[1]
    assert all(key.startswith("pictor_") for key in keys)
    assert [hash_key(key) for key in keys] == list(hashes)


# `pictord serve`


@dataclass
class Serving:
    """A running `pictord serve`; `lines` is all that it said on standard error."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    async def until(self, text: str) -> str:
        """The next line that holds `text`."""
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            self.lines.append(line.rstrip())
            if text in line:
                return line
        raise AssertionError(f"ended without {text!r}:\n" + "\n".join(self.lines))

    async def end(self) -> int:
        """Read to the end; the exit code."""
        assert self.process.stderr is not None
        self.lines += (await self.process.stderr.read()).decode().splitlines()
        return await self.process.wait()


@asynccontextmanager
async def serving(*arguments: str, **environ: str) -> AsyncIterator[Serving]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pictord", "serve", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean
        | {"PICTOR_LISTEN": "127.0.0.1:0", "PICTOR_ADMIN_LISTEN": "127.0.0.1:0", "PICTOR_HTTP_LISTEN": "127.0.0.1:0"}
        | environ,
    )
    try:
        yield Serving(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def draw(line: str, **fields) -> None:
    """A picture from the gateway that announced itself in `line`."""
    port = re.search(r"gRPC on \S+:(\d+)", line)[1]
    traced = (("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await ImageServiceStub(channel).Generate(GenerateRequest(prompt=PROMPT, **fields), metadata=traced)


async def test_a_whole_life_of_serve(tmp_path):
    """Keyless in a container it serves the sandbox on all addresses, takes a new model or refuses to, and drains."""
    environ = {"PICTOR_LISTEN": "0.0.0.0:0", "PICTOR_OVERLAY": str(tmp_path), "OPENAI_LOG": "debug"}
    chatty = ("--log-level", "debug", "--log-format", "json")
    async with serving("--sandbox", "--time-scale", "0", *chatty, **environ) as pictord:
        announced = await pictord.until("gRPC on 0.0.0.0:")
        await draw(announced, model="gpt-image-2")
        first = json.loads(await pictord.until("outcome=ok"))

        (tmp_path / "policy.toml").write_text("[rows.standard]\ncandidates = []")
        pictord.process.send_signal(signal.SIGHUP)
        refused = json.loads(await pictord.until("not reloaded"))
        await draw(announced)

        shutil.copy(Path(__file__).parent / "test_catalog_newer/models.toml", tmp_path)
        (tmp_path / "policy.toml").write_text(f'[rows.standard]\ncandidates = ["{NEWER}"]')
        pictord.process.send_signal(signal.SIGHUP)
        taken = json.loads(await pictord.until("reloaded: policy"))
        await draw(announced)
        last = json.loads(await pictord.until(f'"model": "{NEWER}"'))

        pictord.process.send_signal(signal.SIGTERM)
        code = await pictord.end()

    assert code == 0
    assert "SANDBOX" in "\n".join(pictord.lines[:3])
    assert (first["trace_id"], first["level"], first["outcome"]) == ("a" * 32, "info", "ok")
    assert (first["caller"], first["row"], first["model"]) == ("local", "explicit", "gpt-image-2")
    assert refused["level"] == "error"
    assert f"{tmp_path}/policy.toml: rows 'standard': candidates" in refused["message"]
    assert taken["level"] == "info"
    assert (last["row"], last["outcome"]) == ("standard", "ok")
    said = "\n".join(pictord.lines)
    assert not any(text in said for text in ("canary", "Traceback", '"logger": "openai'))


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "pictord: no provider has credentials"),
        ({"OPENAI_API_KEY": SECRET, "PICTOR_LISTEN": "0.0.0.0:0"}, "pictord: 0.0.0.0:0 can be reached"),
        ({"GEMINI_API_KEY": SECRET, "PICTOR_LISTEN": "203.0.113.7:1"}, "pictord: 203.0.113.7:1 can be reached"),
    ],
    ids=["no credentials", "open to all", "another address"],
)
async def test_serve_refuses_in_one_line(environ, says):
    """No traceback, no secret, exit code 2."""
    async with serving(**environ) as pictord:
        code = await pictord.end()

    assert code == 2
    assert len(pictord.lines) == 1
    assert pictord.lines[0].startswith(says)
    assert "canary" not in pictord.lines[0]
