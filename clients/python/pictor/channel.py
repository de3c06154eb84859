"""The way to the gateway: address, transport security, identity, limits and retries."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import grpc

DEFAULT_ADDRESS = "127.0.0.1:50051"
_RECEIVE_BYTES = 64 * 2**20
"""Longest message we take: `max_inline_bytes` may be raised up to this; gRPC's own default is 4 MiB."""

_KEY = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[ -~]*")


@dataclass(frozen=True, slots=True)
class Target:
    """Where the gateway is, and whether the way there is encrypted."""

    address: str
    is_tls: bool

    @classmethod
    def parse(cls, address: str | None) -> "Target":
        """Read `host:port`, or `https://host[:port]` for TLS; None or empty means PICTOR_ADDRESS, then the default.

        Raises:
            ValueError: The port is missing, or there is no such port.
        """
        text = address or os.environ.get("PICTOR_ADDRESS") or DEFAULT_ADDRESS
        scheme, separator, rest = text.rpartition("://")
        is_url = bool(separator) and scheme in ("http", "https")
        target = cls(rest.rstrip("/") if is_url else text, is_tls=is_url and scheme == "https")
        port = re.search(r":(\d+)$", target.address)
        # gRPC would take 443 in silence, and of 99999 a part; its own schemes (unix:, dns:///) have rules of their own
        if not (target.is_tls or "/" in target.address or port):
            raise ValueError(f"an address is host:port; `{text}` has no port")
        if port and not 0 < int(port[1]) < 2**16:
            raise ValueError(f"an address is host:port; there is no port {port[1]}")
        return target


@dataclass(frozen=True, slots=True)
class Route:
    """How a channel is opened."""

    address: str
    credentials: grpc.ChannelCredentials | None
    """None means without TLS."""
    options: list[tuple[str, Any]]

    @classmethod
    def to(cls, target: Target, *, tls: bool | grpc.ChannelCredentials, options: Sequence[tuple[str, Any]]) -> "Route":
        """Lead to a target; `tls` may be credentials of one's own, e.g. with a client certificate."""
        if isinstance(tls, bool):
            credentials = grpc.ssl_channel_credentials() if tls or target.is_tls else None
        else:
            credentials = tls
        service_config = resources.files("pictor").joinpath("service_config.json").read_text("utf-8")
        ours = [("grpc.max_receive_message_length", _RECEIVE_BYTES), ("grpc.service_config", service_config)]
        return cls(target.address, credentials, [*ours, *options])


def identity(api_key: str | None, metadata: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """What goes with every call: the key (unset means PICTOR_API_KEY, then none), and metadata of one's own.

    Raises:
        ValueError: gRPC would not send a key or a value; the text holds no value, which may be a secret.
    """
    key = api_key or os.environ.get("PICTOR_API_KEY")
    entries = (*((("authorization", f"Bearer {key}"),) if key else ()), *metadata)
    for name, value in entries:
        if not _KEY.fullmatch(name):
            raise ValueError(f"metadata `{name}`: a key has lower-case letters, digits, `_`, `-` and `.` alone")
        if not _VALUE.fullmatch(value):
            whence = "; look at PICTOR_API_KEY" if name == "authorization" else ""
            raise ValueError(f"metadata `{name}`: its value must be printable ASCII on one line{whence}")
    return entries
