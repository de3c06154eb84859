"""The benchmark runs: nothing else would notice that it fell behind the code. Its figures are no test's business."""

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOADS = ("plan", "settling", "recovery", "history")
"""Those that reach into the service; the others go through its door."""


async def test_the_loads_that_reach_inside_run_on_both_databases(tmp_path):
    """A short history is made, listed and settled, and every figure is there."""
    words = f"-m bench --only {' '.join(LOADS)} --rounds 1 --generations 300 --out {tmp_path}".split()
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()

    assert process.returncode == 0, said.decode()
    table = (tmp_path / "table.md").read_text()
    figures = ("router.plan", "reserve and settle", "start after a crash", "history, SQLite", "history, PostgreSQL")
    for figure in figures:
        (line,) = [line for line in table.splitlines() if figure in line]
        assert "not run" not in line
