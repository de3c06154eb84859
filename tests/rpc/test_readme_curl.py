"""The README's commands for curl, run as they are pasted; only the port is the test's."""

import asyncio
import json
import os
from pathlib import Path

from gateway import gateway
from pages import Page

(COMMANDS,) = [block for block in Page("README.md").blocks("sh") if "8080/pictor.v1.ImageService/Plan" in block]


async def test_the_commands_of_browser_and_curl_work(tmp_path: Path):
    """A plan, a picture on the disk, an error in words, and a stream from accepted to completed."""
    async with gateway(http_listen="127.0.0.1:0") as pictor:
        script = COMMANDS.replace("127.0.0.1:8080", pictor.app.http_address)
        shell = await asyncio.create_subprocess_exec(
            *("sh", "-eu", "-c", script),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"]},
        )
        said, complaints = await shell.communicate()
    plan, error, *events = said.decode().splitlines()  # each answer on a line of its own, for a person to read

    assert complaints == b""
    assert json.loads(plan)["plan"]["row"] == "pro"
    assert json.loads(error)["details"][0]["debug"]["reason"] == "PROMPT_EMPTY"
    assert (tmp_path / "out/curl.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    messages = [json.loads(line)["event"] for line in events]
    assert "accepted" in messages[0]
    assert "completed" in messages[-1]
