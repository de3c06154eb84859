"""Pictor: one gRPC contract in front of paid image engines."""

__version__ = "0.1.0"
