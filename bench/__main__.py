"""`python -m bench`: run all loads for some rounds, print the table, write it down."""

import argparse
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import bars, machine, report
from bench.loads import LOADS, SLOW_TO_SEED
from bench.measurement import Measurement, Measurements
from bench.stage import Stage

QUICK_SHARE = 0.4
"""Of the calls, with `--quick`."""


def main() -> int:
    """Run the benchmark.

    Returns:
        1 if any picture was wrong or any call failed, or, with `--strict`, if a bar was missed; else 0.
    """
    options = _options()
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("bench: needs Linux, which can pin a process to a core and tell its CPU time")
    about: dict[str, Any] = {"machine": machine.describe(), "rounds": options.rounds, "quick": options.quick}
    started = time.monotonic()
    names = options.only or [name for name in LOADS if not (options.quick and name in SLOW_TO_SEED)]
    share = QUICK_SHARE if options.quick else 1.0
    measured, telemetry = _measure(names, options.rounds, share, options.generations)
    about |= {"telemetry": telemetry, "seconds": round(time.monotonic() - started)}
    lines = bars.table(measured)
    report.write(options.out, lines, measured, about)
    _say(f"\n{_headline(about)}\n\n{report.as_text(lines)}\n\nall measurements: {options.out / 'results.json'}")
    for each in measured.all:
        if each.error:
            _say(f"{each.load}, {each.who}: {each.error}")
    faulty = any(each.wrong or each.errors for each in measured.all)
    return int(faulty or (options.strict and not bars.all_reached(lines)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What Pictor costs beside the bare SDKs.")
    parser.add_argument("--quick", action="store_true", help="one round, fewer calls: under 90 s, and noisier")
    parser.add_argument("--rounds", type=int, default=0, help="medians of so many rounds (default 3, with --quick 1)")
    parser.add_argument("--only", nargs="+", choices=LOADS, metavar="LOAD", help=f"some of: {', '.join(LOADS)}")
    parser.add_argument("--out", type=Path, default=Path("bench-output"), help="folder for results.json and table.md")
    parser.add_argument("--generations", type=int, default=1_000_000, help="how long the history is (default 1000000)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a bar is missed")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _measure(names: list[str], rounds: int, share: float, generations: int) -> tuple[Measurements, dict[str, int]]:
    measured: list[Measurement] = []
    with ExitStack() as stack:
        stage = Stage(stack, generations)
        for number in range(1, rounds + 1):
            for name in [each for each in LOADS if each in names]:
                _say(f"round {number} of {rounds}: {name}")
                measured += LOADS[name](stage, share)
        telemetry: dict[str, int] = stage.sink.ask("counted")
    return Measurements(measured), telemetry


def _headline(about: dict[str, Any]) -> str:
    of, rounds, spans = about["machine"], about["rounds"], about["telemetry"]["spans"]
    return (
        f"{of['processor']}, the process under test alone on one core, Python {of['python']}; medians of {rounds} "
        f"rounds, {about['seconds']} s; telemetry on, {spans} spans exported over OTLP"
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
