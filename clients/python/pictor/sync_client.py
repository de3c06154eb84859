"""The same client for code without an event loop: scripts, threads, notebooks.

Each method is the one of `Client`, run over a wire that blocks (see `wire`). No event loop and no thread of ours is
behind it, so Ctrl-C ends a call as it ends any other, and several threads may use one client at once.
"""

import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import grpc

from pictor.calls import Calls
from pictor.channel import Route, Target, identity
from pictor.client import Everything, new_id
from pictor.errors import PictorError
from pictor.reconnect import Reconnect
from pictor.wire import Blocking, each, now

Given = ParamSpec("Given")
Result = TypeVar("Result")


def _call(
    method: Callable[Concatenate[Everything, Given], Coroutine[Any, Any, Result]],
) -> "Callable[Concatenate[SyncClient, Given], Result]":
    @wraps(method)
    def call(self: "SyncClient", *args: Given.args, **options: Given.kwargs) -> Result:
        return now(method(self._everything, *args, **options))

    return cast("Callable[Concatenate[SyncClient, Given], Result]", call)


def _iterate(
    method: Callable[Concatenate[Everything, Given], AsyncIterator[Result]],
) -> "Callable[Concatenate[SyncClient, Given], Iterator[Result]]":
    @wraps(method)
    def iterate(self: "SyncClient", *args: Given.args, **options: Given.kwargs) -> Iterator[Result]:
        return each(method(self._everything, *args, **options))

    return cast("Callable[Concatenate[SyncClient, Given], Iterator[Result]]", iterate)


class SyncClient:
    """A connection to one gateway; a context manager. Its arguments, methods and errors are those of `Client`.

    What is an async iterator there is an iterator here. Leaving one early, or closing it, ends its call. In a running
    event loop it works too, but holds the loop up; `Client` does not.
    """

    def __init__(
        self,
        address: str | None = None,
        api_key: str | None = None,
        *,
        tls: bool | grpc.ChannelCredentials = False,
        metadata: Sequence[tuple[str, str]] = (),
        options: Sequence[tuple[str, Any]] = (),
        on_lost: Callable[[PictorError], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        new_id: Callable[[], str] = new_id,
    ) -> None:
        target = Target.parse(address)
        self.address = target.address
        who = identity(api_key, metadata)

        async def pause(delay_s: float) -> None:
            sleep(delay_s)

        self._wire = Blocking(Route.to(target, tls=tls, options=options))
        self._everything = Everything(Calls(self._wire, target, who, lambda: Reconnect(pause, jitter, on_lost), new_id))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way in other threads are cancelled."""
        self._wire.close()

    generate = _call(Everything.generate)
    edit = _call(Everything.edit)
    stream = _iterate(Everything.stream)
    reroll = _call(Everything.reroll)
    stream_reroll = _iterate(Everything.stream_reroll)
    generate_set = _iterate(Everything.generate_set)
    plan = _call(Everything.plan)

    get = _call(Everything.get)
    history = _iterate(Everything.history)
    history_page = _call(Everything.history_page)
    watch = _iterate(Everything.watch)
    cancel = _call(Everything.cancel)
    compare = _call(Everything.compare)
    rate = _call(Everything.rate)
    delete = _call(Everything.delete)
    download = _call(Everything.download)
    download_to = _call(Everything.download_to)
    upload = _call(Everything.upload)

    usage = _call(Everything.usage)
    budgets = _call(Everything.budgets)
    set_budget = _call(Everything.set_budget)
    delete_budget = _call(Everything.delete_budget)
    alerts = _call(Everything.alerts)
    scorecard = _call(Everything.scorecard)

    models = _call(Everything.models)
    formats = _call(Everything.formats)
    providers = _call(Everything.providers)
    set_provider_state = _call(Everything.set_provider_state)
