"""Libraries that decode pictures, kept from speaking on their own: what matters of a picture is said with its name.

Pillow warns of what it can do without: a broken EXIF block, an odd palette, a second picture that is not there. Its
warnings are passed over for as long as a picture is decoded, whatever filters are set, in all threads at once: filters
are one list for the whole process, so the entry is put there by the first that decodes, and taken out by the last. The
same goes for what it logs.

libtiff writes what it finds odd to the standard error of the process, from C. Pillow does not let it be told, and to
turn that stream away for a moment would lose what other threads write. But libtiff is a shared library in every wheel
and distribution: its own switch is found in what is loaded, and set once. Linked in otherwise it speaks on.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from indexers.threads import new_lock

_PASSED_OVER: Any = ("ignore", None, Warning, re.compile(r"(PIL|pillow_heif|pillow_jxl)(\.|$)"), 0)
_log, _SILENT = logging.getLogger("PIL"), logging.CRITICAL + 1
_lock = new_lock()
_inside, _level = 0, logging.NOTSET


@contextmanager
def hushed() -> Iterator[None]:
    """Pass over warnings of what decodes pictures, for as long as a block takes."""
    global _inside, _level
    hush_libtiff()
    with _lock:
        if not _inside:
            _level = _log.level
            _log.setLevel(_SILENT)
        _inside += 1
        filters: Any = warnings.filters  # another list inside of `catch_warnings`
        if _PASSED_OVER not in filters[:1]:
            filters.insert(0, _PASSED_OVER)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _log.setLevel(_level)
            filters = warnings.filters
            while not _inside and _PASSED_OVER in filters:
                filters.remove(_PASSED_OVER)


@functools.cache
def hush_libtiff() -> bool:
    """Tell the libtiff that Pillow has loaded to print nothing; return whether there is one that can be told."""
    with contextlib.suppress(OSError, AttributeError):
        lines = Path("/proc/self/maps").read_text().splitlines()
        paths = {line.split(maxsplit=5)[5] for line in lines if re.search(r"/libtiff[^/]*\.so[^/]*$", line)}
        for path in paths:
            library = ctypes.CDLL(path)
            for name in ("TIFFSetWarningHandler", "TIFFSetErrorHandler"):
                getattr(library, name).restype = ctypes.c_void_p
                getattr(library, name)(None)
        return bool(paths)
    return False
