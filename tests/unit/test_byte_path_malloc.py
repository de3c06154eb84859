"""Tuning the allocator, in processes of their own."""

import os
import subprocess
import sys

from pictord.providers.bytes import malloc

_SCRIPT = """
import resource, sys
from pictord.providers.bytes.malloc import tune_malloc

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [b"x" * (16 * 1024 * 1024) for _ in range(6)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

taken = sys.argv[1] == "tuned" and tune_malloc()
faults()
print(taken, faults() + faults())
"""


def faults_in(process):
    """What the script says: whether the settings took, and how many pages two more rounds of buffers cost."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    out = subprocess.check_output(  # noqa: S603 - our own interpreter, our own script
        [sys.executable, "-c", _SCRIPT, process], env=environment, text=True
    )
    taken, count = out.split()
    return taken == "True", int(count)


def test_buffers_of_many_mib_are_not_mapped_anew_each_time():
    """After tuning, big buffers that come and go cause no page faults."""
    taken, tuned = faults_in("tuned")
    _, untuned = faults_in("untuned")

    assert taken  # Pictor's image and CI run on glibc
    assert tuned < untuned / 100


def test_another_libc_is_left_alone(monkeypatch):
    """Where the C library is not glibc nothing is set, and it says so."""
    monkeypatch.setattr(malloc.os, "confstr", lambda _name: None)

    assert malloc.tune_malloc() is False
