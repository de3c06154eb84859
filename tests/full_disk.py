"""A process whose files can be no larger than that: a write fails half way, as on a full disk."""

import sys

_RUN = """\
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


def no_file_above(size_bytes: int, *command: str) -> list[str]:
    """The command line that runs this command so; its first word is a path."""
    return [sys.executable, "-c", _RUN, str(size_bytes), *command]
