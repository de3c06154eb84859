"""A report for programs: CSV, one line for each policy, row and model, or reason of refusal."""

import csv
from pathlib import Path

from pictord.domain.money import format_usd
from pictord.whatif.replay import Fate, Report, Tally

COLUMNS = (
    "policy",
    "row",
    "model",
    "refused",
    "requests",
    "pictures",
    "adapted",
    "adaptations",
    "expected_usd",
    "worst_case_usd",
    "mean_p50_s",
    "mean_p90_s",
    "requests_with_known_cost",
    "spent_usd",
    "expected_usd_of_known",
    "drawn_by_another_model",
    "requests_with_known_time",
    "mean_really_took_s",
)


def write(report: Report, path: Path) -> None:
    """Write the file; amounts are exact to the nano-dollar, so that they add up to those of the tables."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for replayed in report.replayed:
            lines.writerows(_line(replayed.policy, fate, tally) for fate, tally in replayed.by_fate.items())


def _line(policy: str, fate: Fate, tally: Tally) -> tuple[str | int, ...]:
    drawn = fate.refused is None
    return (
        policy,
        fate.row,
        fate.model or "",
        fate.refused or "",
        tally.requests,
        tally.pictures,
        tally.adapted,
        " ".join(f"{kind}={number}" for kind, number in tally.adaptations.most_common()),
        _usd(tally.expected_nanos),
        _usd(tally.worst_nanos),
        f"{tally.p50_s / tally.requests:.3f}" if drawn else "",
        f"{tally.p90_s / tally.requests:.3f}" if drawn else "",
        tally.known,
        _usd(tally.spent_nanos),
        _usd(tally.known_nanos),
        tally.moved,
        tally.timed,
        f"{tally.took_s / tally.timed:.3f}" if tally.timed else "",
    )


def _usd(nanos: int) -> str:
    return format_usd(nanos, 9).replace("$", "")
