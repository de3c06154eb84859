"""Who takes part: the contestants' processes, each started on its core when it is first needed."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.databases import Seeded
from bench.process import Child
from pictord.settings import MEMORY

SLOW_UPSTREAM_MS = 1000.0
"""What an engine takes that is not instant; a stream's previews are written after 30 and 55 % of it."""

CHANNELS = 4
"""Connections of a load client to its server."""

_FILL_PICTURES = 380
_FILL_BYTES = 3 * 1024 * 1024 // 2
"""Together more than the 512 MiB of pictures that a gateway keeps."""


@dataclass(frozen=True, slots=True)
class Served:
    """A gRPC server under test, and the load client before it."""

    server: Child
    client: Child


class Stage:
    """Everybody, as far as they were needed; all end when the stack does.

    `gateway` and `sdk` call the instant upstream, `slow_gateway` and `slow_sdk` the slow one.
    """

    def __init__(self, stack: ExitStack, generations: int) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.core_under_test = cores[0]
        self.other_core = cores[min(1, len(cores) - 1)]
        self._stack = stack
        self.seeded = Seeded(stack, generations)

    @cached_property
    def upstream(self) -> Child:
        """Answers at once."""
        return self._beside("bench.upstream", latency_ms=0.0)

    @cached_property
    def slow_upstream(self) -> Child:
        """Answers after `SLOW_UPSTREAM_MS`."""
        return self._beside("bench.upstream", latency_ms=SLOW_UPSTREAM_MS)

    @cached_property
    def sink(self) -> Child:
        """Takes the gateways' spans and metrics."""
        return self._beside("bench.sink")

    @cached_property
    def gateway(self) -> Served:
        """Pictor before the instant upstream, keeping as many pictures as it may.

        From then on each new picture takes an old one's place, as it does all day. Until then each would also pay for
        memory that the machine has never used: 5 ms a picture in a virtual machine whose host hands it out on demand.
        """
        gateway = self._gateway(self.upstream)
        self._fill(gateway)
        return gateway

    @cached_property
    def sqlite_gateway(self) -> Served:
        """The same with SQLite under it instead of memory, and as many pictures on its disk."""
        gateway = self._gateway(self.upstream, database=None)
        self._fill(gateway)
        return gateway

    def _fill(self, gateway: Served) -> None:
        tags = [f"fill{number}" for number in range(_FILL_PICTURES)]
        gateway.client.ask("run", provider="openai", size_bytes=_FILL_BYTES, tags=tags, concurrency=16)

    @cached_property
    def fresh_gateway(self) -> Served:
        """Another Pictor before the instant upstream, for what memory a young process takes."""
        return self._gateway(self.upstream)

    @cached_property
    def slow_gateway(self) -> Served:
        """Pictor before the slow upstream."""
        return self._gateway(self.slow_upstream)

    @cached_property
    def echo(self) -> Served:
        """The bare gRPC server."""
        return self._served(self._under_test("bench.echo"))

    @cached_property
    def sdk(self) -> Child:
        """The bare SDKs before the instant upstream."""
        return self._under_test("bench.sdk_caller", upstream=self.upstream.facts["address"])

    @cached_property
    def slow_sdk(self) -> Child:
        """The bare SDKs before the slow upstream."""
        return self._under_test("bench.sdk_caller", upstream=self.slow_upstream.facts["address"])

    @cached_property
    def direct(self) -> Child:
        """The instant upstream without anybody between."""
        return self._under_test("bench.direct", upstream=self.upstream.facts["address"])

    @cached_property
    def planning(self) -> Child:
        """The router alone."""
        return self._under_test("bench.planning")

    @cached_property
    def histories(self) -> dict[str, Child]:
        """The store by itself over much history, by the kind of its database."""
        urls = {"sqlite": self.seeded.sqlite(), "postgresql": self.seeded.postgresql()}
        return {kind: self._under_test("bench.history", database=url) for kind, url in urls.items()}

    @cached_property
    def empty_store(self) -> Child:
        """The store by itself over an empty SQLite file."""
        return self._under_test("bench.history", database=None)

    def _gateway(self, upstream: Child, database: str | None = MEMORY) -> Served:
        address, endpoint = upstream.facts["address"], self.sink.facts["endpoint"]
        return self._served(
            self._under_test("bench.gateway", upstream=address, otlp_endpoint=endpoint, database=database)
        )

    def _served(self, server: Child) -> Served:
        address = server.facts["address"]
        return Served(server, self._beside("bench.client", address=address, pid=server.pid, channels=CHANNELS))

    def _under_test(self, module: str, **options: Any) -> Child:
        return self._started(module, self.core_under_test, **options)

    def _beside(self, module: str, **options: Any) -> Child:
        return self._started(module, self.other_core, **options)

    def _started(self, module: str, core: int, **options: Any) -> Child:
        child = Child(module, core, **options)
        self._stack.callback(child.stop)
        return child
