"""Gateways in processes of their own that die suddenly: by the test's hand, or by their own at a crash point.

`python mortal.py` imports the service once and forks a gateway for each line of JSON on its input, so that a restart
takes no longer than the gateway's own start. Each answers with a line of JSON: its process id and its address.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc

from gateway import GEMINI_KEY, NO_LIMIT, OPENAI_KEY
from pictord import app
from pictord.jobs.crash_points import CrashPoint
from pictord.sandbox import Sandbox, check_header
from pictord.settings import GeminiAccount, OpenAIAccount, PicturesTable, SandboxUrls, Settings


@dataclass(frozen=True)
class Life:
    """What a gateway is told: where its engines and its memory are, and at which crash point it dies, if at one."""

    openai_url: str
    gemini_url: str
    data_dir: str
    database: str | None = None
    pictures: dict[str, str] | None = None
    crash_at: str | None = None
    is_sandbox: bool = False
    """Whether it knows that its engines are simulated, and so waits for them only for a fiftieth of the real time."""


class Mortal:
    """A gateway that runs."""

    def __init__(self, pid: int, address: str) -> None:
        self.pid = pid
        self.address = address
        self._handle = os.pidfd_open(pid)

    async def dead(self) -> None:
        """Return once the process is gone, and the lock on its folder with it."""
        gone, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self._handle, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self._handle)

    def kill(self) -> None:
        """End it as the kernel does when memory runs out."""
        signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    async def end(self) -> None:
        """Kill it, if it is not dead already."""
        try:
            self.kill()
            await self.dead()
        except ProcessLookupError:
            pass
        finally:
            os.close(self._handle)


class Nursery:
    """Brings gateways to life."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    async def born(self, life: Life) -> Mortal:
        """A gateway that serves."""
        self._process.stdin.write(json.dumps(asdict(life)).encode() + b"\n")
        self._process.stdin.flush()
        said = json.loads(await asyncio.to_thread(self._process.stdout.readline))
        assert "address" in said, said
        return Mortal(said["pid"], said["address"])

    @asynccontextmanager
    async def gateway(self, engines: Sandbox, data_dir: Path, **changes: Any) -> AsyncIterator[Mortal]:
        """A gateway that serves, and is gone when the block is left."""
        mortal = await self.born(life(engines, data_dir, **changes))
        try:
            yield mortal
        finally:
            await mortal.end()


def life(engines: Sandbox, data_dir: Path, **changes: Any) -> Life:
    return Life(engines.openai_base_url, engines.gemini_base_url, str(data_dir), **changes)


@contextmanager
def nursery(log: Path | None = None) -> Iterator[Nursery]:
    """A process that forks gateways; those must be gone before it. What they log goes to a file, or nowhere."""
    command = [sys.executable, __file__]
    with Path(log or os.devnull).open("wb") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)  # noqa: S603 - ours
    try:
        process.stdout.readline()  # it has imported everything
        yield Nursery(process)
    finally:
        process.communicate(timeout=20)  # the end of its input is its own


@asynccontextmanager
async def connected(mortal: Mortal) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(mortal.address, options=NO_LIMIT) as channel:
        yield channel


# In the other process


def settings(life: Life) -> Settings:
    """Of a gateway on loopback alone, with a daily cap that it never reaches."""
    return Settings(
        listen="127.0.0.1:0",
        admin_listen=None,
        http_listen=None,
        sandbox=life.is_sandbox,
        sandbox_urls=SandboxUrls(life.openai_url, life.gemini_url, check_header) if life.is_sandbox else None,
        time_scale=0.0,
        openai=OpenAIAccount(OPENAI_KEY, base_url=life.openai_url),
        gemini=GeminiAccount(GEMINI_KEY, base_url=life.gemini_url),
        data_dir=Path(life.data_dir),
        database=life.database,
        pictures=PicturesTable(**life.pictures) if life.pictures else PicturesTable(),
        daily_cap_nanos=10**15,
        drain_s=0.0,
    )


async def serve(life: Life) -> None:
    def die_there(point: CrashPoint) -> None:
        if point == life.crash_at:
            os.kill(os.getpid(), signal.SIGKILL)

    async with app.build(settings(life), app.Outside(reached=die_there)) as running:
        say(address=running.address)
        await asyncio.Event().wait()


def say(**words: str) -> None:
    print(json.dumps({"pid": os.getpid(), **words}), flush=True)  # noqa: T201 - how the parent learns of it


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    say()
    for line in sys.stdin:
        if os.fork():
            continue
        try:
            asyncio.run(serve(Life(**json.loads(line))))
        except BaseException as error:
            say(error=repr(error))
            raise
        finally:
            os._exit(1)


if __name__ == "__main__":
    main()
