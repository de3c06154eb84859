"""The gateway in a process of its own, for tests that measure its memory.

`python gateway_process.py OPENAI_URL GEMINI_URL` prints its address, serves until its input is closed, and drains.
"""

import asyncio
import sys

from pictord import app
from pictord.settings import SandboxUrls, Settings


async def serve(openai_url: str, gemini_url: str) -> None:
    settings = Settings(
        listen="127.0.0.1:0",
        admin_listen=None,
        http_listen=None,
        sandbox=True,
        sandbox_urls=SandboxUrls(openai_url, gemini_url),
        drain_s=0.0,
    )
    async with app.build(settings) as running:
        print(running.address, flush=True)  # noqa: T201 - how the parent learns the port
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
