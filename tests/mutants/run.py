"""Seeded mutants: break the code on purpose, one place at a time, and require that the tests notice.

`mutants.toml` lists them. Each has a `name` that says what is broken, a `file` (relative to server/pictord), the text
`old` that stands there exactly once, what it becomes (`new`), and the `tests` (relative to tests/) that must fail.
Every mutant lives in a temporary copy of the package; the checkout is not touched. First the copy without a mutant
must pass.

    python tests/mutants/run.py [part of a name ...]

Exits 1 if a mutant survives, does not fit the code any more, or breaks the collection instead of a test.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "server" / "pictord"
LONGEST_RUN_S = 180
PYTEST_PASSED, PYTEST_FAILED = 0, 1


@dataclass(frozen=True)
class Mutant:
    """One seeded fault."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """How a mutant fared; only `killed` is good."""

    mutant: Mutant
    word: str
    seconds: float


def main(wanted: list[str]) -> int:
    """Try all mutants, or those whose name contains one of the words; returns the exit code."""
    chosen = [m for m in read_mutants() if not wanted or any(word in m.name for word in wanted)]
    tests = tuple(sorted({test for mutant in chosen for test in mutant.tests}))
    if try_mutant(Mutant("no mutant", "", "", "", tests)).word != "survived":
        say("the tests fail without any mutant: nothing can be said")
        return 1
    verdicts = []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for verdict in pool.map(try_mutant, chosen):
            verdicts.append(verdict)
            say(f"{verdict.word:9} {verdict.seconds:5.1f} s  {verdict.mutant.file:32} {verdict.mutant.name}")
    killed = sum(verdict.word == "killed" for verdict in verdicts)
    say(f"{killed} of {len(verdicts)} mutants killed")
    return 0 if verdicts and killed == len(verdicts) else 1


def say(line: str) -> None:
    """One line of the table, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def read_mutants() -> list[Mutant]:
    """The list beside this file."""
    entries = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text())["mutant"]
    return [Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def try_mutant(mutant: Mutant) -> Verdict:
    """Run the mutant's tests against a copy of the package that has it."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "pictord"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        word = run_tests(mutant, Path(folder)) if apply(mutant, copy) else "misfit"
    return Verdict(mutant, word, time.monotonic() - begin)


def apply(mutant: Mutant, copy: Path) -> bool:
    """Write the fault into the copy; False if the text is not there exactly once."""
    if not mutant.file:
        return True
    path = copy / mutant.file
    source = path.read_text()
    path.write_text(source.replace(mutant.old, mutant.new))
    return source.count(mutant.old) == 1


def run_tests(mutant: Mutant, source_root: Path) -> str:
    """Whether the tests notice; a run that does not end is noticed, too."""
    paths = [str(source_root), str(ROOT / "clients" / "python"), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    tests = [str(ROOT / "tests" / test) for test in mutant.tests]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no_shrink", *tests]
    try:
        run = subprocess.run(  # noqa: S603 - our own interpreter and our own list of tests
            command, cwd=ROOT, env=environment, capture_output=True, timeout=LONGEST_RUN_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "killed"
    return {PYTEST_PASSED: "survived", PYTEST_FAILED: "killed"}.get(run.returncode, "broken")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
