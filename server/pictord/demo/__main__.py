"""`python -m pictord.demo`: sandbox and gateway on free ports in this process, a dozen calls, a page to look at."""

import argparse
import asyncio
import logging
import shutil
import sys
import time
from pathlib import Path

from pictord import app
from pictord.demo.page import write_page
from pictord.demo.report import print_table, write_report
from pictord.demo.steps import run_steps
from pictord.sandbox import SandboxSettings, run
from pictord.settings import SandboxUrls, Settings

TIME_SCALE = 0.03
"""Thirty times as fast as the real engines: a Pro picture takes three seconds instead of two minutes."""


async def demo(out: Path) -> int:
    """Start engines and gateway, and take the tour; answer the exit code."""
    async with run(SandboxSettings(time_scale=TIME_SCALE)) as sandbox:
        settings = Settings(
            listen="127.0.0.1:0",
            admin_listen=None,
            http_listen=None,
            sandbox=True,
            sandbox_urls=SandboxUrls(sandbox.openai_base_url, sandbox.gemini_base_url),
            time_scale=TIME_SCALE,
        )
        async with app.build(settings) as gateway:
            print(f"SANDBOX: simulated engines, no key, no money. Gateway on {gateway.address}\n")  # noqa: T201
            return await tour(gateway.address, out)


async def tour(address: str, out: Path) -> int:
    """Run every step against a gateway and write what came out; 1 if a step did not keep its promise, else 0."""
    started = time.monotonic()
    steps = await run_steps(address, out)
    write_report(out / "report.json", steps)
    write_page(out / "index.html", steps)
    print_table(steps)
    elapsed = time.monotonic() - started
    print(f"\n{len(steps)} results in {elapsed:.0f} s. Look at {out / 'index.html'}")  # noqa: T201
    broken = [step for step in steps if step.broken]
    for step in broken:
        print(f"demo: {step.name} is not as promised: {step.broken}", file=sys.stderr)  # noqa: T201
    return 1 if broken else 0


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m pictord.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    out: Path = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    # The failover and the refusal are meant to happen; the table tells them better than a log does.
    logging.basicConfig(level=logging.ERROR)
    raise SystemExit(asyncio.run(demo(out)))


if __name__ == "__main__":
    main()
