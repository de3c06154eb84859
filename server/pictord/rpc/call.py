"""The call being served: who asks and what came beside the message. The only ambient state there is."""

from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType

from pictord.domain.caller import Caller
from pictord.domain.reason import Reason
from pictord.errors import GatewayError

Metadata = Sequence[tuple[str, str | bytes]]

SANDBOX_PREFIX = "x-sandbox-"
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Call:
    """One RPC; the interceptor fills it in, step by step, before the servicer runs.

    `method` is the full name without the leading slash. `headers` are for the simulated engines. `generation_id` is set
    by the servicer at acceptance, so that whatever goes wrong later can name it.
    """

    method: str
    metadata: Metadata = field(repr=False)
    caller: Caller | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    generation_id: str | None = None


_CURRENT: ContextVar[Call] = ContextVar("pictor_call")


def enter(call: Call) -> None:
    """Make `call` the one being served by this task."""
    _CURRENT.set(call)


def current() -> Call:
    """The call that this task serves."""
    return _CURRENT.get()


def current_caller() -> Caller:
    """Who asks."""
    caller = current().caller
    if caller is None:
        raise RuntimeError("the servicer was reached without authentication")
    return caller


def sandbox_headers(metadata: Iterable[tuple[str, str | bytes]], *, sandbox: bool) -> Mapping[str, str]:
    """Collect the `x-sandbox-*` entries that steer the simulated engines for one call.

    Raises:
        GatewayError: METADATA_INVALID: outside sandbox mode, or an entry is not text.
    """
    headers: dict[str, str] = {}
    for name, value in metadata:
        if not name.startswith(SANDBOX_PREFIX):
            continue
        if not sandbox:
            raise _invalid(name, "needs sandbox mode; this server has real engines")
        if not isinstance(value, str):
            raise _invalid(name, "must be text; drop the -bin suffix")
        headers[name] = value
    return headers or _NOTHING


def _invalid(name: str, text: str) -> GatewayError:
    return GatewayError(Reason.METADATA_INVALID, f"metadata {name}: {text}", {"metadata": name})
