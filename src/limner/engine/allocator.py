"""Keep freed memory for the next step instead of giving it back to the system each time."""

from __future__ import annotations

import ctypes
import functools
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 30


@functools.cache
def keep_freed_memory() -> bool:
    """Tell the C library's allocator to keep up to a gigabyte of freed memory; whether it could be told.

    A training step frees what the next one needs again. By default glibc gives large blocks back to the system and
    every page of them is then zeroed and faulted in anew. Once a process is enough; where there is no glibc nothing
    changes.

    >>> keep_freed_memory() == keep_freed_memory()
    True
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return all(mallopt(option, _KEPT_BYTES) == 1 for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD))
