"""The table on the terminal, and everything behind it in a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.bars import Bar
from bench.measurement import Measurements

_WORDS = {True: "pass", False: "MISS", None: "-"}
_HEADER = ("figure", "must reach", "measured", "")


def as_text(bars: Sequence[Bar]) -> str:
    """A Markdown table whose columns line up."""
    rows = [_HEADER, *((bar.figure, bar.must_reach, bar.measured, _WORDS[bar.passed]) for bar in bars)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def write(folder: Path, bars: Sequence[Bar], measured: Measurements, about: Mapping[str, Any]) -> None:
    """Write `results.json` (the run, the table, every measurement of every round) and `table.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    results = {**about, "table": [asdict(bar) for bar in bars], "measurements": [asdict(each) for each in measured.all]}
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(as_text(bars) + "\n", encoding="utf-8")
