"""The page of the Python client: its programs and commands run as they stand, and are typed; the main page's too."""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import gateway

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "clients/python/README.md").read_text("utf-8")
PROGRAMS = re.findall(
    r"^```python\n(.*?)^```$", PAGE + (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith("pictor ")
]


async def run(address, cwd, *command):
    """Run one where nothing can be shown; answer what it printed."""
    ours = ("PICTOR_", "DISPLAY", "WAYLAND_DISPLAY")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**environment, "PICTOR_ADDRESS": address},
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("program", PROGRAMS, ids=[f"example {number}" for number, _ in enumerate(PROGRAMS, 1)])
async def test_every_program_runs_as_it_stands(tmp_path, program):
    """Against a gateway with simulated engines: no error, and every file that it says it saved is there."""
    (tmp_path / "out").mkdir()
    async with gateway() as running:
        said = await run(running.app.address, tmp_path, sys.executable, "-W", "error", "-c", program)

    saved = {path.name for path in tmp_path.rglob("*.*")}
    named = set(re.findall(r"[\w-]+\.(?:png|jpg|webp)", said))
    assert said
    assert named <= saved
    assert saved
    assert not [name for name in saved if name.endswith(".part")]


async def test_every_command_runs_as_it_stands(tmp_path):
    """One after the other, as a newcomer types them."""
    async with gateway() as running:
        for _, *words in COMMANDS:
            command = sys.executable, "-c", "from pictor.cli import main; main()"
            assert await run(running.app.address, tmp_path, *command, *words)

    assert len([path for path in (tmp_path / "out").iterdir() if "preview" in path.name]) == 2


def test_every_program_is_typed(tmp_path):
    """mypy, strict, sees the installed client's types, and none of the programs needs a cast or a comment for it."""
    for number, program in enumerate(PROGRAMS, 1):
        (tmp_path / f"example_{number}.py").write_text(program, "utf-8")
    (tmp_path / "wrong.py").write_text(
        "import pictor\n"
        "with pictor.SyncClient() as client:\n"
        '    client.generate("a fox", teir="pro")\n'
        '    made: int = client.generate("a fox")\n'
        "    for event in client.stream(7):\n"
        "        event.colour\n",
        "utf-8",
    )

    ran = subprocess.run(  # noqa: S603 - the type checker
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), "."],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert re.findall(r"^(\S+):(\d+): error: .*\[(\S+)\]$", ran.stdout, re.MULTILINE) == [
        ("wrong.py", "3", "call-arg"),
        ("wrong.py", "4", "assignment"),
        ("wrong.py", "5", "arg-type"),
        ("wrong.py", "6", "attr-defined"),
    ], ran.stdout
