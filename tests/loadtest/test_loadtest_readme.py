"""The README of the load harness says what the command does, and its examples run as they stand."""

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from gateway import gateway
from pictor_loadtest import mix
from pictor_loadtest.metrics import METRICS, SPANS
from pictor_loadtest.percentiles import STATISTICS
from pictord.sandbox import SandboxSettings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "clients/loadtest/README.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def examples():
    """Every line of the shell blocks after the first, which is the three commands."""
    return [shlex.split(line, comments=True) for block in blocks("sh")[1:] for line in block.splitlines()]


@pytest.mark.timeout(240)
async def test_the_examples_run_as_they_stand(tmp_path):
    """In order, in one folder, against a sandbox gateway; nothing fails."""
    (file,) = blocks("toml")
    (tmp_path / "mine.toml").write_text(file)
    programs = {"pictor": [sys.executable, "-c", "from pictor.cli import main; main()"], "cp": ["cp"]}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PICTOR_")}
    async with gateway(sandbox=SandboxSettings(time_scale=0)) as at:
        for program, *arguments in examples():
            process = await asyncio.create_subprocess_exec(
                *programs[program], *arguments, cwd=tmp_path, env=clean | {"PICTOR_ADDRESS": at.app.address},
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await process.communicate()
            assert process.returncode == 0, f"{program} {arguments}: {said.decode()}"


def test_there_are_examples_of_every_kind():
    options = {word for words in examples() for word in words if word.startswith("--")}

    assert {"--rate", "--spacing", "--seed", "--mix", "--assert", "--baseline", "--tolerance"} <= options


def test_the_metrics_are_those_that_can_be_asserted():
    """Each span and each single figure, in its order, with its words."""
    rows = re.findall(r"^\| `([a-z_…]+)` \| ([^|]*)\| ([^|]+) \|$", TEXT, re.MULTILINE)
    expected = [(f"{span}_…", about) for span, about in SPANS.items()]
    expected += [(name, metric.about) for name, metric in METRICS.items() if name.rpartition("_")[0] not in SPANS]

    assert [(name, about) for name, _, about in rows] == expected
    (listed,) = re.findall(r"^`…` is (.*?)\. Percentiles", TEXT, re.MULTILINE)
    assert tuple(re.findall(r"`(\w+)`", listed)) == STATISTICS


def test_the_mixes_are_those_that_ship():
    section = TEXT.partition("## Mixes")[2].partition("```")[0]

    assert set(mix.shipped()) <= set(re.findall(r"`([a-z-]+)`", section))


def test_every_file_that_is_named_exists():
    named = re.findall(r"(?:clients|protos)/[\w./-]+\.\w+", TEXT)

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
