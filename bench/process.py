"""The parent's end of a contestant: start it on its core, ask it things, read its CPU time and memory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CPUCLOCK_SCHED = 2
_KIB_PER_MIB = 1024


class ChildFailed(Exception):
    """A contestant has died or answered with an error."""


class Child:
    """A process that runs one of the bench's modules, alone on a core, and answers one JSON line for each it is sent.

    Args:
        module: what to run with `python -m`.
        core: the one core it and its threads may use.
        options: keyword arguments of the module's service.
    """

    def __init__(self, module: str, core: int, **options: Any) -> None:
        with _on_core(core):
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", module, json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self.module = module
        self.pid = self._process.pid
        self.facts: dict[str, Any] = self._answer()

    def ask(self, what: str, **arguments: Any) -> Any:
        """Have the child do something and wait for its answer.

        Raises:
            ChildFailed: it died; why, it has written to standard error.
        """
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe above
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        """End the child by closing its input, and kill it if that does not help within 10 s."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def forget_peak_memory(self) -> None:
        """Let `peak_memory_mib` start anew from what is resident now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def peak_memory_mib(self) -> float:
        """The largest resident set so far."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / _KIB_PER_MIB

    def _answer(self) -> Any:
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe above
        line = self._process.stdout.readline()
        if not line:
            raise ChildFailed(f"{self.module} ended with exit code {self._process.wait()}")
        return json.loads(line)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads so far, to the nanosecond."""
    # Linux's name for another process's CPU clock: MAKE_PROCESS_CPUCLOCK in linux/posix-timers.h.
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    """Children inherit the core, from their first instruction on."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)
