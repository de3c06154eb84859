"""What the demo keeps of each result: `report.json`, and a table on the terminal."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pictord.domain.money import format_usd


@dataclass(slots=True)
class Step:
    """One result: a generation, or the refusal of one. `cost_nanos` is nano-USD; `files` are relative to the page.

    `tried` holds each attempt as `model outcome`; `broken` says what the step promised and did not keep.
    """

    name: str
    asked: str
    row: str = ""
    model: str = ""
    model_version: str = ""
    attempts: int = 0
    cost_nanos: int = 0
    cost_basis: str = ""
    adaptations: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    previews: list[str] = field(default_factory=list)
    seconds: float = 0.0
    tried: list[str] = field(default_factory=list)
    error: str = ""
    why: str = ""
    broken: str = ""


def write_report(path: Path, steps: list[Step]) -> None:
    """Write all steps as a JSON list."""
    path.write_text(json.dumps([asdict(step) for step in steps], indent=2) + "\n")


_COLUMNS = ("what was asked", "row", "model", "version", "att.", "cost", "time", "note")


def print_table(steps: list[Step]) -> None:
    """Print one line for each step."""
    lines = [_COLUMNS, *(_line(step) for step in steps)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    for number, line in enumerate(lines):
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())  # noqa: T201
        if number == 0:
            print("  ".join("-" * width for width in widths))  # noqa: T201
    total = sum(step.cost_nanos for step in steps)
    print(f"\nTogether {format_usd(total)} of the sandbox's money.")  # noqa: T201


def _line(step: Step) -> tuple[str, ...]:
    note = step.error or ", ".join(step.adaptations)
    if len(step.tried) > 1:
        note = f"{' -> '.join(step.tried)}{'; ' + note if note else ''}"
    return (
        step.name,
        step.row,
        step.model,
        step.model_version,
        str(step.attempts),
        format_usd(step.cost_nanos),
        f"{step.seconds:.1f} s",
        note,
    )
