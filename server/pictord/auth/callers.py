"""Who calls: callers from the configuration, known by the hashes of their keys.

A key is 256 random bits, so one fast hash protects it and no slow one is needed. With a pepper (a secret kept apart
from the configuration) the hash is an HMAC, so that a stolen configuration does not even allow guessing.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pictord.domain.caller import LOCAL, Caller, CallerPolicy, Role
from pictord.domain.reason import Reason
from pictord.errors import GatewayError

KEY_PREFIX = "pictor_"
LIVE_KEYS = 2
"""Keys that a caller may have at once: the old and the new one while it changes over."""

_HASH = re.compile(r"^[0-9a-f]{64}$")
_HOW = "send `authorization: Bearer <key>` or `x-api-key: <key>` metadata"


@dataclass(frozen=True, slots=True)
class KnownCaller:
    """A caller as configured; `key_hashes` are what `hash_key` makes of its one or two live keys."""

    name: str
    key_hashes: tuple[str, ...] = field(repr=False)
    role: Role = Role.CALLER
    policy: CallerPolicy = field(default_factory=CallerPolicy)


def new_key(token: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> str:
    """Make a key for a caller: a prefix that secret scanners find, and 256 random bits."""
    return KEY_PREFIX + token()


def hash_key(key: str, pepper: bytes = b"") -> str:
    """Hash a key for the configuration, in hexadecimal: SHA-256, or HMAC-SHA-256 under a pepper.

    Without a pepper it is what `printf %s "$KEY" | sha256sum` prints.
    """
    data = key.encode()
    return hmac.new(pepper, data, hashlib.sha256).hexdigest() if pepper else hashlib.sha256(data).hexdigest()


class Callers:
    """Finds the caller behind a call's metadata; with nobody configured everyone is `LOCAL`."""

    def __init__(self, known: Sequence[KnownCaller] = (), *, pepper: bytes = b"") -> None:
        """Take the configured callers.

        Raises:
            ValueError: two callers share a name or a key, or a hash is malformed or one too many.
        """
        _check(known)
        self._known = [
            (digest, Caller(each.name, each.role, each.policy)) for each in known for digest in each.key_hashes
        ]
        self._pepper = pepper

    @property
    def has_keys(self) -> bool:
        """Whether callers must present a key."""
        return bool(self._known)

    def authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Name the caller of a call.

        Raises:
            GatewayError: UNAUTHENTICATED: no key, several, an unknown one, or one in the wrong form.
        """
        if not self.has_keys:
            return LOCAL
        presented = self.hashed(_presented_key(metadata))
        found = None
        for digest, caller in self._known:
            # All of them are compared, each in constant time, so the time taken says nothing about the keys.
            if hmac.compare_digest(digest, presented):
                found = caller
        if found is None:
            raise _unauthenticated("the key is not known here")
        return found

    def hashed(self, key: str) -> str:
        """What is known of a key here: its hash, under the pepper if there is one."""
        return hash_key(key, self._pepper)

    def holder(self, is_theirs: Callable[[str], bool]) -> Caller | None:
        """The caller whose key has a hash of which something is true; None if there is none."""
        return next((caller for digest, caller in self._known if is_theirs(digest)), None)


def require_operator(caller: Caller, action: str) -> None:
    """Refuse an action to everybody but operators.

    Raises:
        GatewayError: PERMISSION_DENIED.
    """
    if not caller.is_operator:
        text = f"only operators may {action}; {caller.name} is a {caller.role.value}"
        raise GatewayError(Reason.PERMISSION_DENIED, text, {"caller": caller.name, "role": caller.role.value})


class BindingRefused(ValueError):
    """The server would be reachable from elsewhere without knowing who calls."""


def check_binding(listen: str, *, has_keys: bool, sandbox: bool) -> None:
    """Refuse to listen beyond this machine without authentication; the sandbox holds no key and may.

    Args:
        listen: `host:port` or `unix:path`.
        has_keys: whether callers are configured.
        sandbox: whether simulated engines answer.

    Raises:
        BindingRefused: with what would work.
    """
    if has_keys or sandbox or _is_local(listen):
        return
    raise BindingRefused(
        f"{listen} can be reached from other machines, but no callers are configured: "
        "listen on 127.0.0.1, or configure callers with keys"
    )


def _is_local(listen: str) -> bool:
    return listen.startswith(("unix:", "unix-abstract:")) or is_loopback(listen.rpartition(":")[0])


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine and no other."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return host == "localhost"


def _check(known: Sequence[KnownCaller]) -> None:
    owners: dict[str, str] = {}
    names: set[str] = set()
    for each in known:
        if not each.name or each.name in names:
            raise ValueError(f"caller {each.name!r}: every caller needs a name of its own")
        names.add(each.name)
        if not 1 <= len(each.key_hashes) <= LIVE_KEYS:
            raise ValueError(f"caller {each.name!r}: give one key hash, or two while changing keys")
        for digest in each.key_hashes:
            if not _HASH.match(digest):
                raise ValueError(f"caller {each.name!r}: a key hash is 64 hexadecimal digits in lower case")
            if digest in owners:
                raise ValueError(f"caller {each.name!r}: shares a key with {owners[digest]!r}")
            owners[digest] = each.name


def _presented_key(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    found = [_key_of(name, value) for name, value in metadata if name in _READERS]
    if not found:
        raise _unauthenticated(f"no key: {_HOW}")
    if len(found) > 1:
        raise _unauthenticated(f"more than one key: {_HOW}, once")
    return found[0]


def _key_of(name: str, value: str | bytes) -> str:
    key = _READERS[name](value) if isinstance(value, str) else ""
    if not key:
        raise _unauthenticated(f"{name} holds no key in the expected form: {_HOW}")
    return key


def _bearer(value: str) -> str:
    scheme, _, key = value.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


_READERS: Mapping[str, Callable[[str], str]] = {"authorization": _bearer, "x-api-key": str.strip}


def _unauthenticated(text: str) -> GatewayError:
    return GatewayError(Reason.UNAUTHENTICATED, text)
