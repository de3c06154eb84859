"""Tuning the allocator, in a process of its own."""

import os
import subprocess
import sys

from pictord.providers.bytes import malloc

_SCRIPT = """
import resource
from pictord.providers.bytes.malloc import tune_malloc

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        bytearray(8 * 1024 * 1024)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

untuned = faults()
taken = tune_malloc()
faults()
print(taken, untuned, faults())
"""


def test_buffers_of_many_mib_are_not_mapped_anew_each_time():
    """After tuning, big buffers that come and go cause no page faults."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))

    out = subprocess.check_output(  # noqa: S603 - our own interpreter, our own script
        [sys.executable, "-c", _SCRIPT], env=environment, text=True
    )

    taken, untuned, tuned = out.split()
    assert taken == "True"  # Pictor's image and CI run on glibc
    assert int(tuned) < int(untuned) / 10


def test_another_libc_is_left_alone(monkeypatch):
    """Where the C library is not glibc nothing is set, and it says so."""
    monkeypatch.setattr(malloc.os, "confstr", lambda _name: None)

    assert malloc.tune_malloc() is False
