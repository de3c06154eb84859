"""The way to the gateway: address, transport security, limits and retries."""

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


@dataclass(frozen=True, slots=True)
class Target:
    """Where the gateway is, and whether the way there is encrypted."""

    address: str
    is_tls: bool

    @classmethod
    def parse(cls, address: str | None) -> "Target":
        """Read `host:port`, or `https://host[:port]` for TLS; None or empty means PICTOR_ADDRESS, then the default.

        Raises:
            ValueError: The port is missing.
        """
        text = address or os.environ.get("PICTOR_ADDRESS") or DEFAULT_ADDRESS
        scheme, separator, rest = text.rpartition("://")
        is_url = bool(separator) and scheme in ("http", "https")
        target = cls(rest.rstrip("/") if is_url else text, is_tls=is_url and scheme == "https")
        # gRPC would take 443 in silence; its own schemes (unix:, dns:///) have rules of their own
        if not (target.is_tls or "/" in target.address or re.search(r":\d+$", target.address)):
            raise ValueError(f"an address is host:port; `{text}` has no port")
        return target


def open_channel(
    target: Target, *, tls: bool | grpc.ChannelCredentials, options: Sequence[tuple[str, Any]]
) -> grpc.aio.Channel:
    """Open a channel; `tls` may be credentials of one's own, e.g. with a client certificate."""
    all_options = [*_options(), *options]
    if isinstance(tls, grpc.ChannelCredentials):
        return grpc.aio.secure_channel(target.address, tls, options=all_options)
    if tls or target.is_tls:
        return grpc.aio.secure_channel(target.address, grpc.ssl_channel_credentials(), options=all_options)
    return grpc.aio.insecure_channel(target.address, options=all_options)


def _options() -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [("grpc.max_receive_message_length", _RECEIVE_BYTES)]
    service_config = resources.files("pictor").joinpath("service_config.json")
    if service_config.is_file():
        options.append(("grpc.service_config", service_config.read_text("utf-8")))
    return options
