"""The machine and the versions that the figures belong to."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("openai", "google-genai", "grpcio", "protobuf", "httpx2", "aiohttp", "jiter", "pybase64")
_KIB_PER_GIB = 1024 * 1024


def describe() -> dict[str, object]:
    """What one must know to compare the figures with others."""
    return {
        "processor": _line("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(_line("/proc/meminfo", "MemTotal").split()[0]) / _KIB_PER_GIB, 1),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "load_before": os.getloadavg()[0],
    }


def _line(path: str, name: str) -> str:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "0")
